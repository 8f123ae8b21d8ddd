"""Win rates against AlpacaEval's published table; Bradley–Terry against its closed form and the maximum."""

import csv
import json

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from judge.comparison import ranking
from judge.comparison.compare import compare
from judge.data.verdicts import load_judged


@pytest.mark.parametrize("model", ["alpaca-7b", "text_davinci_001"])
def test_the_published_win_rates_and_standard_errors_of_alpaca_eval(model, shared_data):
    with (shared_data / "alpaca_eval" / "leaderboard.csv").open() as f:
        [row] = [row for row in csv.DictReader(f) if row[""] == model]
    annotations = json.loads((shared_data / "alpaca_eval" / f"{model}.annotations.json").read_text())
    found = ranking.win_rate(
        np.array([np.nan if one["preference"] is None else one["preference"] - 1 for one in annotations])
    )
    assert found.rate * 100 == pytest.approx(float(row["win_rate"]), abs=1e-6)
    assert found.standard_error is not None
    assert found.standard_error * 100 == pytest.approx(float(row["standard_error"]), abs=1e-6)
    assert (found.wins, found.ties, found.losses) == (int(row["n_wins"]), int(row["n_draws"]), int(row["n_wins_base"]))


def test_two_models_have_the_log_odds_of_their_wins():
    wins = np.array([[0.0, 30.0], [10.0, 0.0]])
    assert ranking.strengths(wins) == pytest.approx([np.log(3) / 2, -np.log(3) / 2])


def test_strengths_maximise_the_likelihood_by_scipy():
    """The maximum by scipy, of every table that has one."""
    rng = np.random.default_rng(0)
    tables = rng.poisson(rng.uniform(1, 20, (60, 4, 4))).astype(float) * (1 - np.eye(4))
    tables[7, 2] = 0.0  # never wins
    for wins in tables:
        strength = ranking.strengths(wins)
        if (wins.sum(axis=1) == 0).any() or (wins.sum(axis=0) == 0).any():
            assert np.isnan(strength).all()
            continue

        def loss(s, wins=wins):
            return (wins * np.logaddexp(0, s[None, :] - s[:, None])).sum() + s.mean() ** 2

        assert strength == pytest.approx(optimize.minimize(loss, np.zeros(4), tol=1e-10).x, abs=1e-4)
    assert np.isnan(ranking.strengths(tables[7])).all()


def test_the_likelihood_is_at_its_maximum():
    """The score equations: every model's wins equal the wins that its strength expects (Zermelo 1929)."""
    rng = np.random.default_rng(1)
    wins = rng.integers(1, 30, (4, 4)).astype(float)
    np.fill_diagonal(wins, 0)
    strength = ranking.strengths(wins)
    chance = 1 / (1 + np.exp(strength[None, :] - strength[:, None]))
    assert ((wins + wins.T) * chance).sum(axis=1) == pytest.approx(wins.sum(axis=1), rel=1e-6)
    assert strength.sum() == pytest.approx(0, abs=1e-9)


def test_no_strength_where_a_model_never_loses_or_groups_never_meet():
    assert np.isnan(ranking.strengths(np.array([[0.0, 5.0], [0.0, 0.0]]))).all()
    apart = np.zeros((4, 4))
    apart[0, 1] = apart[1, 0] = apart[2, 3] = apart[3, 2] = 5
    assert np.isnan(ranking.strengths(apart)).all()
    cycle = np.zeros((5, 5))
    for index in range(5):
        cycle[index, (index + 1) % 5] = 1
    assert ranking.strengths(cycle) == pytest.approx(np.zeros(5), abs=1e-9)


def test_errors_of_strengths_are_those_of_a_logistic_regression():
    """Bradley-Terry is a logistic regression on who meets whom: its sandwich errors, by statsmodels, by item."""
    rng = np.random.default_rng(2)
    runs = [rng.normal(level, 1, (1, 400)) for level in (0.0, 0.3, 0.8)]
    found = ranking.strength_intervals(ranking.run_outcomes(runs), runs)
    rows, won, items = [], [], []
    for a, b in ((0, 1), (0, 2), (1, 2)):
        row = np.zeros(3)
        row[a], row[b] = 1, -1
        rows += [row[1:]] * 400
        won += list((runs[a][0] > runs[b][0]).astype(float))
        items += range(400)
    fit = sm.Logit(np.array(won), np.array(rows)).fit(
        disp=0, cov_type="cluster", cov_kwds={"groups": np.array(items), "use_correction": False}
    )
    centre = np.array([[-1, -1], [2, -1], [-1, 2]]) / 3  # from differences to the first to strengths of mean zero
    errors = np.sqrt(np.diag(centre @ fit.cov_params() @ centre.T))
    for strength, value, error in zip(found, centre @ fit.params, errors, strict=True):
        assert strength is not None
        assert strength.value == pytest.approx(value, abs=1e-4)
        assert (strength.interval[1] - strength.value) / stats.t.ppf(0.975, 399) == pytest.approx(error, rel=0.01)


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=2, max_size=30))
@settings(max_examples=50, deadline=None)
def test_the_other_side_has_the_rest(preferences):
    mine = ranking.win_rate(np.array(preferences))
    theirs = ranking.win_rate(1 - np.array(preferences))
    assert mine.rate + theirs.rate == pytest.approx(1)
    assert (mine.wins, mine.ties, mine.losses) == (theirs.losses, theirs.ties, theirs.wins)
    assert mine.standard_error == pytest.approx(theirs.standard_error)


def test_wins_on_items_make_the_strengths_of_a_comparison(write_run):
    rng = np.random.default_rng(3)
    hard = rng.normal(50, 10, 80)
    files = [write_run(name, [list(hard + rng.normal(gap, 10, 80))]) for name, gap in (("a", 0), ("b", 4), ("c", 8))]
    models = compare(load_judged(files), draws=300).models
    values = [model.strength.value for model in models if model.strength]
    assert len(values) == 3
    assert values == sorted(values)
    assert sum(values) == pytest.approx(0, abs=1e-9)
