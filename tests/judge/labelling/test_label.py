"""Blind rating by a person: the sample, taking it up again, and the audit beside it."""

import json

import pytest
from click.testing import CliRunner

from judge import results
from judge.audit import audit
from judge.cli import program
from judge.labelling import label
from pretrain.errors import InputError


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


def test_the_audit_sets_the_judge_beside_the_person(write_run, tmp_path):
    judged = results.load([write_run("a", [[10.0 * i for i in range(10)]])])
    tasks = label.sample(judged, 10, retest=0.5)
    truth = {v.id: v.value for v in judged[0].verdicts}
    label.rate(tasks, tmp_path / "l.jsonl", lambda response, place, total: truth[response.id] + place % 2)
    people, again = audit(judged, labels=label.read_labels(tmp_path / "l.jsonl"), draws=100).agreement[-2:]
    assert (people.n, people.spearman) == (10, pytest.approx(1.0))
    assert people.kappa is not None
    assert people.kappa > 0.99
    assert (again.with_, again.n) == ("the person's own second ratings", 5)


def test_bad_labels(tmp_path):
    (tmp_path / "l.jsonl").write_text(json.dumps({"id": "x"}) + "\n")
    with pytest.raises(InputError, match="line 1"):
        label.read_labels(tmp_path / "l.jsonl")
    with pytest.raises(InputError, match="no answers"):
        label.sample([], 5)
