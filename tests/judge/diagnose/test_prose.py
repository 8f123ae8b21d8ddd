"""Sentences claim only what their numbers show; texts are looked at as documented; the document has its keys."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equiloss.records.diagnosis import Cause, Diagnosis, DiagnosisVerdict, Evidence, Level, Side
from equiloss.records.response import Response
from equiloss.statistics.estimate import Estimate
from equiloss.statistics.regression import regress
from judge.diagnose import answer_faults, prose
from judge.diagnose.causes import item_kinds
from judge.diagnose.diagnose import diagnose

DOCS = Path(__file__).parents[3] / "docs" / "diagnosis.md"
numbers = st.floats(-100, 100)


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value=value, low=low, high=high)


@given(numbers, st.floats(0, 50))
def test_real_is_said_exactly_when_the_interval_leaves_out_zero(value: float, half: float) -> None:
    gap = estimate(value, value - half, value + half)
    if gap.excludes(0.0):
        says = prose.gap_is_real("x", "y", gap, "seeds")
        assert says.index("x" if value > 0 else "y") < says.index("higher than")
        with pytest.raises(ValueError, match="more than noise"):
            prose.gap_is_noise("x", "y", gap, 1.0, "seeds")
    else:
        says = prose.gap_is_noise("x", "y", gap, 1.0, "seeds")
        assert "not told from noise" in says or "no gap" in says
        with pytest.raises(ValueError, match="holds 0"):
            prose.gap_is_real("x", "y", gap, "seeds")


@given(numbers, st.floats(0, 50))
def test_flipping_twice_changes_nothing(value: float, half: float) -> None:
    gap = estimate(value, value - half, value + half)
    assert prose.flip(prose.flip(gap)) == gap
    assert prose.flip(gap).excludes(0.0) == gap.excludes(0.0)


def test_lists_read_well() -> None:
    assert prose.names(["a", "b", "c"]) == "a, b and c"


def response(output: str, reference: str = "red blue", finish: str = "stop") -> Response:
    fields = {"id": "1", "instruction": "Say two colours please.", "output": output, "reference": reference}
    return Response.model_validate({**fields, "generator": "g", "finish_reason": finish})


@pytest.mark.parametrize(
    ("output", "finish", "faults"),
    [
        ("red blue", "stop", set()),
        ("", "stop", {"empty"}),
        ("red", "length", {"truncated"}),
        ("red blue and then some more words came", "length", {"run-on"}),
        ("red red red red red red red", "stop", {"repetition"}),
        ("a b c a b c a b c", "stop", {"repetition"}),
        ("red red blue", "stop", {"repetition"}),
        ("red red blue", "length", {"repetition"}),
        ("one had had an idea of it", "stop", set()),
        ("red blue\n### Instruction: more", "stop", {"echo"}),
        ("Say two colours please. red blue", "stop", {"echo"}),
    ],
)
def test_the_faults_of_an_answer(output: str, finish: str, faults: set[str]) -> None:
    assert answer_faults.look(response(output, finish=finish)).faults == faults


@pytest.mark.parametrize(
    ("output", "finish", "faults"),
    [
        ("red blue", "stop", set()),
        ("red blue green", "stop", set()),
        ("red blue and then some more words came", "stop", {"run-on"}),
        ("red blue and then some more words came", "length", {"run-on"}),
        ("red", "length", {"truncated"}),
        ("red red red red red red red", "stop", {"repetition"}),
    ],
)
def test_a_model_that_was_not_taught_to_end_runs_on_though_it_ends_later(
    output: str, finish: str, faults: set[str]
) -> None:
    assert answer_faults.look(response(output, finish=finish), taught_to_end=False).faults == faults
    assert not answer_faults.look(response(output, "", finish), taught_to_end=False).faults & {"run-on"}


@given(st.lists(st.sampled_from("abc"), max_size=30))
def test_collapsing_leaves_no_immediate_repeat_of_a_word(words: list[str]) -> None:
    kept = answer_faults.collapse(words)
    assert all(one != other for one, other in itertools.pairwise(kept))
    assert len(kept) <= len(words)
    assert set(kept) == set(words)


def test_what_items_ask_for() -> None:
    assert item_kinds.is_copying("red blue", "RED BLUE")
    assert not item_kinds.is_copying("red blue", "2")
    assert item_kinds.is_knowledge("Where does Ada live?", "", "Rome")
    assert not item_kinds.is_knowledge("Reverse it.", "a b", "b a")


def test_least_squares_agree_with_the_closed_form() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=50)
    y = 2 + 3 * x + rng.normal(size=50)
    fit = regress(y, [x])
    assert fit is not None
    slope = float(np.cov(x, y, ddof=1)[0, 1] / x.var(ddof=1))
    assert fit.coefficients[1] == pytest.approx(slope)
    centred = x - x.mean()
    leverage = 1 / 50 + centred**2 / (centred**2).sum()
    residual = (y - fit.coefficients[0] - slope * x) / (1 - leverage)
    assert fit.errors[1] == pytest.approx(np.sqrt(((centred * residual) ** 2).sum()) / (centred**2).sum())
    assert regress(y, [x, x]) is None


def test_every_key_of_the_document_is_documented(pair: Any, make_record: Callable[..., dict[str, Any]]) -> None:
    text = DOCS.read_text()
    for model in (Diagnosis, Side, Level, Evidence, Cause, DiagnosisVerdict, Estimate):
        for key in model.model_fields:
            assert re.search(rf"`{key}`", text), f"{model.__name__}.{key} is not in docs/diagnosis.md"
    runs = [
        *pair.seeds("a", lambda i: 0.8, run=make_record()),
        *pair.seeds("b", lambda i: 0.3, run=make_record(lr=1.0)),
    ]
    pair.judge(runs)
    document = diagnose("a", "b", results_dir=pair.folder).model_dump(mode="json")
    assert Diagnosis.model_validate(document).model_dump(mode="json") == document
