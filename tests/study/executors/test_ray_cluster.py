"""Studies on a real Ray cluster: two nodes on this machine."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from equiloss.errors import InputError
from study.graph import Cell, Study
from study.runner import StudyResult, run

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

REPORT = """
import json, os, sys, time
from pathlib import Path
out, seconds, *words = sys.argv[1:]
def ancestors():
    pid = os.getpid()
    while pid > 1:
        stat = Path(f"/proc/{pid}/stat").read_text()
        yield pid, stat[stat.index("(") + 1 : stat.rindex(")")]
        pid = int(stat.rpartition(")")[2].split()[1])
chain = list(ancestors())
node = next(pid for pid, name in chain if name.startswith("raylet"))
worker = next(pid for pid, name in chain if name.startswith("ray::"))
Path(out + ".started").write_text(json.dumps({"pid": os.getpid(), "worker": worker}))
if "again" not in words:
    time.sleep(float(seconds))
Path(out).write_text(json.dumps({"node": node, "words": words, "threads": os.environ["OMP_NUM_THREADS"]}))
"""


@pytest.fixture(scope="module")
def executor() -> Iterator[Any]:
    from ray.cluster_utils import Cluster  # pyright: ignore

    from study.executors.ray_cluster import RayExecutor

    cluster: Any = Cluster(initialize_head=False)
    try:
        try:
            cluster.add_node(num_cpus=1, include_dashboard=False)  # the first is the head
            cluster.add_node(num_cpus=1)
            cluster.wait_for_nodes()
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            pytest.skip("Ray did not start within its 30 s: the machine is too busy")
        yield lambda: RayExecutor(cluster.address, grace_s=5.0)
    finally:
        cluster.shutdown()


def cells(tmp_path: Path, *rows: tuple[str, float]) -> tuple[Study, Path]:
    (tmp_path / "report.py").write_text(REPORT)
    made = tuple(
        Cell(
            name,
            ("python", str(tmp_path / "report.py"), f"{name}.json", str(seconds)),
            outputs=(f"{name}.json",),
            resume=("again",),
        )
        for name, seconds in rows
    )
    return Study("s", "", (), None, made), tmp_path / "out"


def result_of(directory: Path, name: str) -> dict[str, Any]:
    return json.loads((directory / f"{name}.json").read_text())


def test_cells_are_spread_over_the_nodes_and_finished_ones_skipped(executor: Any, tmp_path: Path) -> None:
    study, directory = cells(tmp_path, ("a", 3.0), ("b", 3.0), ("c", 0.0))
    result = run(study, directory, jobs=2, executor=executor())
    assert result.states == {"a": "done", "b": "done", "c": "done"}, result.notes
    assert result_of(directory, "a")["node"] != result_of(directory, "b")["node"]
    assert run(study, directory, jobs=2, executor=executor()).states == dict.fromkeys("abc", "skipped")


def test_a_killed_worker_takes_its_command_along_and_the_cell_is_taken_up_again(executor: Any, tmp_path: Path) -> None:
    study, directory = cells(tmp_path, ("a", 1200.0))
    pids: dict[str, int] = {}

    def kill_worker() -> None:
        pids.update(json.loads(wait_for(directory / "a.json.started")))
        os.kill(pids["worker"], signal.SIGKILL)

    result = while_running(kill_worker, lambda: run(study, directory, jobs=1, executor=executor()))
    assert result.states == {"a": "done"}, result.notes
    assert result_of(directory, "a")["words"] == ["again"]
    assert not Path(f"/proc/{pids['pid']}").exists()


def test_a_failing_command_is_not_started_again(executor: Any, tmp_path: Path) -> None:
    study = Study("s", "", (), None, (Cell("a", ("python", "-c", "import sys; sys.exit('no such luck')")),))
    result = run(study, tmp_path / "out", jobs=1, executor=executor())
    assert result.states == {"a": "failed"}
    assert result.notes == {"a": "exit code 1"}
    assert "no such luck" in (tmp_path / "out" / "logs" / "a.log").read_text()


def test_an_interrupt_ends_the_tasks(executor: Any, tmp_path: Path) -> None:
    study, directory = cells(tmp_path, ("a", 1200.0))
    pids: dict[str, int] = {}

    def interrupt() -> None:
        pids.update(json.loads(wait_for(directory / "a.json.started")))
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        while_running(interrupt, lambda: run(study, directory, jobs=1, executor=executor()))
    assert not Path(f"/proc/{pids['pid']}").exists()
    assert "KeyboardInterrupt" in (directory / "logs" / "a.log").read_text()


def test_no_cluster_there() -> None:
    from study.executors.ray_cluster import RayExecutor

    with pytest.raises(InputError, match="no Ray cluster at"):
        RayExecutor("127.0.0.1:1")


def wait_for(path: Path, patience_s: float = 600) -> str:
    deadline_s = time.monotonic() + patience_s
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.05)
    return path.read_text()


def while_running(meddle: Callable[[], None], work: Callable[[], StudyResult]) -> StudyResult:
    import threading

    thread = threading.Thread(target=meddle)
    thread.start()
    try:
        return work()
    finally:
        thread.join()
