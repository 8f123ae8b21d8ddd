"""Bootstrap and Holm against scipy, statsmodels and brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from equiloss.statistics import bootstrap, multiplicity

RNG = np.random.default_rng(7)
SCORES = RNG.choice([0.0, 20.0, 50.0, 85.0, 100.0], size=80, p=[0.2, 0.1, 0.1, 0.2, 0.4])


def test_replicates_have_the_mean_and_the_variance_of_a_resampled_mean():
    replicates = bootstrap.resampled_means(SCORES[None], 40_000, seed=1)[:, 0]
    expected = SCORES.std() / np.sqrt(len(SCORES))  # the variance of a bootstrap mean, exactly
    assert replicates.mean() == pytest.approx(SCORES.mean(), abs=4 * expected / np.sqrt(40_000))
    assert replicates.std() == pytest.approx(expected, rel=0.02)


def test_the_interval_is_that_of_scipy():
    replicates = bootstrap.resampled_means(SCORES[None], 40_000, seed=1)[:, 0]
    theirs = stats.bootstrap(
        (SCORES,), np.mean, n_resamples=40_000, method="percentile", rng=np.random.default_rng(3)
    ).confidence_interval
    assert bootstrap.percentile(replicates) == pytest.approx((theirs.low, theirs.high), abs=0.3)


def test_a_missing_value_is_left_out_of_its_own_row_only():
    values = np.array([[1.0, np.nan, 3.0], [1.0, 2.0, 3.0]])
    replicates = bootstrap.resampled_means(values, 20_000, seed=0)
    assert np.nanmean(replicates[:, 0]) == pytest.approx(2.0, abs=0.05)
    assert set(np.round(replicates[:, 0][~np.isnan(replicates[:, 0])], 6)) <= {1.0, 1.666667, 2.0, 2.333333, 3.0}
    assert np.isnan(replicates[:, 0]).mean() == pytest.approx(1 / 27, abs=0.01)  # the resamples of item 2 alone


def test_rows_share_their_resamples_so_that_differences_are_paired():
    values = np.stack([SCORES, SCORES + 5.0])
    replicates = bootstrap.resampled_means(values, 100)
    np.testing.assert_allclose(replicates[:, 1] - replicates[:, 0], 5.0)


def test_chunks_do_not_change_the_result(monkeypatch):
    whole = bootstrap.resampled_means(SCORES[None], 300, seed=5)
    monkeypatch.setattr(bootstrap, "_CHUNK_VALUES", 1000)
    np.testing.assert_array_equal(whole, bootstrap.resampled_means(SCORES[None], 300, seed=5))


def test_crossed_replicates_have_the_pigeonhole_variance():
    """Owen (2007): the variance is close to that of the rows' and the columns' means and thrice the residual's."""
    rng = np.random.default_rng(3)
    rows, columns = 8, 60
    grid = rng.normal(size=(rows, 1)) * 2 + rng.normal(size=(1, columns)) * 3 + rng.normal(size=(rows, columns))
    replicates = bootstrap.resampled_crossed_means([grid], 20_000, seed=0)[:, 0]
    between_rows = grid.mean(axis=1).var() / rows
    between_columns = grid.mean(axis=0).var() / columns
    residual = (grid - grid.mean(axis=1, keepdims=True) - grid.mean(axis=0, keepdims=True) + grid.mean()).var() / (
        rows * columns
    )
    assert replicates.var() == pytest.approx(between_rows + between_columns + residual, rel=0.05)
    assert replicates.mean() == pytest.approx(grid.mean(), abs=0.05)


def test_holm_is_that_of_r():
    """p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") gives 0.03 0.06 0.06 0.02."""
    assert multiplicity.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_holm_lies_between_the_raw_p_and_bonferroni_and_keeps_the_order(p_values):
    corrected = multiplicity.holm(p_values)
    for raw, one in zip(p_values, corrected, strict=True):
        assert raw <= one <= min(1.0, raw * len(p_values)) + 1e-12
    ranked = [one for _, one in sorted(zip(p_values, corrected, strict=True))]
    assert ranked == sorted(ranked)
