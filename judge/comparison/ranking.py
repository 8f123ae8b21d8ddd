"""Win rates, and strengths on one scale from who beat whom (Bradley & Terry 1952)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from equiloss.statistics import missing
from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.crossed import Clusters, Crossed, Stratum, variance_of_mean, with_units
from equiloss.statistics.estimate import CONFIDENCE
from equiloss.statistics.regression import standard_error
from judge.comparison.document import Strength
from judge.data.scores import Scores, are_preferences
from judge.data.verdicts import Judged, Panel

ITERATIONS = 10_000
TOLERANCE = 1e-10


@dataclass(frozen=True)
class WinRate:
    """How often a beats b, ties counting half: `rate` 0 to 1, its standard error over items, and the counts."""

    rate: float
    standard_error: float | None
    wins: int
    ties: int
    losses: int


def win_rate(preferences: Floats) -> WinRate:
    """The win rate from one preference per item: 1 for a, 0 for b, 0.5 for a tie, or a probability between.

    As AlpacaEval has it: the mean, and the sample standard deviation over the square root of the number of items.
    NaN is left out. Raises: ValueError when nothing is left.
    """
    given = preferences[~np.isnan(preferences)]
    if not len(given):
        raise ValueError("no preferences")
    return WinRate(
        rate=float(given.mean()),
        standard_error=standard_error(given),
        wins=int((given > 0.5).sum()),
        ties=int((given == 0.5).sum()),
        losses=int((given < 0.5).sum()),
    )


def preferences(judged: Sequence[Judged], scores: Scores, panel: Panel) -> Floats | None:
    """Who beat whom on each item (I, M, M) from verdicts that are preferences; None where they are scores."""
    verdicts = [one for run in judged for one in run.verdicts_of(panel)]
    if not are_preferences(verdicts):
        return None
    place = {name: index for index, name in enumerate(scores.generators)}
    column = {name: index for index, name in enumerate(scores.ids)}
    won = np.zeros((len(scores.ids), len(place), len(place)))
    for one in verdicts:
        others = [name for name in one.group if name != one.generator]
        if len(others) == 1 and others[0] in place:
            won[column[one.id], place[one.generator], place[others[0]]] += one.value
    return won


def strengths(wins: Floats) -> Floats:
    """Bradley–Terry strengths from win counts (M, M), as natural logarithms with mean zero: (M,).

    By the iteration of Newman (2023), "Efficient computation of rankings from pairwise comparisons", model by model.
    NaN where the maximum does not exist: a model that never wins or never loses, or groups that never meet.
    """
    if not _connected(wins):
        return np.full(len(wins), np.nan)
    logs = np.zeros(len(wins))
    for _ in range(ITERATIONS):
        before = logs.copy()
        for model in range(len(wins)):
            chance = 1 / (1 + np.exp(logs - logs[model]))  # (M,): of this model to win against each
            logs[model] += np.log(wins[model] @ (1 - chance)) - np.log(wins[:, model] @ chance)
        if np.abs(logs - before).max() < TOLERANCE:
            break
    return logs - logs.mean()


def run_outcomes(runs: Sequence[Floats]) -> Floats:
    """Who beat whom on each item and how often, over all pairs of the models' runs (S, I): (I, M, M), rates.

    NaN scores are left out of the pairs; zero both ways where none is left, and on the diagonal.
    """
    won = np.zeros((runs[0].shape[1], len(runs), len(runs)))
    for (a, left), (b, right) in permutations(enumerate(runs), 2):
        won[:, a, b] = np.nan_to_num(missing.present_mean(_beats(left, right).reshape(-1, left.shape[1])))
    return won


def _beats(left: Floats, right: Floats) -> Floats:
    """Whether each run of one model beats each run of another (S, T, I): 1, 0.5 for a tie, 0; NaN without a score."""
    difference = left[:, None] - right[None]
    return np.where(np.isnan(difference), np.nan, (np.sign(difference) + 1) / 2)


def strength_intervals(
    won: Floats,
    runs: Sequence[Floats] | None = None,
    clusters: Clusters | None = None,
    confidence: float = CONFIDENCE,
) -> list[Strength] | list[None]:
    """Every model's strength with its interval from wins (I, M, M); None where it does not exist.

    Student's interval of the maximum's influence values over items, or `clusters` (I,) of them, (Huber 1967) and over
    the models' `runs` (S, I): a run's part is the mean over what it met (Hoeffding 1948).
    """
    items, models = won.shape[0], won.shape[1]
    point = strengths(won.sum(axis=0)) if models > 1 else np.array([np.nan])
    if np.isnan(point).any():
        return [None] * models
    chance = 1 / (1 + np.exp(point[None, :] - point[:, None]))  # (M, M): of the row's model to win
    met = won + won.transpose(0, 2, 1)
    weights = met.sum(axis=0) * chance * chance.T
    information = np.diag(weights.sum(axis=1)) - weights
    inverse = items * np.asarray(np.linalg.pinv(information), dtype=np.float64)
    influence = (won - met * chance).sum(axis=2) @ inverse  # (I, M)
    rows: list[Strength] = []
    for m in range(models):
        crossed = Crossed(float(point[m]), float(variance_of_mean(influence[None, :, m], clusters)[0]), items - 1.0)
        if runs is not None:
            parts = [np.zeros_like(scores) for scores in runs]
            for (a, left), (b, right) in permutations(enumerate(runs), 2):
                beyond = missing.present_mean(_beats(left, right), 1) - chance[a, b]  # (S, I)
                parts[a] += (inverse[m, a] - inverse[m, b]) * np.nan_to_num(beyond)
            strata = [Stratum(part, 1.0, side) for side, part in enumerate(parts)]
            crossed = with_units(crossed, strata, clusters) or crossed
        rows.append(Strength(value=crossed.value, interval=crossed.interval(confidence)))
    return rows


def _connected(wins: Floats) -> bool:
    """Whether every model can be reached from every other by a chain of wins: then the maximum exists (Ford 1957)."""
    reach = ((wins > 0) | np.eye(len(wins), dtype=np.bool_)).astype(np.float64)
    for _ in range(len(wins).bit_length()):
        reach = np.minimum(reach @ reach, 1.0)
    return bool((reach > 0).all())
