"""Least squares, clusters and Tobit: against statsmodels and closed forms."""

import numpy as np
import pytest
from scipy import stats

from equiloss.statistics import regression


def test_least_squares_with_hc3_errors_are_those_of_statsmodels():
    api = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(0)
    columns = [rng.normal(size=40), rng.normal(size=40)]
    x = np.column_stack([np.ones(40), *columns])
    y = x @ [1.0, 2.0, -1.0] + rng.normal(size=40) * np.exp(x[:, 1])
    fit = api.OLS(y, x).fit(cov_type="HC3")
    mine = regression.regress(y, columns)
    assert mine is not None
    assert mine.coefficients == pytest.approx(fit.params)
    assert mine.errors == pytest.approx(fit.bse)
    assert mine.estimate(1).p == pytest.approx(2 * stats.t.sf(abs(fit.tvalues[1]), 37))


def test_clusters_of_one_give_the_usual_standard_error():
    values = np.random.default_rng(3).normal(size=30)
    usual = values.std(ddof=1) / np.sqrt(30)
    assert regression.standard_error(values, np.arange(30)) == pytest.approx(usual)


def test_doubled_items_do_not_make_the_error_smaller():
    values = np.random.default_rng(4).normal(size=30)
    once = regression.standard_error(values, np.arange(30))
    twice = regression.standard_error(np.repeat(values, 2), np.repeat(np.arange(30), 2))
    assert twice == pytest.approx(once)
    assert regression.standard_error(values, np.zeros(30, dtype=np.intp)) is None


def test_clustered_errors_are_those_of_statsmodels():
    api = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(5)
    clusters = rng.integers(0, 8, 50)
    values = rng.normal(size=8)[clusters] + rng.normal(size=50)
    options = {"groups": clusters, "use_correction": False}
    theirs = api.OLS(values, np.ones(50)).fit(cov_type="cluster", cov_kwds=options).bse[0]
    groups = len(np.unique(clusters))
    mine = regression.standard_error(values, clusters)
    assert mine == pytest.approx(theirs * np.sqrt(groups / (groups - 1)))


def test_tobit_without_ends_is_least_squares():
    rng = np.random.default_rng(1)
    x = np.column_stack([np.ones(200), rng.normal(size=200)])
    y = 0.5 + 0.02 * x[:, 1] + rng.normal(0, 0.05, 200)
    item = np.arange(200)
    tobit, ordinary = regression.tobit(x, y, item), regression.regress_clustered(x, y, item)
    assert tobit is not None
    assert tobit.coefficients[1] == pytest.approx(ordinary.coefficients[1], abs=1e-5)
    assert tobit.errors[1] == pytest.approx(ordinary.errors[1], rel=1e-3)
    assert np.exp(tobit.coefficients[-1]) == pytest.approx((y - x @ np.linalg.lstsq(x, y)[0]).std(), rel=1e-3)


def test_cluster_robust_errors_are_those_of_statsmodels():
    api = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(2)
    item = np.repeat(np.arange(30), 4)
    x = np.column_stack([np.ones(120), rng.normal(size=120)])
    y = x @ [0.3, 0.1] + rng.normal(0, 0.1, 30)[item] + rng.normal(0, 0.1, 120)
    fit = api.OLS(y, x).fit(cov_type="cluster", cov_kwds={"groups": item, "use_correction": False})
    mine = regression.regress_clustered(x, y, item)
    assert mine.coefficients[1] == pytest.approx(fit.params[1])
    assert mine.errors[1] == pytest.approx(fit.bse[1] * np.sqrt(30 / 29))
