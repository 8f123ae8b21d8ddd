"""The fuzzer sees what it is there to see, and half a minute of it finds nothing."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

pytest.importorskip("torch")

FOLDER = Path(__file__).parent
SEED = "20261128"


def fuzzer(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FOLDER / "fuzz.py"), "--folder", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("fuzz")
    return folder, fuzzer(folder, "--seed", SEED, "--cases", "100")


def test_a_while_of_fuzzing_finds_nothing(fuzzed: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = fuzzed
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 violations at 0 places" in done.stdout
    progress = json.loads((folder / "progress.json").read_text())
    assert progress == {"seed": int(SEED), "next": 100}


PLANTED = """
import os, sys, time
sys.path.insert(0, {folder!r})
import fuzz, judge.cli.main as program
from pathlib import Path
from targets import Target

def main():
    kind, *_ = Path("results/labels.jsonl").read_text().split()
    if kind == "raise":
        raise KeyError("planted")
    if kind == "spin":
        while True:
            pass
    if kind == "sleep":
        time.sleep(60)
    if kind == "die":
        os.kill(os.getpid(), 11)
    if kind == "half":
        Path("out").mkdir()
        Path("out/x.json").write_text("{{")
    if kind == "change":
        Path("results/report.json").write_text("{{}}")
    if kind == "left":
        Path("results/.x.tmp").write_text("")
    if kind == "quiet":
        sys.exit(2)
    if kind == "odd":
        sys.exit(9)
    if kind == "kept":
        Path("out").mkdir()
        Path("out/x.txt").write_text("x")
        sys.stderr.write("error: no\\n")
        sys.exit(2)
    sys.stderr.write("error: no\\n")
    sys.exit(2 if kind == "refuse" else 0)

program.main = main
fuzz.HANG_S, fuzz.WAIT_S = 1.0, 4.0
place = fuzz.Place(Path({place!r}))
target = Target("labels", "results/labels.jsonl", "jsonl", ("judge compare",))
for kind in {kinds!r}:
    found, _ = place.check(target, "judge compare", kind.encode())
    print(kind, found.what if found else None, fuzz.snapshot(place.work) == place.before)
"""


def test_each_way_to_end_badly_is_seen_and_mended(fuzzed: tuple[Path, Any]) -> None:
    expected = {
        "fine": "None",
        "raise": "traceback",
        "spin": "hang",
        "sleep": "hang",
        "die": "signal",
        "half": "half-written",
        "change": "input changed",
        "left": "input changed",
        "quiet": "no message",
        "odd": "exit code",
        "kept": "output after exit code 2",
        "refuse": "None",
    }
    program = PLANTED.format(folder=str(FOLDER), place=str(fuzzed[0]), kinds=list(expected))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    seen = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert seen == {kind: f"{what} True" for kind, what in expected.items()}


def test_mutations_are_of_every_form_and_repeat(fuzzed: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    import mutate  # pyright: ignore[reportMissingImports]
    import targets  # pyright: ignore[reportMissingImports]

    paths = {target.form: fuzzed[0] / "corpus" / target.path for target in targets.TARGETS}
    assert paths.keys() == mutate.STRUCTURED.keys()
    for form, path in paths.items():
        data = path.read_bytes()
        changed = [mutate.STRUCTURED[form](data, Random(number)) for number in range(30)]
        assert sum(other != data for other in changed) > 15, form
        assert mutate.mutate(data, form, Random(5)) == mutate.mutate(data, form, Random(5)), form


def test_a_document_that_holds_itself_can_be_mutated_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    import mutate  # pyright: ignore[reportMissingImports]
    import torch

    document: dict[str, Any] = {"a": [1, 2], "b": torch.zeros(2)}
    document["a"].append(document)
    torch.save(document, buffer := io.BytesIO())
    changed = [mutate.torch_value(buffer.getvalue(), Random(seed)) for seed in range(20)]
    assert sum(other != buffer.getvalue() for other in changed) > 10
