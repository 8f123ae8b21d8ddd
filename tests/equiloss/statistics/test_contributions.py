"""Parts of a gap by kind of item."""

from __future__ import annotations

import numpy as np
import pytest

from equiloss.statistics.contributions import parts, reaching
from equiloss.statistics.crossed import Stratum, over_items, over_units_and_items
from equiloss.statistics.estimate import Estimate


def strata(rng: np.random.Generator, effects: np.ndarray, runs: int = 3, spread: float = 2.0) -> list[Stratum]:
    items = rng.normal(50, 20, len(effects))
    a, b = (items + rng.normal(0, spread, (runs, 1)) + rng.normal(0, 15, (runs, len(effects))) for _ in range(2))
    return [Stratum(a + effects, 1.0), Stratum(b, -1.0, 1)]


def test_parts_and_rest_sum_to_the_gap():
    rng = np.random.default_rng(0)
    pattern = (rng.random((80, 2)) < 0.4).astype(float)
    cells = strata(rng, 30 * pattern[:, 0] - 10 * pattern[:, 1] + 4)
    found, gap = parts(cells, pattern), over_units_and_items(cells)
    assert found is not None
    assert gap is not None
    assert sum(one.value for one in found.parts) + found.rest.value == pytest.approx(gap.value)


def test_one_kind_is_the_contrast_of_its_items_and_the_others():
    rng = np.random.default_rng(1)
    inside = np.arange(60) < 20
    cells = strata(rng, np.where(inside, 30.0, 3.0))
    found = parts(cells, inside[:, None].astype(float))
    assert found is not None
    d = cells[0].values.mean(axis=0) - cells[1].values.mean(axis=0)
    assert found.parts[0].value == pytest.approx((d[inside].mean() - d[~inside].mean()) / 3)
    assert found.rest.value == pytest.approx(d[~inside].mean())


def test_kinds_that_cover_all_items_divide_the_whole_gap():
    rng = np.random.default_rng(2)
    facts = np.arange(60) < 30
    cells = strata(rng, np.where(facts, 65.0, -35.0))
    found, gap = parts(cells, np.stack([facts, ~facts], axis=1).astype(float)), over_items(cells)
    assert found is not None
    assert gap is not None
    assert found.parts[0].value > 25
    assert found.parts[1].value < -12
    assert found.rest.value == pytest.approx(0, abs=1e-9)
    assert found.parts[0].value + found.parts[1].value == pytest.approx(gap.value)


def test_a_kind_alone_keeps_the_whole_gap_on_its_items():
    rng = np.random.default_rng(1)
    inside = np.arange(60) < 20
    cells = strata(rng, np.where(inside, 30.0, 3.0))
    found = parts(cells, inside[:, None].astype(float), alone=True)
    assert found is not None
    d = cells[0].values.mean(axis=0) - cells[1].values.mean(axis=0)
    assert found.parts[0].value == pytest.approx(d[inside].mean() / 3)
    assert found.rest.value == pytest.approx(d[~inside].mean() * 2 / 3)


@pytest.mark.parametrize(
    ("whole", "interval"),
    [
        ((12.0, 9.0, 15.0), (4.0, 15.0)),  # other items lose too: perhaps by the same effect
        ((3.0, -1.0, 7.0), (4.0, 10.0)),  # other items gain: another effect, which these items have as well
        ((7.0, 5.0, 9.0), (4.0, 10.0)),
    ],
)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_part_reaches_outwards_to_the_whole_gap_on_its_items(
    whole: tuple[float, float, float], interval: tuple[float, float], sign: float
):
    def estimate(value: float, low: float, high: float) -> Estimate:
        low, high = sorted((sign * low, sign * high))
        return Estimate(value=sign * value, low=low, high=high, p=0.01)

    found = reaching(estimate(7.0, 4.0, 10.0), estimate(*whole))
    assert found.interval == tuple(sorted(sign * end for end in interval))
    assert (found.value, found.p) == (sign * 7.0, 0.01)


def test_without_an_interval_a_part_stays_as_it_is():
    one = Estimate(value=7.0, note="one item")
    assert reaching(one, Estimate(value=9.0, low=8.0, high=10.0)) == one


def test_kinds_of_the_same_items_cannot_be_told_apart():
    rng = np.random.default_rng(3)
    inside = (np.arange(60) < 20).astype(float)
    assert parts(strata(rng, 30 * inside), np.stack([inside, inside], axis=1)) is None


@pytest.mark.parametrize("runs", [1, 3])
def test_intervals_hold_the_planted_parts(runs: int):
    rng = np.random.default_rng(4)
    held, draws = np.zeros(3), 300
    for _ in range(draws):
        pattern = (rng.random((100, 2)) < (0.4, 0.25)).astype(float)
        found = parts(strata(rng, 30 * pattern[:, 0] - 20 * pattern[:, 1] + 4, runs, 2.0 if runs > 1 else 0.0), pattern)
        assert found is not None
        for k, (one, planted) in enumerate(zip((*found.parts, found.rest), (12.0, -5.0, 4.0), strict=True)):
            estimate = one.estimate("points", "parts")
            held[k] += (estimate.low or 0) <= planted <= (estimate.high or 0)
    assert (held / draws > 0.91).all()
    assert (held / draws < 0.995).all()
