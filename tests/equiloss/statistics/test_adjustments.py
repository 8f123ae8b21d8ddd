"""Length, clusters, missing scores and human labels: against libraries, closed forms and samples."""

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from equiloss.statistics import length_adjustment, missing, prediction_powered
from equiloss.statistics.nested import SideScores


def sides(gap: np.ndarray) -> tuple[SideScores, SideScores]:
    """One run a side, whose scores differ by `gap`."""
    return SideScores(gap[None, :, None]), SideScores(np.zeros((1, len(gap), 1)))


def test_a_gap_that_is_all_length_vanishes_at_equal_length():
    rng = np.random.default_rng(1)
    longer = rng.uniform(50, 400, 300) - rng.uniform(50, 250, 300)
    gap = 10 * np.tanh(longer / longer.std()) + rng.normal(0, 3, 300)
    found = length_adjustment.adjusted(*sides(gap), longer)
    assert found is not None
    assert gap.mean() > 2
    assert found.interval[0] <= 0 <= found.interval[1]
    assert found.slope == pytest.approx(10, abs=1)
    assert found.mean_length_difference == pytest.approx(longer.mean())


def test_with_one_run_a_side_it_is_statsmodels_hc3():
    rng = np.random.default_rng(2)
    longer, gap = rng.normal(20, 50, 60), rng.normal(5, 10, 60)
    found = length_adjustment.adjusted(*sides(gap), longer)
    assert found is not None
    fit = sm.OLS(gap, sm.add_constant(np.tanh(longer / longer.std()))).fit(cov_type="HC3", use_t=True)
    assert (found.difference, found.slope) == pytest.approx(tuple(fit.params))
    for interval, theirs in zip((found.interval, found.slope_interval), fit.conf_int(), strict=True):
        assert interval == pytest.approx(tuple(theirs), rel=0.02)  # theirs is not divided by n - 1


def test_no_adjustment_without_lengths_that_differ():
    assert length_adjustment.adjusted(*sides(np.zeros(5)), np.arange(5.0)) is None
    assert length_adjustment.adjusted(*sides(np.zeros(50)), np.zeros(50)) is None


@given(st.lists(st.one_of(st.none(), st.floats(0, 100)), min_size=1, max_size=20), st.randoms())
@settings(max_examples=100, deadline=None)
def test_bounds_hold_whatever_the_missing_scores_are(values, random):
    known = np.array([np.nan if value is None else value for value in values])
    filled = np.array([random.uniform(0, 100) if value is None else value for value in values])
    low, high = missing.mean_bounds(known, (0, 100))
    assert low - 1e-9 <= filled.mean() <= high + 1e-9
    other = np.array([random.uniform(0, 100) for _ in values])
    low, high = missing.difference_bounds(known, other, (0, 100))
    assert low - 1e-9 <= (filled - other).mean() <= high + 1e-9


def test_bounds_without_missing_scores_are_the_result():
    assert missing.mean_bounds(np.array([1.0, 3.0]), (0, 10)) == (2.0, 2.0)
    assert missing.difference_bounds(np.array([1.0, np.nan]), np.array([1.0, 4.0]), (0, 10)) == (-2.0, 3.0)


def test_labels_correct_a_judge_that_is_biased():
    """A judge 10 points too kind: the estimate covers the person's mean, and more tightly than the labels alone."""
    rng = np.random.default_rng(6)
    covered, narrower = 0, 0
    for _ in range(300):
        truth = rng.normal(60, 20, 500)
        judge = truth + 10 + rng.normal(0, 8, 500)
        human = np.where(np.arange(500) < 50, truth, np.nan)
        found = prediction_powered.mean(judge, human)
        assert found is not None
        covered += found.interval[0] <= 60 <= found.interval[1]
        narrower += found.standard_error < found.labels_only_standard_error
        assert found.judge_bias == pytest.approx(10, abs=6)
    assert covered / 300 == pytest.approx(0.95, abs=0.035)
    assert narrower == 300


def test_a_judge_that_knows_nothing_is_not_listened_to():
    rng = np.random.default_rng(7)
    judge, truth = rng.normal(size=2000), rng.normal(size=2000)
    found = prediction_powered.mean(judge, np.where(np.arange(2000) < 400, truth, np.nan))
    assert found is not None
    assert found.judge_weight == pytest.approx(0, abs=0.12)
    assert found.mean == pytest.approx(truth[:400].mean(), abs=0.02)
    assert found.standard_error == pytest.approx(found.labels_only_standard_error, rel=0.03)


def test_a_perfect_judge_gives_the_mean_over_all_items():
    truth = np.random.default_rng(8).normal(50, 10, 400)
    found = prediction_powered.mean(truth, np.where(np.arange(400) < 200, truth, np.nan))
    assert found is not None
    assert found.mean == pytest.approx(truth.mean(), abs=1.0)
    assert found.standard_error == pytest.approx(truth.std(ddof=1) / np.sqrt(400), rel=0.1)
    assert prediction_powered.mean(truth, np.full(400, np.nan)) is None
    assert stats.iqr(truth) > 0


def test_the_prediction_powered_mean_is_the_papers_formula():
    """PPI++ by hand: weight, estimate and variance as the paper writes them, term by term."""
    judge = np.array([60.0, 70, 40, 90, 55, 80, 30, 65, 75, 50])
    human = np.array([50.0, 65, 45, 80, 50, np.nan, np.nan, np.nan, np.nan, np.nan])
    found = prediction_powered.mean(judge, human)
    assert found is not None
    y, f, g = human[:5], judge[:5], judge[5:]
    weight = (((y - y.mean()) * (f - f.mean())).sum() / 4) / ((1 + 5 / 5) * judge.var(ddof=1))
    variance = weight**2 * g.var(ddof=1) / 5 + (y - weight * f).var(ddof=1) / 5
    assert found.judge_weight == pytest.approx(weight)
    assert found.mean == pytest.approx(weight * g.mean() + (y - weight * f).mean())
    assert found.standard_error == pytest.approx(np.sqrt(variance))
    half = stats.t.ppf(0.975, 4) * np.sqrt(variance)
    assert found.interval == pytest.approx((found.mean - half, found.mean + half))
    # Every item in a cluster of its own changes nothing; an item repeated in two seeds is one cluster.
    alone = prediction_powered.mean(judge, human, clusters=np.arange(10))
    assert alone is not None
    assert alone.standard_error == pytest.approx(found.standard_error)
    twice = prediction_powered.mean(np.stack([judge, judge]), np.stack([human, human]))
    assert twice is not None
    assert twice.standard_error == pytest.approx(found.standard_error, rel=0.15)


def test_a_gap_between_labelled_models_covers_the_truth_and_uses_the_pairs():
    """Two models share the items' difficulty, and each has labels on items of its own drawing."""
    rng = np.random.default_rng(9)
    covered, unpaired, errors = 0, [], []
    for _ in range(400):
        hard = rng.normal(0, 15, 300)
        truths = [60 + hard + rng.normal(0, 6, 300), 55 + hard + rng.normal(0, 6, 300)]
        both = []
        for index, truth in enumerate(truths):
            judge = truth + 8 * index + rng.normal(0, 5, 300)  # kind to the second, so that the judge alone errs
            human = np.where(np.isin(np.arange(300), rng.choice(300, 40, replace=False)), truth, np.nan)
            both.append(prediction_powered.mean(judge, human))
        found = prediction_powered.gap(*both)
        covered += found.interval[0] <= 5 <= found.interval[1]
        errors.append(found.standard_error)
        unpaired.append(np.hypot(both[0].standard_error, both[1].standard_error))
    assert covered / 400 == pytest.approx(0.95, abs=0.03)
    assert np.mean(errors) < 0.95 * np.mean(unpaired)


def test_a_weight_from_all_models_keeps_the_intervals_of_few_labels_wide_enough():
    rng = np.random.default_rng(4)
    held = {"own": 0, "common": 0}
    models, draws = 20, 60
    for _ in range(draws):
        truth = rng.normal(size=(models, 70))
        judge = 0.35 * truth + rng.normal(size=truth.shape)
        human = np.where(rng.random(truth.shape) < 0.1, truth, np.nan)
        both = list(zip(judge, human, strict=True))
        common = prediction_powered.common_weight(both)
        for name, weight in (("own", None), ("common", common)):
            found = [prediction_powered.mean(*one, weight=weight) for one in both]
            held[name] += sum(one is None or one.interval[0] <= 0 <= one.interval[1] for one in found)
    coverage = {name: count / models / draws for name, count in held.items()}
    assert 0.93 <= coverage["common"] <= 0.975  # standard error 0.006
    assert coverage["own"] < coverage["common"]


def test_labels_in_few_clusters_leave_few_degrees_of_freedom():
    judge, human = np.arange(40.0), np.where(np.arange(40) % 4 == 0, np.arange(40.0) + 1, np.nan)
    own, paired = (prediction_powered.mean(judge, human, clusters=groups) for groups in (None, np.arange(40) // 8))
    assert own is not None
    assert paired is not None
    assert (own.df, paired.df) == (9, 4)
    assert prediction_powered.mean(judge, human, clusters=np.zeros(40, dtype=int)) is None
