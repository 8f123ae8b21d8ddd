"""The README's commands run in their order in an empty directory, in a smaller world and with fewer steps."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")

README = Path(__file__).resolve().parent.parent / "README.md"
SMALLER = {
    ("pretrain", "run"): ["--set", "train.steps=4", "--set", "model.n_layer=1"],
    ("ift", "run"): ["--set", "epochs=1", "--set", "decoding.max_new_tokens=4"],
}
"""What a command gets behind its own words, so that the test costs seconds."""


def commands_to_run() -> list[str]:
    blocks = re.findall(r"<!-- tested -->\n```console\n(.*?)```", README.read_text(), flags=re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


def test_the_readme_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: Callable):
    monkeypatch.chdir(tmp_path)
    commands = commands_to_run()
    assert len(commands) >= 10
    for command in commands:
        words = shlex.split(re.sub(r"world:demo[^'\s]*", "world:tiny", command))
        outcome = program(*words, *SMALLER.get((words[0], words[1]), []))
        assert outcome.code == 0, (command, outcome.err)
    assert (tmp_path / "results" / "plain.jsonl").stat().st_size
    assert "<html" in (tmp_path / "report" / "report.html").read_text()


def test_the_readme_names_files_that_exist():
    for path in re.findall(r"\]\((?!https?:)([^)#]+)\)", README.read_text()):
        assert (README.parent / path).exists(), path
