"""What a command writes it may replace; what another command or a person made there stays, unless `--overwrite`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

Program = Callable[..., Any]
PAIR = ("results/gentle.s1.jsonl", "results/brisk.s1.jsonl")
SEEDS = tuple(f"results/{name}.{seed}.jsonl" for name in ("gentle", "brisk") for seed in ("s1", "s2"))
STUDY = "[study]\nname = 's'\n[[cell]]\nname = 'a'\nrun = 'judge rubrics'\nstdout = 'x.txt'\n"
COMMANDS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "report": (("judge", "report", *PAIR, "-o", "x"), ("x/report.json", "x/report.html"), ("--title", "T")),
    "audit": (
        ("judge", "audit", *PAIR, "--draws", "100", "-o", "x"),
        ("x/audit.json", "x/audit.html"),
        ("--seed", "1"),
    ),
    "diagnose": (
        ("judge", "diagnose", "gentle", "brisk", "-o", "x"),
        ("x/diagnosis.json", "x/report.json", "x/report.html"),
        ("--margin", "0.1"),
    ),
    "gate": (
        ("judge", "gate", *PAIR, "--log", "log.json", "--margin", "90", "--junit", "x.xml"),
        ("x.xml",),
        ("--require", "equivalent"),
    ),
    "noise": (("study", "noise", *SEEDS, "-o", "x.json"), ("x.json", "x.html"), PAIR[:1]),
    "compare": (("pretrain", "compare", "runs/base", "-o", "x.html"), ("x.html",), ("runs/other",)),
    "data": (
        ("pretrain", "data", "a.txt", "-o", "x", "--workers", "1"),
        ("x/data.json", "x/train.bin"),
        ("--seed", "1"),
    ),
    "study": (("study", "run", "s.toml", "-o", "x"), ("x/x.txt",), ()),
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(Path(__file__).parent / "golden", tmp_path / "g")
    monkeypatch.chdir(tmp_path / "g")
    shutil.copytree("runs/base", "runs/other")
    Path("a.txt").write_text("some text\n\nand more of it\n" * 40)
    Path("s.toml").write_text(STUDY)
    return tmp_path / "g"


@pytest.mark.parametrize("name", COMMANDS)
def test_only_the_very_command_replaces_a_file(name: str, program: Program) -> None:
    command, outputs, other = COMMANDS[name]
    for output in map(Path, outputs):
        output.parent.mkdir(exist_ok=True)
        output.write_text("mine")
        refused = program(*command)
        assert refused.code == 2, refused
        assert output.name in refused.err
        assert output.read_text() == "mine"
        output.unlink()
    assert program(*command).code in (0, 5)
    assert program(*command).code in (0, 5)
    if other:
        before = [Path(output).read_bytes() for output in outputs]
        refused = program(*command, *other)
        assert refused.code == 2, refused
        assert outputs[0].split("/")[-1] in refused.err
        assert [Path(output).read_bytes() for output in outputs] == before
        assert program(*command, *other, "--overwrite").code in (0, 5)
        assert [Path(output).read_bytes() for output in outputs] != before


def test_a_study_takes_the_place_of_a_file_with_overwrite(program: Program) -> None:
    Path("x").mkdir()
    Path("x/x.txt").write_text("mine")
    assert program("study", "run", "s.toml", "-o", "x", "--overwrite").code == 0
    assert "correctness" in Path("x/x.txt").read_text()


@pytest.mark.parametrize(
    ("command", "output"),
    [
        (("judge", "ledger", "export", "l.sqlite", "-o", "x.jsonl"), "x.jsonl"),
        (("pretrain", "world", "demo?people=50", "-o", "x.json"), "x.json"),
    ],
)
def test_lists_replace_only_themselves(command: tuple[str, ...], output: str, program: Program) -> None:
    from judge.scoring.ledger import Ledger

    Ledger(Path("l.sqlite")).close()
    Path(output).write_text('{"mine": 1}')
    refused = program(*command)
    assert refused.code == 2
    assert output in refused.err
    assert Path(output).read_text() == '{"mine": 1}'
    assert program(*command, "--overwrite").code == 0
    assert Path(output).read_text() != '{"mine": 1}'
