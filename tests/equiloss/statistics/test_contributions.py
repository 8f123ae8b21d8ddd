"""Parts of a gap by kind of item."""

from __future__ import annotations

import numpy as np
import pytest

from equiloss.statistics.contributions import parts
from equiloss.statistics.crossed import Stratum, over_items, over_units_and_items


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
