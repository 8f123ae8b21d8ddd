"""The gap of answers, of bases and of recipes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from equiloss.statistics.nested import SideScores, nested_gap, nested_mean, range_of_equals


def side(
    rng: np.random.Generator, seeds: list[int], base_sd: float = 0.0, items: int = 110, level: float = 50.0
) -> SideScores:
    rows, names = [], []
    for n in seeds:
        shift = rng.normal(0, base_sd)
        rows += [level + shift + rng.normal(0, 2) + rng.normal(0, 15, items) for _ in range(n)]
        names += [object()] * n  # a base run of its own
    return SideScores(np.stack(rows)[:, :, None], tuple(names))


def test_which_questions_are_answered_follows_from_what_was_varied():
    rng = np.random.default_rng(0)
    one = nested_gap(side(rng, [1]), side(rng, [1]))
    seeds = nested_gap(side(rng, [3]), side(rng, [3]))
    bases = nested_gap(side(rng, [2, 2]), side(rng, [2, 2]))
    lone = nested_gap(side(rng, [1, 1]), side(rng, [1, 1]))
    assert one is not None
    assert seeds is not None
    assert bases is not None
    assert lone is not None
    assert [one.bases, one.recipes, seeds.recipes] == [None, None, None]
    assert seeds.bases is not None
    assert bases.bases is not None
    assert bases.recipes is not None
    assert lone.bases is None
    assert lone.recipes is not None


def test_two_bases_with_three_fine_tunings_are_two_units_not_six():
    rng = np.random.default_rng(1)
    false = {"recipes": 0, "runs as units": 0}
    for _ in range(300):
        a, b = side(rng, [3, 3], 6.0), side(rng, [3, 3], 6.0)
        found, pooled = nested_gap(a, b), nested_gap(SideScores(a.scores), SideScores(b.scores))
        assert found is not None
        assert found.recipes is not None
        assert pooled is not None
        assert pooled.bases is not None
        false["recipes"] += (found.recipes.estimate("points", "t").p or 0) < 0.05
        false["runs as units"] += (pooled.bases.estimate("points", "t").p or 0) < 0.05
    assert false["recipes"] / 300 < 0.1
    assert false["runs as units"] / 300 > 0.15


def test_what_a_shared_base_run_does_to_both_sides_cancels():
    """Three base runs (SD 6), each fine-tuned by both recipes; they differ by 4 points, SD 1 over bases."""
    rng = np.random.default_rng(5)
    held, paired, apart = 0, [], []
    for _ in range(300):
        a, b = side(rng, [2, 2, 2], level=54), side(rng, [2, 2, 2])
        shift, own = np.repeat(rng.normal(0, 6, 3), 2), np.repeat(rng.normal(0, 1, 3), 2)
        scores = a.scores + (shift + own)[:, None, None], b.scores + shift[:, None, None]
        names = [(f"base {base}", f"base {base}") for base in range(3)]
        found = nested_gap(SideScores(scores[0], sum(names, ())), SideScores(scores[1], sum(names, ())))
        unpaired = nested_gap(SideScores(scores[0], a.bases), SideScores(scores[1], b.bases))
        assert found is not None
        assert found.recipes is not None
        assert unpaired is not None
        assert unpaired.recipes is not None
        assert found.recipes.value == pytest.approx(unpaired.recipes.value)
        low, high = found.recipes.interval()
        held += low <= 4 <= high
        paired.append(high - low)
        apart.append(np.diff(unpaired.recipes.interval())[0])
    assert 0.92 < held / 300 < 0.985
    assert np.median(paired) < 0.8 * np.median(apart)


def test_a_missing_score_neither_drops_its_item_nor_shifts_the_gap():
    rng = np.random.default_rng(2)
    items = rng.normal(0, 25, 40)
    a, b = (np.stack([50 + items + rng.normal(0, 0.5, 40) for _ in range(3)])[:, :, None] for _ in range(2))
    hard = np.argsort(items)[:8]
    a[0, hard] = np.nan  # the judge refused A's first run on the hardest items
    found = nested_gap(SideScores(a), SideScores(b))
    assert found is not None
    assert found.n_items == 40
    assert abs(found.best.value) < 1
    a[:, hard] = np.nan
    found = nested_gap(SideScores(a), SideScores(b))
    assert found is not None
    assert found.n_items == 32
    assert abs(found.best.value) < 1


def test_repeats_count_as_what_they_are():
    rng = np.random.default_rng(3)
    truth = rng.normal(50, 10, (1, 60, 1))
    judged = truth + rng.normal(0, 4, (1, 60, 5))
    judged[0, :10, 3:] = np.nan
    found = nested_gap(SideScores(judged), SideScores(truth + rng.normal(0, 4, (1, 60, 5))))
    assert found is not None
    assert found.n_items == 60
    assert found.residual == pytest.approx(16, rel=0.25)


def test_components_are_found_again():
    rng = np.random.default_rng(4)
    found = [nested_gap(side(rng, [3, 3, 3], 4.0), side(rng, [3, 3, 3], 4.0)) for _ in range(60)]
    parts = [one for one in found if one is not None]
    assert np.mean([one.base for one in parts if one.base is not None]) == pytest.approx(16, rel=0.25)
    assert np.mean([one.seed for one in parts if one.seed is not None]) == pytest.approx(4, rel=0.25)
    assert np.mean([one.seed_item for one in parts if one.seed_item is not None]) == pytest.approx(225, rel=0.05)


def test_the_spread_that_would_make_a_gap_chance_makes_it_just_that():
    rng = np.random.default_rng(5)
    found = nested_gap(side(rng, [1], level=60), side(rng, [1], level=45))
    assert found is not None
    needed = found.spread_of_chance()
    assert needed > 0
    assumed = found.assumed_spread(needed)
    assert assumed.value / assumed.standard_error == pytest.approx(stats.norm.ppf(0.975))
    assert found.assumed_spread(needed / 2).standard_error < assumed.standard_error
    level = nested_gap(side(rng, [1]), side(rng, [1]))
    assert level is not None
    assert level.spread_of_chance() == 0 or abs(level.best.value) > 2 * math.sqrt(level.answers.items)


def test_a_mean_over_runs_and_items():
    rng = np.random.default_rng(6)
    found = nested_mean(side(rng, [4]))
    assert found is not None
    items, both = found
    assert both is not None
    assert both.standard_error > items.standard_error * 0.9
    alone = nested_mean(side(rng, [1]))
    assert alone is not None
    assert alone[1] is None


def test_the_range_of_equal_models_is_that_of_normal_draws():
    rng = np.random.default_rng(7)
    draws = rng.normal(0, 2.5, (200_000, 6))
    spread = draws.max(axis=1) - draws.min(axis=1)
    assert range_of_equals(6, 2.5) == pytest.approx(float(np.quantile(spread, 0.95)), rel=0.01)
    assert range_of_equals(6, 2.5, 0.33) == pytest.approx(float(np.quantile(spread, 0.33)), rel=0.01)
