"""Effects of place, length and order: against closed forms, a library, and biases that were planted."""

from dataclasses import replace

import numpy as np
import pytest

from judge.auditing import effects
from judge.auditing.effects import Rows


def planted(rng, n_items=150, runs=3, place=0.1, length=0.05, order=0.0, noise=0.1, clip=True) -> Rows:
    """Scores with known effects, by the formula of the simulated judge."""
    shape = (n_items, runs)
    agreement = rng.uniform(0, 1, shape)
    doublings = rng.normal(0, 1, shape)
    places = np.array([rng.permutation(runs) for _ in range(n_items)])
    x = 0.5 - places / (runs - 1)
    when = np.repeat(np.arange(n_items)[:, None] / 1000, runs, axis=1)
    share = agreement + place * x + length * doublings + order * when + rng.normal(0, noise, shape)
    share = np.round(np.clip(share, 0, 1), 2) if clip else share
    item, run = np.indices(shape)
    return Rows(
        share=share.ravel(),
        place=x.ravel(),
        doublings=doublings.ravel(),
        agreement=agreement.ravel(),
        order=when.ravel(),
        prompt=item.ravel().astype(np.intp),
        item=item.ravel().astype(np.intp),
        run=run.ravel().astype(np.intp),
        runs=tuple("abc"[:runs]),
    )


def test_without_ends_both_ways_agree_with_the_truth():
    rng = np.random.default_rng(0)
    found = effects.estimate(planted(rng, 600, clip=False, order=0.2))
    for way in (found.as_given, found.behind):
        assert way["place"].value == pytest.approx(0.1, abs=0.02)
        assert way["length"].value == pytest.approx(0.05, abs=0.01)
    assert found.behind["order"].interval[0] < 0.2 < found.behind["order"].interval[1]


def test_tobit_without_ends_is_least_squares():
    rng = np.random.default_rng(1)
    x = np.column_stack([np.ones(200), rng.normal(size=200)])
    y = 0.5 + 0.02 * x[:, 1] + rng.normal(0, 0.05, 200)
    item = np.arange(200)
    tobit = effects._tobit(x, y, item, ["level", "slope"], 0.95)
    ordinary = effects._least_squares(x, y, item, ["level", "slope"], 0.95)
    assert tobit["slope"].value == pytest.approx(ordinary["slope"].value, abs=1e-5)
    assert tobit["slope"].standard_error == pytest.approx(ordinary["slope"].standard_error, rel=1e-3)
    assert np.exp(tobit["log sigma"].value) == pytest.approx((y - x @ np.linalg.lstsq(x, y)[0]).std(), rel=1e-3)


def test_cluster_robust_errors_are_those_of_statsmodels():
    api = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(2)
    item = np.repeat(np.arange(30), 4)
    x = np.column_stack([np.ones(120), rng.normal(size=120)])
    y = x @ [0.3, 0.1] + rng.normal(0, 0.1, 30)[item] + rng.normal(0, 0.1, 120)
    fit = api.OLS(y, x).fit(cov_type="cluster", cov_kwds={"groups": item, "use_correction": False})
    mine = effects._least_squares(x, y, item, ["level", "slope"], 0.95)
    assert mine["slope"].value == pytest.approx(fit.params[1])
    assert mine["slope"].standard_error == pytest.approx(fit.bse[1] * np.sqrt(30 / 29))


@pytest.mark.parametrize(("place", "length"), [(0.2, 0.0), (0.0, 0.08), (-0.1, 0.05)])
def test_planted_biases_are_covered_although_scores_end(place, length):
    """The intervals behind the ends cover what was planted; those of the scores as given fall short of it."""
    rng = np.random.default_rng(3)
    covered = {"place": 0, "length": 0}
    for _ in range(25):
        data = planted(rng, 100, place=place, length=length, noise=0.2)
        found = effects.estimate(data)
        assert found.share_at_ends > 0.1
        for name, true in (("place", place), ("length", length)):
            low, high = found.behind[name].interval
            covered[name] += low <= true <= high
    assert covered["place"] >= 21
    assert covered["length"] >= 21


def test_the_gap_between_runs_is_adjusted_for_place():
    """A run that always stands first under a judge who likes the first: its lead is not its own."""
    rng = np.random.default_rng(4)
    data = planted(rng, 400, 2, place=0.2, length=0.0, noise=0.05)
    first = (data.run == 0) ^ (np.arange(len(data)) % 10 >= 8)
    place = np.where(first, 0.5, -0.5)
    share = np.clip(data.share - 0.2 * data.place + 0.2 * place, 0, 1)
    moved = replace(data, share=share, place=place)
    raw = share[data.run == 0].mean() - share[data.run == 1].mean()
    assert raw > 0.05
    low, high = effects.estimate(moved).behind["adjusted:a"].interval
    assert low < 0 < high


def test_nothing_is_estimated_from_next_to_nothing():
    rng = np.random.default_rng(5)
    found = effects.estimate(planted(rng, 2, 2))
    assert (found.as_given, found.behind) == ({}, {})
