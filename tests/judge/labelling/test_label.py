"""Blind rating by a person: the sample, taking it up again, the scale, and the audit beside it."""

import json

import pytest
from typer.testing import CliRunner

from equiloss.errors import InputError
from judge import rubrics
from judge.auditing.audit import audit
from judge.cli.main import program
from judge.data.verdicts import load_judged
from judge.labelling import label

CORRECTNESS = rubrics.load("correctness")


def test_ratings_are_blind_kept_at_once_and_taken_up_again(write_run, tmp_path):
    a = write_run("secret-model", [[10.0 * i for i in range(10)]], outputs=[f"text {i}" for i in range(10)])
    path = tmp_path / "labels.jsonl"
    args = ["label", str(a), "-o", str(path), "-n", "5", "--retest", "0.4"]
    first = CliRunner().invoke(program, args, input="10\n200\n20\nq\n")
    assert first.exit_code == 0, first.output
    assert "secret-model" not in first.output
    assert [one.value for one in label.read_labels(path)] == [10.0, 20.0]  # 200 is off the scale: asked again
    second = CliRunner().invoke(program, args, input="30\n40\n50\n11\n21\n")
    assert second.exit_code == 0, second.output
    found = label.read_labels(path)
    assert [one.round for one in found] == [0, 0, 0, 0, 0, 1, 1]
    assert len({(one.id, one.round) for one in found}) == 7
    assert CliRunner().invoke(program, args, input="").exit_code == 0  # nothing is left to ask


def test_where_the_input_ends_what_is_said_next_begins_a_line(write_run, tmp_path):
    a = write_run("a", [[10.0, 20.0]])
    result = CliRunner().invoke(program, ["label", str(a), "-o", str(tmp_path / "labels.jsonl")], input="10\n")
    assert result.exit_code == 0, result.output
    prompts = [line for line in result.output.splitlines() if "q stops" in line]
    assert len(prompts) == 2
    assert prompts[-1].rstrip(" :").endswith("q stops")


def test_the_scale_is_the_rubrics(write_run, tmp_path):
    a = write_run("a", [[1.0, 2.0]])
    path = tmp_path / "labels.jsonl"
    args = ["label", str(a), "-o", str(path), "--rubric", "helpfulness", "--retest", "0"]
    result = CliRunner().invoke(program, args, input="7\n101\nten\n15\n20\n")
    assert result.exit_code == 0, result.output
    assert "0 to 100 in steps of 5" in result.output
    found = label.read_labels(path)
    assert [one.value for one in found] == [15.0, 20.0]
    assert (found[0].rubric, found[0].low, found[0].high) == ("helpfulness", 0.0, 100.0)
    other = CliRunner().invoke(program, ["label", str(a), "-o", str(path), "--rubric", "mt-bench-like"])
    assert other.exit_code != 0
    assert isinstance(other.exception, InputError)
    with pytest.raises(InputError, match="which of two"):
        label.LabellingSession([], path, rubrics.load("pairwise"))


def test_the_audit_sets_the_judge_beside_the_person(write_run, tmp_path):
    judged = load_judged([write_run("a", [[10.0 * i for i in range(10)]])])
    session = label.LabellingSession(label.sample(judged, 10, retest=0.5), tmp_path / "l.jsonl", CORRECTNESS)
    truth = {v.id: v.value for v in judged[0].verdicts}
    label.rate(session, lambda response, place, total: truth[response.id] + place % 2)
    people, again = audit(judged, labels=label.read_labels(session.path), draws=100).agreement[-2:]
    assert (people.n, people.spearman) == (10, pytest.approx(1.0))
    assert people.kappa is not None
    assert people.kappa > 0.99
    assert (again.with_, again.n) == ("the person's own second ratings", 5)


def test_raters_are_told_apart_and_a_later_line_replaces_an_earlier(write_run, tmp_path):
    judged = load_judged([write_run("a", [[50.0] * 4])])
    tasks, path = label.sample(judged, 4, retest=0.5), tmp_path / "l.jsonl"
    for rater, value in (("ann", 10.0), ("bob", 30.0)):
        session = label.LabellingSession(tasks, path, CORRECTNESS, rater)
        label.rate(session, lambda response, place, total, value=value: value)
        session.rate(0, value + 2)  # thought better of
    found = label.read_labels(path)
    assert len(found) == 2 * (4 + 2)
    first = label.first_ratings(found)
    assert sorted(first.values()) == [20.0, 20.0, 20.0, 22.0]
    assert len(label.retests(found)) == 4


def test_labels_of_another_rubric_or_scale_are_refused():
    mine = [label.Label(id="1", generator="a", value=7, rubric="mt-bench-like", low=1, high=10)]
    assert label.fitting(mine, "mt-bench-like", (1, 10)) == mine
    with pytest.raises(InputError, match="by rubric mt-bench-like"):
        label.fitting(mine, "correctness", (0, 100))
    with pytest.raises(InputError, match="scale"):
        label.fitting([label.Label(id="1", generator="a", value=70)], "mt-bench-like", (1, 10))
    assert label.fitting([], "correctness", (0, 100)) == []


def test_bad_labels(tmp_path):
    (tmp_path / "l.jsonl").write_text(json.dumps({"id": "x"}) + "\n")
    with pytest.raises(InputError, match="line 1"):
        label.read_labels(tmp_path / "l.jsonl")
    with pytest.raises(InputError, match="no answers"):
        label.sample([], 5)
