"""Verdicts are read only from one JSON object with exactly the labels shown and values on the scale."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judge import rubrics
from judge.scoring.parse import Unreadable, read

CORRECTNESS = rubrics.load("correctness")
GOOD = '{"A": {"explanation": "fine", "correctness": 87}, "B": {"explanation": "no", "correctness": 3}}'


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"  {GOOD}\n",
        f"```json\n{GOOD}\n```",
        f"<think>A is 100, {{}} maybe</think>\n{GOOD}",
        f"Here is my verdict:\n{GOOD}\nI hope it helps.",
        '{"A": 87, "B": "3"}',
        '{"A": {"correctness": 87.0}, "B": {"correctness": "3"}}',
    ],
)
def test_tolerant_where_there_is_no_doubt(text: str) -> None:
    found = read(CORRECTNESS, ["A", "B"], text)
    assert {label: one.scores["correctness"] for label, one in found.items()} == {"A": 87.0, "B": 3.0}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a JSON object"),
        ("A is better.", "not a JSON object"),
        ("[1, 2]", "not a JSON object"),
        (GOOD[:-5], "labels|not a JSON"),
        (GOOD + GOOD, "several"),
        (f"The answer says {GOOD} but I say {GOOD.replace('87', '1')}", "several"),
        (GOOD.replace('"B"', '"C"'), "exactly A, B"),
        ('{"A": {"correctness": 87}}', "exactly A, B"),
        (GOOD.replace("}}", '}, "C": {"correctness": 1}}'), "exactly A, B"),
        (GOOD.replace('"B"', '"A"'), "twice"),
        (GOOD.replace("87", "4711"), "from 0 to 100"),
        (GOOD.replace("87", "-1"), "from 0 to 100"),
        (GOOD.replace("87", "87.5"), "steps of 1"),
        (GOOD.replace("87", "true"), "must be a number"),
        (GOOD.replace("87", "null"), "must be a number"),
        (GOOD.replace("87", '"very good"'), "must be a number"),
        (GOOD.replace("87", "NaN"), "from 0|number"),
        (GOOD.replace('"correctness"', '"score"'), "lacks correctness"),
        ('{"A": null, "B": {"correctness": 1}}', "must be an object"),
        ("[" * 100_000, "not a JSON object|nested"),
        ('{"A":' * 100_000, "not a JSON object|nested"),
    ],
)
def test_what_is_refused(text: str, words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        read(CORRECTNESS, ["A", "B"], text)


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        found = read(CORRECTNESS, ["A"], text)
    except Unreadable:
        return
    assert 0 <= found["A"].scores["correctness"] <= 100


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.dictionaries(st.text(), x)))
def test_no_json_breaks_the_reader(document: object) -> None:
    try:
        found = read(CORRECTNESS, ["A"], json.dumps({"A": document}))
    except Unreadable:
        return
    assert 0 <= found["A"].scores["correctness"] <= 100


def test_preferences() -> None:
    rubric = rubrics.load("pairwise")
    scores = {
        choice: [one.scores["preference"] for one in read(rubric, ["A", "B"], f'{{"preference": "{choice}"}}').values()]
        for choice in ("A", "B", "tie")
    }
    assert scores == {"A": [1, 0], "B": [0, 1], "tie": [0.5, 0.5]}
    with pytest.raises(Unreadable, match="one of A, B, tie"):
        read(rubric, ["A", "B"], '{"preference": "both"}')


def test_several_criteria() -> None:
    rubric = rubrics.load("instruction-following")
    entry = {"explanation": "x", "knowledge": 1, "following": 2, "fluency": 3, "completeness": 10}
    found = read(rubric, ["A"], json.dumps({"A": entry}))
    assert found["A"].scores == {"knowledge": 1, "following": 2, "fluency": 3, "completeness": 10}
    with pytest.raises(Unreadable, match="lacks fluency"):
        read(rubric, ["A"], json.dumps({"A": {key: value for key, value in entry.items() if key != "fluency"}}))
