"""Effects of place, length and order: against closed forms, a library, and biases that were planted."""

import numpy as np
import pandas as pd
import pytest

from judge.auditing import effects


def planted(rng, n_items=150, runs=3, place=0.1, length=0.05, order=0.0, noise=0.1, clip=True) -> pd.DataFrame:
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
    columns = {"share": share, "place": x, "doublings": doublings, "agreement": agreement, "order": when}
    frame = pd.DataFrame({name: values.ravel() for name, values in (columns | {"prompt": item, "item": item}).items()})
    return frame.assign(run=pd.Categorical(np.array(list("abc"))[run.ravel()], categories=list("abc"[:runs])))


def test_without_ends_both_ways_agree_with_the_truth():
    rng = np.random.default_rng(0)
    found = effects.estimate(planted(rng, 600, clip=False, order=0.2))
    for way in (found.as_given, found.behind):
        assert way["place"].value == pytest.approx(0.1, abs=0.02)
        assert way["length"].value == pytest.approx(0.05, abs=0.01)
    assert found.behind["order"].interval[0] < 0.2 < found.behind["order"].interval[1]


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
    first = (data["run"] == "a") ^ (np.arange(len(data)) % 10 >= 8)
    place = np.where(first, 0.5, -0.5)
    share = np.clip(data["share"] - 0.2 * data["place"] + 0.2 * place, 0, 1)
    moved = data.assign(share=share, place=place)
    raw = share[data["run"] == "a"].mean() - share[data["run"] == "b"].mean()
    assert raw > 0.05
    low, high = effects.estimate(moved).behind["adjusted:a"].interval
    assert low < 0 < high


def test_nothing_is_estimated_from_next_to_nothing():
    rng = np.random.default_rng(5)
    found = effects.estimate(planted(rng, 2, 2))
    assert (found.as_given, found.behind) == ({}, {})
