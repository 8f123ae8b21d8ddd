"""Repeated looks: the spent errors add up, and in simulation a growing comparison seldom errs at any look."""

from __future__ import annotations

import numpy as np
import pytest

from equiloss.statistics.nested import SideScores, nested_gap
from equiloss.statistics.sequential import (
    Wanted,
    decides,
    in_all,
    interval_at_look,
    look_confidence,
    loop_confidence,
    outcome,
)


def test_the_errors_of_all_looks_add_up_to_alpha():
    assert look_confidence(1) == pytest.approx(0.975)
    assert sum(1 - look_confidence(look, 0.9) for look in range(1, 100_000)) == pytest.approx(0.1, abs=1e-5)
    with pytest.raises(ValueError, match="from 1"):
        look_confidence(0)


@pytest.mark.parametrize("grows", ["items", "seeds"])
def test_looking_five_times_errs_no_more_often_than_promised(grows: str):
    """Equal models; the data grow by items (one seed, none of its spread) or by seeds, with a look each time."""
    rng = np.random.default_rng(0)
    ever, naive, draws = 0, 0, 400
    for _ in range(draws):
        seeds, items = (1, 250) if grows == "items" else (6, 60)
        spread = 0.0 if grows == "items" else 3.0
        a, b = (rng.normal(50, 15, (seeds, items)) + rng.normal(0, spread, (seeds, 1)) for _ in range(2))
        looks = [(1, 50 * k) for k in range(1, 6)] if grows == "items" else [(k, 60) for k in range(2, 7)]
        gaps = [nested_gap(SideScores(a[:n, :i, None]), SideScores(b[:n, :i, None])) for n, i in looks]
        ends = [interval_at_look(gap.best, look) for look, gap in enumerate(gaps, start=1) if gap]
        ever += any(not low <= 0 <= high for low, high in ends)
        naive += any(not low <= 0 <= high for low, high in (gap.best.interval() for gap in gaps if gap))
    assert ever / draws <= 0.065  # 5 %, and 1.4 standard errors
    assert naive > 2 * ever


def test_the_errors_of_all_candidates_add_up_to_alpha():
    spent = [1 - loop_confidence(place, 0.9) for place in range(1, 100_000)]
    assert sum(spent) == pytest.approx(0.1, rel=0.002)
    assert min(spent[:100]) > 0.1 / 100 / 4 * 0.99  # a hundred have at least a quarter of an equal part
    with pytest.raises(ValueError, match="from 1"):
        loop_confidence(0)


def test_what_lies_in_all_looks():
    assert in_all([(-1.0, 5.0), (0.5, 6.0), (-2.0, 4.0)]) == (0.5, 4.0)
    assert in_all([(0.0, 1.0), (2.0, 3.0)]) is None


@pytest.mark.parametrize(
    ("interval", "decided", "shown"),
    [
        ((0.1, 9.0), "better", {"better", "not-worse"}),
        ((0.1, 1.9), "better", {"better", "not-worse", "equivalent"}),
        ((0.0, 1.9), "equivalent", {"not-worse", "equivalent"}),
        ((-1.9, -0.1), "equivalent", {"not-worse", "equivalent"}),
        ((-2.0, -0.1), "worse", set()),
        ((-1.9, 2.0), "cannot-tell", {"not-worse"}),
        ((-2.0, 2.0), "cannot-tell", set()),
        (None, "cannot-tell", set()),
    ],
)
def test_what_an_interval_decides(interval, decided, shown):
    assert outcome(interval, 2.0) == decided
    wants: tuple[Wanted, ...] = ("better", "not-worse", "equivalent")
    assert {wanted for wanted in wants if decides(wanted, interval, 2.0)} == shown


@pytest.mark.slow
@pytest.mark.parametrize("runs", [(5, 3), (3, 2)])
def test_a_loop_of_two_hundred_equal_candidates_seldom_promotes_one(runs: tuple[int, int]):
    """A short version of benchmarks/gate.py: the candidates share a baseline, and each is looked at once."""
    rng = np.random.default_rng(5)
    ever, loops = 0, 60
    for _ in range(loops):
        items, spread = rng.normal(50, 20, 40), rng.uniform(1, 4)
        a, *others = (
            np.clip(items + rng.normal(0, spread, (n, 1)) + rng.normal(0, 15, (n, 40)), 0, 100)
            for n in (runs[0], *[runs[1]] * 200)
        )
        gaps = (nested_gap(SideScores(b[:, :, None]), SideScores(a[:, :, None])) for b in others)
        ever += any(
            gap.bases and interval_at_look(gap.bases, 1, loop_confidence(place))[0] > 0
            for place, gap in enumerate(gaps, start=1)
            if gap
        )
    assert ever <= 3  # 5 % of 60
