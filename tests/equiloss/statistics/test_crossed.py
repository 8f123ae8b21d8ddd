"""Means over units and items, held against closed forms and other libraries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from equiloss.statistics.crossed import Crossed, Stratum, complete, over_items, over_units_and_items
from equiloss.statistics.estimate import student_interval


def scores(rng: np.random.Generator, runs: int, items: int, seed_sd: float = 2.0) -> np.ndarray:
    return 40 + rng.normal(0, seed_sd, (runs, 1)) + rng.normal(0, 15, (runs, items)) + rng.normal(0, 20, items)


def test_one_run_a_side_over_items_is_the_paired_t_test():
    rng = np.random.default_rng(1)
    a, b = scores(rng, 1, 60), scores(rng, 1, 60)
    found = over_items([Stratum(a, 1.0), Stratum(b, -1.0, 1)])
    assert found is not None
    wanted = stats.ttest_rel(a[0], b[0])
    estimate = found.estimate("points", "t")
    assert estimate.p == pytest.approx(wanted.pvalue)
    low, high = wanted.confidence_interval(0.95)
    assert (estimate.low, estimate.high) == pytest.approx((low, high))


def test_runs_that_differ_alike_on_all_items_are_welchs_test():
    rng = np.random.default_rng(2)
    items = rng.normal(0, 20, 30)
    a, b = (rng.normal(50, sd, (n, 1)) + items for n, sd in ((4, 1.0), (3, 6.0)))
    found = over_units_and_items([Stratum(a, 1.0), Stratum(b, -1.0, 1)])
    assert found is not None
    wanted = stats.ttest_ind(a.mean(axis=1), b.mean(axis=1), equal_var=False)
    assert found.df == pytest.approx(wanted.df)
    assert found.estimate("points", "t").p == pytest.approx(wanted.pvalue)


def test_clusters_are_those_of_statsmodels():
    sm = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(3)
    clusters = np.arange(45) // 3
    values = rng.normal(0, 1, 45) + rng.normal(0, 2, 15)[clusters]
    found = over_items([Stratum(values[None, :], 1.0)], clusters.astype(np.intp))
    assert found is not None
    fit = sm.OLS(values, np.ones(45)).fit(cov_type="cluster", cov_kwds={"groups": clusters})
    assert found.standard_error == pytest.approx(float(fit.bse[0]))
    assert found.df == pytest.approx(14)


def test_the_variance_is_right_on_average():
    rng = np.random.default_rng(4)
    runs, items, draws = 4, 50, 1500
    found = [over_units_and_items([Stratum(scores(rng, runs, items), 1.0)]) for _ in range(draws)]
    values = np.array([one.value for one in found if one is not None])
    variances = np.array([one.variance for one in found if one is not None])
    truth = 2.0**2 / runs + 15**2 / (runs * items) + 20**2 / items
    assert values.var() == pytest.approx(truth, rel=0.12)
    assert variances.mean() == pytest.approx(truth, rel=0.08)


def test_a_single_run_borrows_the_other_sides_spread_and_its_degrees_of_freedom():
    rng = np.random.default_rng(5)
    items = rng.normal(0, 20, 40)
    a, b = rng.normal(50, 3, (1, 1)) + items, rng.normal(50, 3, (3, 1)) + items
    found = over_units_and_items([Stratum(a, 1.0), Stratum(b, -1.0, 1)])
    assert found is not None
    assert found.borrowed
    spread = float(b.mean(axis=1).var(ddof=1))
    assert found.units == pytest.approx(spread * (1 + 1 / 3))
    assert found.df == pytest.approx(2)
    assert over_units_and_items([Stratum(a, 1.0), Stratum(b[:1], -1.0, 1)]) is None


@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(4, 12))
def test_fill_ins_are_the_least_squares_fit_of_run_and_item(seed: int, runs: int, items: int):
    rng = np.random.default_rng(seed)
    values = scores(rng, runs, items)
    values[rng.random(values.shape) < 0.2] = np.nan
    values[0] = np.where(np.isnan(values[0]), 1.0, values[0])  # the first run has everything, each run something:
    values[:, 0] = np.where(np.isnan(values[:, 0]), 2.0, values[:, 0])  # the fit is unique
    filled = complete(values.copy())
    row, column = np.nonzero(~np.isnan(values))
    design = np.zeros((len(row), runs + items))
    design[np.arange(len(row)), row] = design[np.arange(len(row)), runs + column] = 1
    fit = np.linalg.lstsq(design, values[row, column], rcond=None)[0]
    gaps = np.isnan(values)
    assert filled[gaps] == pytest.approx((fit[:runs, None] + fit[None, runs:])[gaps], abs=1e-5)
    assert (filled[~gaps] == values[~gaps]).all()


@given(st.integers(0, 10_000))
def test_what_all_runs_share_on_an_item_cancels_from_a_difference(seed: int):
    rng = np.random.default_rng(seed)
    a, b = scores(rng, 3, 20), scores(rng, 2, 20)
    shift = rng.normal(0, 100, 20)
    plain = over_units_and_items([Stratum(a, 1.0), Stratum(b, -1.0, 1)])
    moved = over_units_and_items([Stratum(a + shift, 1.0), Stratum(b + shift, -1.0, 1)])
    assert plain is not None
    assert moved is not None
    assert (moved.value, moved.variance, moved.df) == pytest.approx((plain.value, plain.variance, plain.df))


def test_nothing_to_say_of_a_single_item():
    assert over_items([Stratum(np.ones((2, 1)), 1.0)]) is None
    assert over_items([Stratum(np.ones((2, 4)), 1.0)], np.zeros(4, dtype=np.intp)) is None


def test_a_cautious_interval_is_students_for_one_part_and_holds_far_out_for_unequal_variances():
    """Three units of SD 2 against two of SD 6 at 99 %: Satterthwaite's interval errs twice as often as it may."""
    one = Crossed(3.0, 4.0, 20.0)
    assert one.cautious_interval(0.999) == pytest.approx(one.interval(0.999))
    known = replace(one, items=0.0, units=4.0, df_units=7.0)
    assert known.cautious_interval(0.9) == pytest.approx(student_interval(3.0, 2.0, 7.0, 0.9))
    rng, draws = np.random.default_rng(0), 3000
    plain, cautious = 0, 0
    for _ in range(draws):
        a, b = (np.repeat(rng.normal(0, sd, (n, 1)), 2, axis=1) for n, sd in ((3, 2.0), (2, 6.0)))
        gap = over_units_and_items([Stratum(a, 1.0), Stratum(b, -1.0, 1)])
        assert gap is not None
        plain += not gap.interval(0.99)[0] <= 0 <= gap.interval(0.99)[1]
        cautious += not gap.cautious_interval(0.99)[0] <= 0 <= gap.cautious_interval(0.99)[1]
    assert cautious / draws <= 0.01
    assert plain / draws > 0.014
