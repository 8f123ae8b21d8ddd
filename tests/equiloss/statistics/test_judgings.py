"""Two judgings of the same answers: against closed forms and scipy, and how often the intervals hold planted values."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy import stats

from equiloss.statistics import judgings


def draw(
    rng: np.random.Generator, items: int, models: int = 2, noise: float = 6.0, slope: float = 0.8, off: float = 4.0
):
    """Scores of `models` answers to each item, judged twice; the second has this slope, and this shift at 50."""
    truth = np.repeat(rng.normal(50, 15, items), models) + rng.normal(0, 8, items * models)
    first = truth + rng.normal(0, noise, truth.size)
    second = 50 + off + slope * (truth - 50) + rng.normal(0, noise, truth.size)
    return first, second, np.repeat(np.arange(items), models)


def test_the_shift_of_single_answers_is_students():
    x, y, items = draw(np.random.default_rng(0), 40, models=1)
    expected = stats.ttest_rel(y, x)
    found = judgings.shift(x, y, items)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval()))
    assert found.p == pytest.approx(float(expected.pvalue))
    assert judgings.shift(x[:1], y[:1], items[:1]).low is None


def test_the_slope_is_the_first_principal_axis():
    x, y, items = draw(np.random.default_rng(1), 60)
    axis = np.linalg.svd(np.column_stack([x - x.mean(), y - y.mean()]))[2][0]  # total least squares, another way
    found = judgings.slope(x, y, items)
    assert found is not None
    assert found.value == pytest.approx(axis[1] / axis[0])
    back = judgings.slope(y, x, items)
    assert back is not None
    assert back.value == pytest.approx(1 / found.value)  # it does not matter which judging is the first


def test_the_ranks_are_scipys_and_drift_is_a_line():
    x, y, items = draw(np.random.default_rng(2), 50, models=1)
    ranks, drift = judgings.rank_agreement(x, y, items), judgings.drift(x, y, items)
    assert ranks is not None
    assert ranks.value == pytest.approx(float(stats.spearmanr(x, y).statistic))
    assert drift is not None
    assert drift.value == pytest.approx(stats.linregress(items / 49, y - x).slope)


def test_the_same_scores_are_shown_to_be_the_same():
    x, _, items = draw(np.random.default_rng(3), 30)
    for found in (judgings.slope(x, x, items), judgings.rank_agreement(x, x, items)):
        assert found is not None
        assert (found.value, found.low, found.high) == pytest.approx((1.0, 1.0, 1.0))
    assert judgings.shift(x, x, items).interval == (0.0, 0.0)


def test_what_does_not_vary_has_no_slope_and_no_ranks():
    x, items = np.full(30, 5.0), np.arange(30)
    assert judgings.slope(x, x, items) is None
    assert judgings.rank_agreement(x, np.arange(30.0), items) is None


@pytest.mark.slow
@pytest.mark.parametrize("items", [30, 120])
def test_the_intervals_hold_planted_values(items: int):
    """Two answers an item, so that the answers to one item go together. Slope: both judgings err alike."""
    rng, draws = np.random.default_rng([4, items]), 400
    held = Counter[str]()
    big = draw(np.random.default_rng(5), 200_000)
    truth = {"shift": 4.0, "slope": 0.8, "ranks": float(stats.spearmanr(big[0], big[1]).statistic), "drift": 3.0}
    for _ in range(draws):
        x, y, numbers = draw(rng, items)
        drifted = y + 3.0 * numbers / numbers.max()
        found = {
            "shift": judgings.shift(x, y, numbers),
            "slope": judgings.slope(x, y, numbers),
            "ranks": judgings.rank_agreement(x, y, numbers),
            "drift": judgings.drift(x, drifted, numbers),
        }
        for name, estimate in found.items():
            assert estimate is not None
            held[name] += not estimate.excludes(truth[name])
    coverage = {name: count / draws for name, count in held.items()}
    assert all(0.92 <= share <= 0.98 for share in coverage.values()), coverage
