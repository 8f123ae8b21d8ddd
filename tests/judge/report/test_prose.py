"""Every sentence of a report says what the numbers say, and no more."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from equiloss.numerals import digits_for, number, p_value
from judge.comparison.document import Comparison, Difference, ModelScore
from judge.report import prose

SCALE = (0.0, 100.0)


def difference(a: str, b: str, gap: float, *, significant: bool, wins: int = 6, losses: int = 3) -> Difference:
    p = 0.004 if significant else 0.3
    return Difference(
        a=a,
        b=b,
        n_items=10,
        difference=gap,
        standard_error=1.0,
        interval=(gap - 2, gap + 2),
        interval_percentile=(gap - 2, gap + 2),
        wins=wins,
        ties=10 - wins - losses,
        losses=losses,
        p=p,
        method="seeds and items",
        p_holm=p,
        significant=significant,
    )


def comparison(means: dict[str, float], differences: list[Difference], *, is_llm: bool = True) -> Comparison:
    return Comparison.model_validate(
        {
            "rubric": "correctness",
            "judge": "gpt-4" if is_llm else "offline-reference",
            "is_llm": is_llm,
            "criterion": "overall",
            "confidence": 0.95,
            "draws": 1000,
            "seed": 0,
            "n_items": 1234,
            "n_items_any": 1234,
            "n_repeats": 1,
            "models": [
                ModelScore(
                    name=name,
                    runs=[name],
                    mean=mean,
                    standard_error=1.0,
                    interval=(mean - 2, mean + 2),
                    n_scored=10,
                    mean_scored=mean,
                    n_missing=0,
                    failures={},
                    bounds=(0.0, 100.0),
                )
                for name, mean in means.items()
            ],
            "differences": differences,
            "categories": [],
            "warnings": [],
        }
    )


def test_one_model():
    assert prose.headline(comparison({"m": 74.09}, []), SCALE) == (
        "m scores 74.1 of 100 on 1,234 items (95 % interval 72.1 to 76.1)."
    )


def test_a_difference_that_is_shown_is_told_from_the_side_of_the_better_model():
    made = comparison({"a": 56.6, "b": 74.1}, [difference("a", "b", -17.5, significant=True)])
    assert prose.headline(made, SCALE) == (
        "b scores higher than a, by 17.5 points of 100 on the same 1,234 items (95 % interval 15.5 to 19.5, p = 0.004)."
    )


def test_a_difference_that_is_not_shown_is_not_claimed():
    made = comparison({"a": 50.0, "b": 51.0}, [difference("a", "b", -1.0, significant=False)])
    assert prose.headline(made, SCALE) == (
        "No difference between b and a is shown: b is 1.0 points of 100 ahead on the same 1,234 items "
        "(95 % interval −1.0 to 3.0, p = 0.300)."
    )
    level = comparison({"a": 50.0, "b": 50.0}, [difference("a", "b", 0.0, significant=False)])
    assert "their means are equal" in prose.headline(level, SCALE)


def test_one_seed_a_side_speaks_of_these_answers_alone():
    row = difference("a", "b", -17.5, significant=False)
    gap = row.model_copy(update={"method": "items", "p_holm": None, "chance_seed_sd": 9.1})
    text = prose.headline(comparison({"a": 56.6, "b": 74.1}, [gap]), SCALE)
    assert text == (
        "These answers of b score 17.5 points of 100 higher than a’s on the same 1,234 items (95 % interval over items "
        "alone 15.5 to 19.5). With one fine-tuning seed a side, what other seeds would do was not measured: a standard "
        "deviation between seeds of 9.1 points would make this gap chance."
    )
    third = [gap, gap.model_copy(update={"b": "c"}), gap.model_copy(update={"a": "c"})]
    text = prose.headline(comparison({"a": 56.6, "b": 74.1, "c": 50.0}, third), SCALE)
    assert "significant" not in text
    assert text.endswith("one fine-tuning seed each, so whether other seeds would agree was not measured.")


def test_equal_scores_on_every_item():
    made = comparison({"a": 50.0, "b": 50.0}, [difference("a", "b", 0.0, significant=False, wins=0, losses=0)])
    assert prose.headline(made, SCALE) == "a and b have the same score on every one of 1,234 items."


def test_the_offline_judge_is_named_before_anything_is_claimed():
    made = comparison({"m": 74.09}, [], is_llm=False)
    assert prose.headline(made, SCALE).startswith("By agreement with the reference answers, no LLM having judged: m ")


@pytest.mark.parametrize(
    ("beaten", "words"),
    [
        (set(), "its lead is significant over none of the others"),
        ({"b", "c", "d"}, "its lead is significant over all the others"),
        ({"b", "d"}, "its lead is significant over b and d, but not over c"),
        ({"d"}, "its lead is significant over d, but not over b or c"),
    ],
)
def test_many_models(beaten, words):
    means = {"d": 10.0, "b": 30.0, "a": 40.0, "c": 20.0}
    names = list(means)
    gaps = [
        difference(a, b, means[a] - means[b], significant="a" in (a, b) and bool({a, b} & beaten))
        for index, a in enumerate(names)
        for b in names[index + 1 :]
    ]
    text = prose.headline(comparison(means, gaps), SCALE)
    assert text == (
        f"a scores highest of 4 models, 40.0 of 100 on the same 1,234 items; {words} "
        "(tests corrected for 6 comparisons)."
    )


def test_a_shared_lead_is_told_as_one():
    means = {"a": 40.0, "b": 40.0, "c": 20.0}
    gaps = [difference(*pair, 0.0, significant=False) for pair in (("a", "b"), ("a", "c"), ("b", "c"))]
    assert prose.headline(comparison(means, gaps), SCALE) == (
        "a and b score highest of 3 models, 40.0 of 100 each on the same 1,234 items."
    )


@given(gap=st.floats(-50, 50), significant=st.booleans())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_higher_is_only_said_with_the_test_behind_it(gap, significant):
    text = prose.headline(
        comparison({"a": 50.0 + gap, "b": 50.0}, [difference("a", "b", gap, significant=significant)]), SCALE
    )
    assert ("scores higher than" in text) == significant
    assert ("No difference" in text) == (not significant)
    found = re.search(r"interval (\S+) to ([^\s,]+)", text)
    assert found
    low, high = (float(one.replace("−", "-")) for one in found.groups())
    assert low <= high


def test_numerals():
    assert number(-0.04, 1) == "0.0"
    assert number(-1.25, 1) == "−1.2"
    assert number(3.0, 1, sign=True) == "+3.0"
    assert number(None) == "–"
    assert p_value(0.0001) == "< 0.001"
    assert [digits_for(0, 100), digits_for(1, 10), digits_for(0, 1), digits_for(0, 5000)] == [1, 2, 3, 0]
    assert prose.unit((1.0, 10.0)) == "on the scale from 1 to 10"
    assert np.isfinite(digits_for(0, 0))


@pytest.mark.parametrize(
    ("text", "first"),
    [
        (
            "A completes less (0.446 against 0.999). It explains 74 % of the gap.",
            "A completes less (0.446 against 0.999).",
        ),
        ("One sentence, 3.5 points.", "One sentence, 3.5 points."),
        ("Read in world:demo?x=1: 33 % closes. B did so, too. C did not.", "Read in world:demo?x=1: 33 % closes."),
    ],
)
def test_the_first_sentence_stands_alone_and_nothing_is_lost(text: str, first: str) -> None:
    found, others = prose.first_sentence(text)
    assert found == first
    assert " ".join(filter(None, (found, others))) == text
