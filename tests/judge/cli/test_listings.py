"""What the commands around `judge score` print, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from judge.simulate.replies import Simulation
from judge.simulate.server import Service, serving


def test_rubrics_are_listed_and_shown(program: Callable[..., Any]) -> None:
    assert "correctness" in program("judge", "rubrics").out
    listed = {rubric["name"]: rubric for rubric in json.loads(program("judge", "rubrics", "--json").out)}
    shown = json.loads(program("judge", "rubrics", "correctness", "--json").out)
    assert shown["sha256"] == listed["correctness"]["sha256"]
    assert set(shown["schema"]["properties"]) == {"A", "B"}
    assert "---" in program("judge", "rubrics", "correctness").out


def test_a_preview_shows_what_is_sent_and_keeps_what_is_not(
    program: Callable[..., Any], write_answers: Callable[..., list[Path]]
) -> None:
    files = write_answers(3)
    seen = program("judge", "preview", *files, "--item", 2, "--control-answers", 0)
    assert "--- system (" in seen.out
    assert "the judge does not see that A is " in seen.err
    document = json.loads(program("judge", "preview", *files, "--item", 2, "--canaries", 0, "--json").out)
    (prompt,) = document["prompts"]
    assert prompt["messages"][1]["content"] in seen.out
    assert prompt["shown"]["A"] in seen.err


@pytest.fixture
def ledger(program: Callable[..., Any], write_answers: Callable[..., list[Path]]) -> Path:
    """A ledger of the verdicts on three items."""
    files = write_answers(3)
    with serving(Service(Simulation())) as server:
        assert program("judge", "score", *files, "--judge", f"sim@{server.url}", "--canaries", 0).code == 0
    return files[0].parent / "ledger.sqlite"


def test_a_ledger_is_summed_up_exported_and_pruned(program: Callable[..., Any], ledger: Path) -> None:
    (total,) = json.loads(program("judge", "ledger", "show", ledger, "--json").out)["totals"]
    assert (total["requests"], total["replies"], total["failures"], total["rubric"]) == (3, 3, 0, "correctness")
    assert f"{total['prompt_tokens']:,}" in program("judge", "ledger", "show", ledger).out
    rows = ledger.parent / "replies.jsonl"
    assert program("judge", "ledger", "export", ledger, "-o", rows).code == 0
    assert len(rows.read_text().splitlines()) == 3
    assert "forgot 0 requests" in program("judge", "ledger", "prune", ledger, "--failures").err
    assert "--before" in program("judge", "ledger", "prune", ledger).err
    assert "forgot 3 requests" in program("judge", "ledger", "prune", ledger, "--rubric", "correctness").err
    assert json.loads(program("judge", "ledger", "show", ledger, "--json").out)["totals"] == []


def test_how_far_a_judge_can_be_talked_is_a_row_a_kind(
    program: Callable[..., Any], write_answers: Callable[..., list[Path]]
) -> None:
    files = write_answers(6)
    with serving(Service(Simulation())) as server:
        shown = program("judge", "audit", *files, "--injection", f"sim@{server.url}")
        document = json.loads(program("judge", "audit", *files, "--injection", f"sim@{server.url}", "--json").out)
    assert document["all"]["n"] == sum(kind["n"] for kind in document["kinds"].values()) > 0
    for name in (*document["kinds"], "all", f"correctness by sim@{server.url}"):
        assert name in shown.out
