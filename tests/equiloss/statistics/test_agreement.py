"""Agreement coefficients against published tables, scipy and statsmodels."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from equiloss.statistics import agreement

NAN = float("nan")
# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", example E: 4 observers, 12 units.
OBSERVERS = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
)
# Shrout & Fleiss (1979), table 2: six targets, four judges.
TARGETS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float).T


def test_alpha_is_that_of_krippendorffs_own_example():
    assert agreement.krippendorff_alpha(OBSERVERS) == pytest.approx(0.849, abs=0.0006)


@given(st.integers(2, 5), st.integers(2, 12), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_alpha_is_that_of_evalica(raters, units, seed):
    import evalica

    rng = np.random.default_rng(seed)
    ratings = np.where(rng.random((raters, units)) < 0.2, NAN, rng.integers(0, 5, (raters, units)))
    mine = agreement.krippendorff_alpha(ratings)
    try:
        theirs = evalica.alpha(pd.DataFrame(ratings), distance="interval").alpha
    except evalica.InsufficientRatingsError:
        theirs = None
    if mine is None:
        assert theirs is None or np.isnan(theirs) or theirs in (0.0, 1.0)
    else:
        assert mine == pytest.approx(theirs)


def test_alpha_at_its_ends():
    same = np.array([[1.0, 2, 3], [1.0, 2, 3]])
    assert agreement.krippendorff_alpha(same) == 1.0
    assert agreement.krippendorff_alpha(np.ones((2, 4))) is None
    assert agreement.krippendorff_alpha(np.array([[1.0, NAN], [NAN, 2.0]])) is None
    rng = np.random.default_rng(0)
    alpha = agreement.krippendorff_alpha(rng.normal(size=(2, 4000)))
    assert alpha == pytest.approx(0, abs=0.04)


def test_alpha_of_two_raters_on_an_interval_scale_has_a_closed_form():
    """Without gaps alpha is 1 - mean squared difference / (2 x variance of all values, n - 1 below)."""
    rng = np.random.default_rng(1)
    a = rng.integers(0, 101, 50).astype(float)
    b = np.clip(a + rng.integers(-20, 21, 50), 0, 100).astype(float)
    expected = 1 - ((a - b) ** 2).mean() / (2 * np.concatenate([a, b]).var(ddof=1))
    assert agreement.krippendorff_alpha(np.stack([a, b])) == pytest.approx(expected)


def test_the_interval_of_alpha_covers():
    rng = np.random.default_rng(2)
    covered = 0
    for trial in range(150):
        truth = rng.normal(size=80)
        low, high = agreement.alpha_interval(truth + rng.normal(0, 0.5, (2, 80)), draws=200, seed=trial) or (1, 0)
        covered += low <= 0.8 <= high  # 1 / (1 + 0.25)
    assert 0.85 <= covered / 150 <= 0.99


def test_intraclass_correlations_are_those_of_shrout_and_fleiss():
    found = agreement.icc_one_way(TARGETS)
    assert found is not None
    assert (found.value, found.of_mean) == (pytest.approx(0.17, abs=0.005), pytest.approx(0.44, abs=0.005))
    assert found.interval == pytest.approx((-0.13, 0.72), abs=0.006)  # as psych::ICC prints it in R
    assert agreement.icc_two_way(TARGETS) == pytest.approx(0.29, abs=0.005)


def test_intraclass_correlation_of_known_components():
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(300):
        ratings = rng.normal(0, 2, 40) + rng.normal(0, 1, (3, 40))
        found = agreement.icc_one_way(ratings)
        assert found is not None
        covered += found.interval[0] <= 0.8 <= found.interval[1]
    assert covered / 300 == pytest.approx(0.95, abs=0.03)
    assert agreement.icc_one_way(np.ones((1, 5))) is None


@given(st.integers(2, 6), st.integers(3, 15), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_kendalls_w_is_friedmans_test(raters, units, seed):
    ratings = np.random.default_rng(seed).integers(0, 4, (raters, units)).astype(float)
    found = agreement.kendalls_w(ratings)
    if found is None:
        assert all(len(set(row)) == 1 for row in ratings)
        return
    if raters > 2 and units > 2:
        friedman = stats.friedmanchisquare(*ratings.T)
        assert found[0] == pytest.approx(friedman.statistic / (raters * (units - 1)))
        assert found[1] == pytest.approx(friedman.pvalue)
    assert -1e-9 <= found[0] <= 1 + 1e-9


def test_perfect_agreement_has_no_width():
    same = np.array([[1.0, 2, 5], [1.0, 2, 5]])
    assert agreement.icc_one_way(same) == agreement.Reliability(1.0, (1.0, 1.0), 1.0)
    assert agreement.icc_two_way(same) == pytest.approx(1.0)


def test_full_concordance():
    found = agreement.kendalls_w(np.array([[1.0, 2, 3, 4], [10.0, 20, 30, 90], [NAN, 1, 2, 3]]))
    assert found is not None
    assert found[0] == pytest.approx(1.0)


def test_weighted_kappa_is_that_of_statsmodels():
    inter_rater = pytest.importorskip("statsmodels.stats.inter_rater")
    rng = np.random.default_rng(4)
    a = rng.integers(0, 5, 80)
    b = np.clip(a + rng.integers(-1, 2, 80), 0, 4)
    table = np.zeros((5, 5))
    np.add.at(table, (a, b), 1)
    theirs = inter_rater.cohens_kappa(table, wt="quadratic").kappa
    assert agreement.weighted_kappa(a.astype(float), b.astype(float)) == pytest.approx(theirs)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=40))
@settings(max_examples=60, deadline=None)
def test_spearman_is_that_of_pandas(pairs):
    a, b = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    found = agreement.spearman(a, b)
    if len(set(a)) == 1 or len(set(b)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(pd.DataFrame({"a": a, "b": b}).corr(method="spearman").loc["a", "b"])


def test_intervals_of_pairs():
    rng = np.random.default_rng(5)
    a = rng.normal(size=200)
    b = a + rng.normal(size=200)
    interval = agreement.pair_interval(a, b, agreement.spearman, draws=500)
    assert interval is not None
    expected = 6 / np.pi * np.arcsin(np.sqrt(0.5) / 2)  # of a bivariate normal with correlation 0.71
    assert interval[0] < expected < interval[1]
    assert interval[1] - interval[0] < 0.25
