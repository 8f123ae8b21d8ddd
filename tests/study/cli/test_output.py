"""What the commands of `study` print before and after they run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
