import pytest
from hypothesis import given
from hypothesis import strategies as st

from equiloss.errors import InputError
from equiloss.records.verdict import Verdict, file_name, read_verdicts, write_verdicts


def verdict(**changes: object) -> Verdict:
    fields: dict[str, object] = {
        "id": "0123456789abcdef",
        "generator": "run1",
        "criterion": "correctness",
        "value": 73.0,
        "explanation": "names the river, not the country",
        "repeat": 1,
        "position": 0,
        "group": ["run1", "run2"],
        "rubric": "correctness",
        "rubric_sha": "ab",
        "judge": "some-model",
        "judge_resolved": "some-model-2026-01-01",
        "request_sha": "cd",
        "cost_usd": 0.0001,
    }
    return Verdict.model_validate(fields | changes)


def test_verdicts_round_trip_with_unknown_fields(tmp_path):
    path = tmp_path / "v.jsonl"
    written = [verdict(), verdict(id="b", note="kept")]
    write_verdicts(path, written)
    assert read_verdicts(path) == written
    assert '"schema": "equiloss.verdict.v1"' in path.read_text()


@given(st.text(), st.text())
def test_an_explanation_survives_whatever_the_judge_wrote(tmp_path_factory, explanation, generator):
    path = tmp_path_factory.mktemp("v") / "v.jsonl"
    write_verdicts(path, [verdict(explanation=explanation, generator=generator)])
    (read,) = read_verdicts(path)
    assert (read.explanation, read.generator) == (explanation, generator)


def test_a_verdict_file_is_named_after_what_made_it():
    assert file_name("run1", "correctness", "gpt-5-mini") == "run1.correctness.gpt-5-mini.jsonl"
    assert file_name("run1", "correctness", "org/model:7b", failures=True) == (
        "run1.correctness.org-model-7b.failures.jsonl"
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"instruction": "x", "output": "y"}', "line 1 is not a verdict"),
        ("[1]", "line 1 is not a verdict"),
        ('{"schema": "equiloss.verdict.v1"}', "line 1: id: Field required"),
    ],
)
def test_a_file_that_is_no_verdict_file_is_refused(tmp_path, line, message):
    path = tmp_path / "v.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(InputError, match=message):
        read_verdicts(path)
