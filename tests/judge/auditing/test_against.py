"""An anchor set judged twice, over HTTP: what the audit finds, and what a comparison takes for evidence."""

from __future__ import annotations

import json
import random
import shlex
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from equiloss.errors import InputError
from equiloss.records.anchor import AnchorEvidence, load
from judge.auditing.against import against
from judge.cli.main import program
from judge.comparison.compare import compare
from judge.data.anchors import pooled
from judge.data.verdicts import load_judged
from judge.simulate.replies import Model, Personality, Simulation
from judge.simulate.server import Service, serving


def run(*arguments: str | Path):
    return CliRunner().invoke(program, [*map(str, arguments)], catch_exceptions=True)


def refusal(result) -> str:
    assert isinstance(result.exception, InputError), result.exception
    return str(result.exception)


@pytest.fixture
def simulated():
    """The address of a loopback server with these models, by name."""
    with ExitStack() as stack:

        def start(**models: Personality) -> str:
            known = {name: Model(personality) for name, personality in models.items()}
            return stack.enter_context(serving(Service(Simulation(models=known)))).url

        yield start


@pytest.fixture
def answers(tmp_path) -> list[Path]:
    """Answers of two models to forty items, more or less like the references."""
    files = []
    for name in "ab":
        rng = random.Random(name)
        rows = []
        for number in range(40):
            words = random.Random(number).choices(["red", "green", "blue", "one", "two", "sun", "moon", "tree"], k=8)
            kept = rng.randint(0, 8)
            output = " ".join(words[:kept] + rng.choices(["xx", "yy", "zz"], k=8 - kept))
            rows.append({"instruction": f"Say {number}", "reference": " ".join(words), "output": output})
        files.append(tmp_path / f"{name}.jsonl")
        files[-1].write_text("".join(json.dumps({**row, "generator": name}) + "\n" for row in rows))
    return files


@pytest.mark.parametrize(
    ("model", "alike", "shift"), [("twin", True, 0.0), ("lenient", False, 8.0), ("flat", False, None)]
)
def test_planted_differences_between_two_judges_are_found(simulated, answers, tmp_path, model, alike, shift):
    url = simulated(
        old=Personality(noise=0.03),
        twin=Personality(noise=0.03),
        lenient=Personality(noise=0.03, offset=0.1),
        flat=Personality(noise=0.03, spread=0.4),
    )
    assert run("score", *answers, "--judge", f"old@{url}").exit_code == 0
    old = [file.with_name(f"{file.stem}.correctness.old.jsonl") for file in answers]
    before = [file.read_bytes() for file in old]
    folder = tmp_path / "anchor"
    anchors = [word for file in old for word in ("--anchor", file)]
    result = run("score", *anchors, "--judge", f"{model}@{url}", "-o", folder)
    assert result.exit_code == 0, result.stderr
    assert [file.read_bytes() for file in old] == before
    result = run("audit", *answers, "--against", folder, "-o", folder, "--json")
    evidence = AnchorEvidence.model_validate_json(result.stdout)
    [row] = evidence.criteria
    assert (evidence.one_table, row.n_items, row.n_answers) == (alike, 40, 80)
    assert (evidence.first.resolved, evidence.second.resolved) == (("old",), (model,))
    assert load(folder / "against.json").criteria == evidence.criteria
    if shift is not None:
        assert row.shift.value == pytest.approx(shift, abs=2.0)  # cut off at the scale's ends
    else:
        assert row.slope is not None
        assert not row.slope.excludes(0.42) or row.slope.value == pytest.approx(0.4, abs=0.08)


def test_an_anchor_is_judged_anew_though_the_ledger_has_it(simulated, answers, tmp_path):
    url = simulated(old=Personality(noise=0.03))
    run("score", answers[0], "--judge", f"old@{url}")
    verdicts = tmp_path / "a.correctness.old.jsonl"
    kept = verdicts.read_text().splitlines()[:25]
    verdicts.write_text("\n".join(kept) + "\n")
    command = ("score", "--anchor", verdicts, "--judge", f"old@{url}", "-o", tmp_path / "x", "--json")
    document = json.loads(run(*command).stdout)
    [judge] = document["judges"]
    assert (judge["from_ledger"], judge["replies"], document["layout"]) == (0, 25, "pointwise")
    assert document["items"] == 25
    document = json.loads(run(*command).stdout)
    assert document["judges"][0]["replies"] == 0  # the same command goes on where it was


def test_bad_anchors_are_told(answers, tmp_path):
    assert run("score").exit_code == 2
    run("score", answers[0])
    [verdicts] = tmp_path.glob("a.correctness.*e.jsonl")
    assert "no verdict by 'helpfulness'" in refusal(run("score", "--anchor", verdicts, "--rubric", "helpfulness"))
    (tmp_path / "none").mkdir()
    assert "holds no verdicts" in refusal(run("audit", answers[0], "--against", tmp_path / "none"))
    answers[0].rename(tmp_path / "z.txt")
    assert "the answers of 'a' are not beside" in refusal(run("score", "--anchor", verdicts))


def test_the_offline_judge_is_the_same_at_any_time(answers, tmp_path):
    run("score", *answers)
    anchors = [word for file in sorted(tmp_path.glob("?.correctness.*e.jsonl")) for word in ("--anchor", file)]
    assert run("score", *anchors, "-o", tmp_path / "again").exit_code == 0
    result = run("audit", *answers, "--against", tmp_path / "again")
    assert "may stand in one table" in result.stdout


def scores(n: int, shift: float, seed: int = 0) -> list[list[float | None]]:
    rng = np.random.default_rng([seed])
    return [list(np.clip(np.random.default_rng(9).normal(50, 15, n) + shift + rng.normal(0, 4, n), 0, 100))]


def test_versions_of_a_judge_are_not_mixed_without_evidence(write_run, tmp_path):
    a = write_run("a", scores(60, 0.0), scale=(0.0, 100.0), judge_resolved="v1")
    b = write_run("b", scores(60, 0.0, 1), scale=(0.0, 100.0), judge_resolved="v2")
    error = refusal(run("gate", a, b))
    assert error == refusal(run("compare", a, b))
    assert "a was judged by v1, b by v2" in error
    assert run("report", a, b, "-o", tmp_path / "page").exit_code == 0  # where the diagnosis speaks of the drift
    assert "answered as 2 different models" in (tmp_path / "page" / "report.json").read_text()
    commands = error.split("`")[1].split(" && ")
    assert [shlex.split(command)[:2] for command in commands] == [["judge", "score"], ["judge", "audit"]]
    write_run("a", scores(60, 0.5, 2), scale=(0.0, 100.0), judge_resolved="v2", directory=tmp_path / "anchor")
    assert run(*shlex.split(commands[1])[1:]).exit_code == 0
    result = run("compare", a, b, "--evidence", tmp_path / "anchor" / "against.json", "--json")
    assert result.exit_code == 0, result.exception
    assert json.loads(result.stdout)["n_items"] == 60
    assert run("gate", a, b, "--evidence", tmp_path / "anchor" / "against.json").exit_code == 0
    for command, *output in (("diagnose",), ("report", "-o", tmp_path / "pooled")):
        result = run(command, a, b, "--evidence", tmp_path / "anchor" / "against.json", "--json", *output)
        assert result.exit_code == 0, result.exception
        assert "different models" not in result.stdout
    write_run("a", scores(60, 9.0, 2), scale=(0.0, 100.0), judge_resolved="v2", directory=tmp_path / "anchor")
    run(*shlex.split(commands[1])[1:])
    error = refusal(run("compare", a, b, "--evidence", tmp_path / "anchor" / "against.json"))
    assert "may not stand in one table: the shift" in error


def test_a_version_that_judged_an_item_for_all_runs_is_no_mixture(write_run):
    half = [[10.0, 20.0, None, None], [None, None, 30.0, 40.0]]
    files = [write_run(name, half) for name in "ab"]
    for file in files:
        verdicts = file.with_name(f"{file.stem}.correctness.gpt-4.jsonl")
        lines = [json.loads(line) for line in verdicts.read_text().splitlines()]
        for number, line in enumerate(lines):
            line["judge_resolved"] = "v1" if number < 2 else "v2"
        verdicts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert compare(load_judged(files)).n_items == 4


def test_two_judges_share_a_table_by_evidence_alone(write_run, tmp_path):
    a = write_run("a", scores(60, 0.0), scale=(0.0, 100.0), judge="one", judge_resolved="one-1")
    b = write_run("b", scores(60, 0.0, 1), scale=(0.0, 100.0), judge="two", judge_resolved="two-1")
    assert run("gate", a, b).exit_code != 0
    assert "judge score" in refusal(run("compare", a, b))
    write_run(
        "a", scores(60, 0.0, 2), scale=(0.0, 100.0), judge="two", judge_resolved="two-1", directory=tmp_path / "x"
    )
    assert run("audit", a, "--against", tmp_path / "x", "-o", tmp_path / "x").exit_code == 0
    result = run("compare", a, b, "--evidence", tmp_path / "x" / "against.json", "--json")
    document = json.loads(result.stdout)
    assert (document["judge"], document["n_items"]) == ("one", 60)
    c = write_run("c", scores(60, 0.0), judge="three", judge_resolved="three")
    d = write_run("d", scores(60, 0.0), judge="three", judge_resolved="three")
    assert "not these verdicts" in refusal(run("compare", c, d, "--evidence", tmp_path / "x" / "against.json"))
    own = load_judged([a])
    assert pooled(own, []) == own


def test_criteria_are_held_apart_and_the_drift_of_one_is_told(write_run, tmp_path):
    rng = np.random.default_rng(0)
    truth = rng.uniform(2, 8, 80)
    first = load_judged([write_run("a", [list(truth)], scale=(0.0, 10.0))])
    moving = truth + np.linspace(-1.5, 1.5, 80) + rng.normal(0, 0.3, 80)
    second = load_judged([write_run("a", [list(np.clip(moving, 0, 10))], scale=(0.0, 10.0), directory=tmp_path / "x")])
    evidence = against(first, second)
    [row] = evidence.criteria
    assert row.drift is not None
    assert row.drift.value == pytest.approx(3.0, abs=0.3)
    assert any("drifts away" in fault for fault in row.faults)
    assert not evidence.one_table
    assert against(first, second, margin=4.0).one_table
