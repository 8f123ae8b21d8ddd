"""Joining responses, verdicts, failures and run records."""

import json
from pathlib import Path

import pytest

from equiloss.errors import InputError
from equiloss.records.ift_run import IftRun
from judge.data.verdicts import Panel, load_judged


def test_a_response_file_brings_what_lies_beside_it(write_run):
    a = write_run("a", [[1.0, 2.0], [3.0, None]], run={"format": "equiloss.ift-run.v1"})
    write_run("a.b", [[9.0, 9.0]])  # its name begins like a's
    [judged] = load_judged([a])
    assert judged.generator == "a"
    assert [one.output for one in judged.responses.values()] == ["a says 0", "a says 1"]
    assert [one.value for one in judged.verdicts] == [1.0, 2.0, 3.0]
    assert [one.reason for one in judged.failures] == ["unparsable"]
    assert isinstance(judged.run, IftRun)
    assert [path.name for path in judged.files] == [
        "a.jsonl",
        "a.run.json",
        "a.correctness.gpt-4.jsonl",
        "a.correctness.gpt-4.failures.jsonl",
    ]


def test_a_verdict_file_brings_its_responses_and_leaves_other_judges_out(write_run):
    a = write_run("a", [[1.0, 2.0]])
    write_run("a", [[5.0, 6.0]], judge="llama")
    [judged] = load_judged([a.with_name("a.correctness.llama.jsonl")])
    assert judged.path == a
    assert [one.value for one in judged.verdicts] == [5.0, 6.0]
    assert judged.panels() == [Panel("correctness", "llama")]


def test_verdicts_in_another_directory_meet_their_responses_when_both_are_named(write_run, tmp_path):
    a = write_run("a", [[1.0, 2.0]])
    elsewhere = tmp_path / "verdicts" / "a.correctness.gpt-4.jsonl"
    elsewhere.parent.mkdir()
    a.with_name("a.correctness.gpt-4.jsonl").rename(elsewhere)
    [alone] = load_judged([elsewhere])
    assert alone.path is None
    assert len(alone.verdicts) == 2
    [both] = load_judged([elsewhere, a])
    assert both.path == a
    assert len(both.responses) == len(both.verdicts) == 2


def test_naming_a_failures_file_too_changes_nothing(write_run):
    a = write_run("a", [[1.0, None, 3.0]])
    failures = a.with_name("a.correctness.gpt-4.failures.jsonl")
    assert load_judged([a, failures]) == load_judged([a])
    [alone] = load_judged([failures])
    assert (alone.path, len(alone.verdicts), len(alone.failures)) == (a, 2, 1)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda write, tmp: [tmp / "none.jsonl"], "no such file"),
        (lambda write, tmp: [write("a", [[1.0]], run={}).with_name("a.run.json")], "is a run's record"),
        (
            lambda write, tmp: [
                write("a", [[1.0]]),
                write("a", [[1.0]], directory=tmp / "other"),
            ],
            "both hold answers of 'a'",
        ),
    ],
)
def test_bad_files_are_told_in_one_line(build, message, write_run, tmp_path):
    with pytest.raises(InputError, match=message):
        load_judged(build(write_run, tmp_path))


def test_a_json_array_is_a_response_file(tmp_path: Path):
    path = tmp_path / "diary.json"
    path.write_text(json.dumps([{"instruction": "Q", "input": "", "output": "ref", "model_response": "mine"}]))
    [judged] = load_judged([path])
    [response] = judged.responses.values()
    assert (judged.generator, response.output, response.reference) == ("diary", "mine", "ref")
