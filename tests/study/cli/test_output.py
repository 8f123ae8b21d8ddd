"""What the commands of `study` print before and after they run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.zoo.counting import PairCount, PairOutcome, Proportion, ZooCount

STUDY = """
[study]
name = "two"
closing = ["b.txt"]
[[cell]]
name = "first"
run = "judge rubrics"
outputs = ["a.txt"]
stdout = "a.txt"
[[cell]]
name = "second"
run = "judge rubrics correctness"
inputs = ["a.txt"]
outputs = ["b.txt"]
stdout = "b.txt"
show = true
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.toml").write_text(STUDY)
    return tmp_path / "two.toml"


def test_a_plan_is_shown_and_nothing_runs(study: Path, program: Callable[..., Any]) -> None:
    shown = program("study", "run", study, "--dry-run", "--only", "first")
    assert "first  [runs: " in shown.out
    assert "1 of 1 cells would run" in shown.err
    plan = json.loads(program("study", "run", study, "--dry-run", "--json").out)
    assert [(cell["name"], cell["needs"]) for cell in plan["cells"]] == [("first", []), ("second", ["first"])]
    assert not (study.parent / "two").exists()


def test_a_study_ends_with_what_it_shows_and_its_files(study: Path, program: Callable[..., Any]) -> None:
    done = program("study", "run", study, "--jobs", 1)
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == "two/b.txt"
    assert done.out.startswith("---")
    document = json.loads(program("study", "run", study, "--json").out)
    assert {cell["name"]: cell["state"] for cell in document["cells"]} == {"first": "skipped", "second": "skipped"}
    assert (document["complete"], document["closing"]) == (True, ["two/b.txt"])


def test_the_zoo_s_plan_is_a_study_s(study: Path, program: Callable[..., Any]) -> None:
    plan = json.loads(program("study", "zoo", "--pairs", "null-copy", "--dry-run", "--json").out)
    assert plan["dry_run"] is True
    assert len(plan["cells"]) > 3


def test_zoos_are_counted_together_and_nothing_is_made(study: Path, program: Callable[..., Any]) -> None:
    for seed in (0, 1):
        run = PairOutcome(pair="p", seed=seed, cause="copying", named="copying", checks={"single": (1, 1)})
        ZooCount(
            accuracy=Proportion(),
            false_alarms=Proportion(),
            confusion={},
            pairs=(PairCount(name="p", cause="copying", description="One."),),
            runs=(run,),
        ).write(study.parent / str(seed))
    (study.parent / "folder").mkdir()
    empty = program("study", "zoo", "--count", "folder", "-o", "none")
    assert (empty.code, "folder: no *.json in it" in empty.err) == (2, True)
    for seed in (0, 1):
        (study.parent / "folder" / f"{seed}.json").write_bytes((study.parent / str(seed) / "zoo.json").read_bytes())
    whole = program("study", "zoo", "--count", "folder", "-o", "whole")
    assert whole.code == 0, whole.err
    done = program("study", "zoo", "--count", "0/zoo.json", "--count", "1/zoo.json", "-o", "both")
    assert done.out.replace("both", "whole") == whole.out
    assert done.code == 0, done.err
    assert "single causes, some beside a decoy, that were named: 2 of 2 = 100 %" in done.out
    document = json.loads((study.parent / "both" / "zoo.json").read_text())
    assert [run["seed"] for run in document["runs"]] == [0, 1]
    refused = program("study", "zoo", "--count", "0/zoo.json", "--pairs", "null-copy")
    assert (refused.code, "makes nothing" in refused.err) == (2, True)
    assert program("study", "zoo", "--count", "two.toml").code == 2
