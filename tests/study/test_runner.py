"""Studies of real little commands, run through the real program."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.executors.process import argv_of
from study.executors.services import ServicePool
from study.runner import tail

WORK = """
import os, sys, time
from pathlib import Path
out, *words = sys.argv[1:]
with open("calls.txt", "a") as f:
    f.write(f"{out}\\n")
text = " ".join(Path(w[1:]).read_text().strip() if w.startswith("@") else w for w in words)
if "fail" in words:
    print("about to fail", file=sys.stderr)
    sys.exit("no such luck")
if "sleep" in words:
    (Path("pids") / out).write_text(str(os.getpid()))
    time.sleep(900)
print("made", text, os.environ.get("OMP_NUM_THREADS"))
Path(out).parent.mkdir(parents=True, exist_ok=True)
if "nothing" not in words:
    Path(out).write_text(text + "\\n")
"""

Toml = Callable[[str], Path]


@pytest.fixture
def toml(tmp_path: Path) -> Toml:
    (tmp_path / "work.py").write_text(WORK)
    (tmp_path / "out" / "pids").mkdir(parents=True)

    def write(cells: str, head: str = "") -> Path:
        path = tmp_path / "s.toml"
        path.write_text(f'[study]\nname = "s"\n{head}\n{cells}')
        return path

    return write


def cell(name: str, words: str, inputs: str = "", more: str = "") -> str:
    reads = json.dumps(inputs.split())
    run = f"python {{here}}/work.py {name}.txt {words}"
    return f'[[cell]]\nname = "{name}"\nrun = "{run}"\ninputs = {reads}\noutputs = ["{name}.txt"]\n{more}\n'


def command(path: Path, *flags: str) -> list[str]:
    return [*argv_of(["study", "run", str(path), "-o", str(path.parent / "out")]), *flags]


def study(path: Path, *flags: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    return subprocess.run(command(path, *flags), capture_output=True, text=True, env=clean | env, timeout=900)


def calls(path: Path) -> list[str]:
    log = path.parent / "out" / "calls.txt"
    rows = [row.removesuffix(".txt") for row in log.read_text().split()] if log.exists() else []
    log.unlink(missing_ok=True)
    return rows


def states(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    document: dict[str, Any] = json.loads(done.stdout)
    return {entry["name"]: entry["state"] for entry in document["cells"]}


def test_runs_in_order_shows_and_closes(toml: Toml) -> None:
    head = 'closing = ["page.html", "c.txt", "not-made.txt"]'
    path = toml(
        cell("c", "@a.txt @b.txt", "a.txt b.txt", "show = true")
        + cell("a", "1")
        + cell("b", "2")
        + '[[cell]]\nname = "page"\nrun = "python -c \'print(42)\'"\nstdout = "page.html"\n'
    )
    path.write_text(path.read_text().replace('name = "s"', f'name = "s"\n{head}', 1))
    done = study(path, "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert (path.parent / "out" / "c.txt").read_text() == "1 2\n"
    assert (path.parent / "out" / "page.html").read_text() == "42\n"
    lines = done.stdout.splitlines()
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    assert lines[0] == f"made 1 2 {threads}"
    assert [Path(line).name for line in lines[1:]] == ["c.txt", "page.html"]
    assert "[4/4]" in done.stderr
    assert calls(path)[-1] == "c"
    again = study(path)
    assert again.returncode == 0
    assert calls(path) == []
    assert again.stdout.splitlines()[-1] == lines[-1]


def test_what_a_cell_clears_goes_with_its_outputs_and_only_before_another_command(toml: Toml) -> None:
    path = toml(cell("a", "1", "", 'clears = ["kept/state"]'))
    out = path.parent / "out"
    assert study(path).returncode == 0
    for name in ("state", "beside"):
        (out / "kept" / name).mkdir(parents=True)
    assert study(path).returncode == 0
    assert (out / "kept" / "state").exists()
    toml(cell("a", "2", "", 'clears = ["kept/state"]'))
    assert study(path).returncode == 0
    assert (out / "a.txt").read_text() == "2\n"
    assert [one.name for one in (out / "kept").iterdir()] == ["beside"]
    outside = study(toml(cell("a", "2", "", 'clears = ["../elsewhere"]')))
    assert outside.returncode == 2
    assert "'../elsewhere' is not inside the study's directory" in outside.stderr


def test_only_what_changed_runs_again(toml: Toml) -> None:
    path = toml(cell("a", "1") + cell("b", "@a.txt", "a.txt") + cell("c", "3"))
    out = path.parent / "out"
    assert study(path).returncode == 0
    calls(path)
    toml(cell("a", "2") + cell("b", "@a.txt", "a.txt") + cell("c", "3"))
    preview = study(path, "--dry-run")
    assert "a  [runs: changed: the command]" in preview.stdout
    assert "b  [runs: after a]" in preview.stdout
    assert "c  [finished]" in preview.stdout
    assert states(study(path, "--json")) == {"a": "done", "b": "done", "c": "skipped"}
    assert (out / "b.txt").read_text() == "2\n"
    assert sorted(calls(path)) == ["a", "b"]
    (out / "c.txt").write_text("edited\n")
    assert states(study(path, "--json")) == {"a": "skipped", "b": "skipped", "c": "done"}
    assert (out / "c.txt").read_text() == "3\n"
    (out / "b.txt").unlink()
    assert states(study(path, "--json", "--only", "b")) == {"a": "skipped", "b": "done"}
    calls(path)
    assert states(study(path, "--json", "--again", "c*")) == {"a": "skipped", "b": "skipped", "c": "done"}
    assert calls(path) == ["c"]


def test_a_rerun_that_changes_nothing_stops_there(toml: Toml) -> None:
    path = toml(cell("a", "1") + cell("b", "@a.txt", "a.txt"))
    assert study(path).returncode == 0
    assert states(study(path, "--json", "--again", "a")) == {"a": "done", "b": "skipped"}


def test_a_failed_cell_stops_only_what_needs_it(toml: Toml) -> None:
    body = cell("b", "@a.txt", "a.txt") + cell("d", "@b.txt", "b.txt") + cell("c", "3")
    path = toml(cell("a", "fail") + body)
    done = study(path, "--json")
    assert done.returncode == 3
    assert states(done) == {"a": "failed", "b": "blocked", "d": "blocked", "c": "done"}
    assert "  | no such luck" in done.stderr
    assert "1 of 4 cells failed (a), 2 more wait for them" in done.stderr
    toml(cell("a", "1") + body)
    done = study(path, "--json")
    assert done.returncode == 0
    assert states(done) == {"a": "done", "b": "done", "d": "done", "c": "skipped"}


def test_a_command_that_does_not_write_its_output_has_failed(toml: Toml) -> None:
    path = toml(cell("a", "nothing"))
    done = study(path)
    assert done.returncode == 3
    assert "a: failed" in done.stderr
    assert "it did not write a.txt" in done.stderr


def test_a_missing_input_is_a_mistake(toml: Toml) -> None:
    path = toml(cell("a", "1", "nowhere.txt"))
    done = study(path)
    assert done.returncode == 2
    assert "cell 'a' reads nowhere.txt, which no cell writes" in done.stderr
    assert calls(path) == []


def start(path: Path, *flags: str) -> subprocess.Popen[str]:
    pids = path.parent / "out" / "pids"
    process = subprocess.Popen(
        command(path, *flags), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_for(lambda: any(file.read_text() for file in pids.iterdir()))
    return process


def wait_for(condition: Callable[[], bool], patience_s: float = 600) -> None:
    deadline_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def sleeper(path: Path) -> int:
    return int((path.parent / "out" / "pids" / "slow.txt").read_text())


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupt_ends_the_cells_and_the_same_command_goes_on(toml: Toml, name: str) -> None:
    path = toml(cell("quick", "1") + cell("slow", "sleep", "quick.txt", 'resume = "again"'))
    process = start(path)
    pid = sleeper(path)
    process.send_signal(signal.Signals[name])
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 130
    assert "stopping slow" in stderr
    assert not alive(pid)
    assert "KeyboardInterrupt" in (path.parent / "out" / "logs" / "slow.log").read_text()
    (path.parent / "work.py").write_text(WORK.replace('if "sleep" in words', 'if "again" not in words'))
    calls(path)
    done = study(path, "--json")
    assert states(done) == {"quick": "skipped", "slow": "done"}
    assert (path.parent / "out" / "slow.txt").read_text() == "sleep again\n"


def test_a_hangup_does_not_end_what_nohup_started(toml: Toml) -> None:
    path = toml(cell("slow", "sleep"))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = start(path)
    finally:
        signal.signal(signal.SIGHUP, before)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=600)
    assert process.returncode == 130


def test_cells_do_not_outlive_a_killed_study(toml: Toml) -> None:
    path = toml(cell("slow", "sleep"))
    process = start(path)
    pid = sleeper(path)
    process.kill()
    process.communicate(timeout=600)
    wait_for(lambda: not alive(pid))


def test_a_killed_cell_is_started_again(toml: Toml) -> None:
    path = toml(cell("slow", "sleep", "", 'resume = "again"'))
    process = start(path, "--json")
    pid = sleeper(path)
    (path.parent / "work.py").write_text(WORK.replace('if "sleep" in words', 'if "again" not in words'))
    os.kill(pid, signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stderr
    assert "ended by SIGKILL; started again (1 of 2)" in stderr
    assert json.loads(stdout)["cells"][0]["state"] == "done"
    record = json.loads((path.parent / "out" / ".study" / "cells" / "slow.json").read_text())
    assert record["attempts"] == 2


SLOWLY = """
import sys, time
from pathlib import Path
out, *words = sys.argv[1:]
text = " ".join(Path(word[1:]).read_text().strip() if word.startswith("@") else word for word in words)
with open(out, "w") as f:
    for letter in text + "\\n":
        f.write(letter)
        f.flush()
        time.sleep(0.002)
"""


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_killed_at_fifty_moments(kill_again: Any, tmp_path: Path) -> None:
    (tmp_path / "slowly.py").write_text(SLOWLY)
    names = [f"c{number}" for number in range(24)]
    cells, expected = "", dict.fromkeys([""], "")
    for name, before in zip(names, ["", "", *names], strict=False):
        reads = [f"{before}.txt"] if before else []
        words = f"{name}.txt {name} {'@{inputs}' if before else ''}"
        cells += f'[[cell]]\nname = "{name}"\nrun = "python {{here}}/slowly.py {words}"\n'
        cells += f'inputs = {json.dumps(reads)}\noutputs = ["{name}.txt"]\n'
        expected[name] = f"{name} {expected[before]}".strip()
    del expected[""]
    file = tmp_path / "s.toml"
    file.write_text(f'[study]\nname = "s"\n{cells}')

    def begin(directory: Path) -> subprocess.Popen[bytes]:
        command = [*argv_of(["study", "run", str(file)]), "-o", str(directory), "--jobs", "2"]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def progress(directory: Path) -> object:
        return [path.name for path in directory.glob("c*.txt")]

    for directory in kill_again(begin, progress, 50):
        assert {name: (directory / f"{name}.txt").read_text().strip() for name in names} == expected
        records = [json.loads(path.read_text()) for path in (directory / ".study" / "cells").glob("*.json")]
        assert [record["status"] for record in records] == ["done"] * len(names)


def test_what_somebody_put_into_an_output_is_set_aside(toml: Toml) -> None:
    first = cell("a", "one").replace("a.txt", "d/a.txt").replace('outputs = ["d/a.txt"]', 'outputs = ["d"]')
    assert study(toml(first)).returncode == 0
    out = toml(first).parent / "out"
    (out / "d" / "thesis.txt").write_text("mine")
    again = study(toml(first.replace("one", "two")))
    assert again.returncode == 0, again.stderr
    assert "thesis.txt is not this study's: set aside" in again.stderr
    assert (out / "d" / "a.txt").read_text() == "two\n"
    assert not (out / "d" / "thesis.txt").exists()
    assert [path.read_text() for path in (out / ".study" / "aside").rglob("thesis.txt")] == ["mine"]


def test_one_study_at_a_time_in_a_directory(toml: Toml) -> None:
    path = toml(cell("slow", "sleep"))
    process = start(path)
    second = study(path)
    assert second.returncode == 2
    assert "another `study run` is at work there" in second.stderr
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=600)
    assert process.returncode == 130


SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"served")
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_a_service_runs_while_it_is_used(toml: Toml) -> None:
    path = toml(
        '[[service]]\nname = "web"\nrun = "python {here}/server.py {port}"\n'
        '[[cell]]\nname = "ask"\nuses = ["web"]\nstdout = "answer.txt"\n'
        'run = "python {here}/ask.py {web.port}"\n'
    )
    (path.parent / "server.py").write_text(SERVER)
    (path.parent / "ask.py").write_text(
        "import sys, urllib.request as u\n"
        "open('port', 'w').write(sys.argv[1])\n"
        "print(u.urlopen(f'http://127.0.0.1:{sys.argv[1]}').read().decode())"
    )
    done = study(path, no_proxy="127.0.0.1")
    assert done.returncode == 0, done.stderr
    out = path.parent / "out"
    assert (out / "answer.txt").read_text() == "served\n"
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int((out / "port").read_text()))) != 0
    assert study(path, "--json").stdout.count('"skipped"') == 1  # the port is not part of the cell
    path.write_text(path.read_text().replace("server.py {port}", "server.py {port} other"))
    assert study(path, "--json").stdout.count('"done"') == 1  # the service's own command is


def test_a_service_that_dies_fails_its_cells(toml: Toml) -> None:
    path = toml(
        '[[service]]\nname = "web"\nrun = "python -c 1 {port}"\n'
        '[[cell]]\nname = "ask"\nuses = ["web"]\nrun = "python -c 1"\n'
    )
    done = study(path)
    assert done.returncode == 3
    assert "service 'web' does not answer" in done.stderr


def test_stopping_a_service_that_never_ran(tmp_path: Path) -> None:
    services = ServicePool(tmp_path, tmp_path)
    services.keep(())
    services.close()


def test_the_tail_of_a_log_reads_progress_bars(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_bytes(b"one\n\x1b[32mtwo\x1b[0m\r  \rthree\xff\n\n")
    assert tail(log, 2) == ["two", "three\ufffd"]
    assert tail(tmp_path / "none", 2) == []


def test_python_is_this_python() -> None:
    assert argv_of(["torchrun", "-m", "x"]) == [sys.executable, "-P", "-m", "torch.distributed.run", "-m", "x"]
