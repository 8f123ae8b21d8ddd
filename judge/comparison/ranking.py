"""Win rates, and strengths on one scale from who beat whom (Bradley & Terry 1952)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiloss.statistics import bootstrap
from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.regression import standard_error
from judge.comparison.document import Strength
from judge.data.scores import Scores, shipped_rubric
from judge.data.verdicts import Judged, Panel

ITERATIONS = 10_000
TOLERANCE = 1e-10
TOGETHER = 100  # rows of the table that evalica is given at once: its time grows with their square


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


def outcomes(stacked: Floats) -> Floats:
    """Who beat whom on each item, from scores (M, I): (I, M, M), 1 where the row's model scored higher, 0.5 for a tie.

    Zero both ways where one of the two has no score, and on the diagonal.
    """
    left, right = stacked.T[:, :, None], stacked.T[:, None, :]
    won = np.where(left > right, 1.0, np.where(left == right, 0.5, 0.0))
    won[np.isnan(left) | np.isnan(right) | np.eye(len(stacked), dtype=np.bool_)] = 0.0
    return won


def preferences(judged: Sequence[Judged], scores: Scores, panel: Panel) -> Floats | None:
    """Who beat whom on each item (I, M, M) from a pairwise rubric's verdicts; None for a rubric that gives scores."""
    verdicts = [one for run in judged for one in run.verdicts_of(panel)]
    rubric = shipped_rubric(panel, verdicts[0].rubric_sha) if verdicts else None
    if rubric is None or rubric.front.output.type != "preference":
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
    """Bradley–Terry strengths from win counts (..., M, M), as natural logarithms with mean zero: (..., M).

    By evalica, in Newman's (2023) iteration, "Efficient computation of rankings from pairwise comparisons"; several
    tables go to it as one whose parts never meet. NaN where the maximum does not exist: a model that never wins or
    never loses, or groups that never meet.
    """
    import evalica
    import pandas as pd

    models = wins.shape[-1]
    result = np.full((math.prod(wins.shape[:-2]), models), np.nan)
    tables = wins.reshape(-1, models, models)
    defined = np.flatnonzero(_connected(tables))
    step = max(1, TOGETHER // models)
    for places in (defined[first : first + step] for first in range(0, len(defined), step)):
        table, winner, loser = np.nonzero(tables[places])
        ranked = evalica.bradley_terry(
            table * models + winner,
            table * models + loser,
            [evalica.Winner.X] * len(table),
            index=pd.RangeIndex(len(places) * models),
            weights=tables[places][table, winner, loser],
            tolerance=TOLERANCE,
            limit=ITERATIONS,
        )
        logs = np.log(ranked.scores.sort_index().to_numpy()).reshape(-1, models)
        result[places] = logs - logs.mean(axis=1, keepdims=True)
    return result.reshape(wins.shape[:-1])


def strength_intervals(
    won: Floats, confidence: float = 0.95, draws: int = 1000, seed: int = 0
) -> list[Strength] | list[None]:
    """Every model's strength with its bootstrap interval over items (I, M, M); None where it does not exist.

    Resamples in which the maximum does not exist are left out; None too when they are more than a tenth.
    """
    items, models = won.shape[0], won.shape[1]
    point = strengths(won.sum(axis=0)) if models > 1 else np.array([np.nan])
    if np.isnan(point).any():
        return [None] * models
    resampled = bootstrap.resampled_means(won.reshape(items, -1).T, draws, seed).reshape(draws, models, models)
    replicates = strengths(resampled * items)
    kept = replicates[~np.isnan(replicates).any(axis=1)]
    if len(kept) < 0.9 * draws:
        return [None] * models
    return [Strength(value=point[m], interval=bootstrap.percentile(kept[:, m], confidence)) for m in range(models)]


def _connected(wins: Floats) -> NDArray[np.bool_]:
    """Whether every model can be reached from every other by a chain of wins: then the maximum exists (Ford 1957)."""
    reach = ((wins > 0) | np.eye(wins.shape[-1], dtype=np.bool_)).astype(np.float64)
    for _ in range(wins.shape[-1].bit_length()):
        reach = np.minimum(reach @ reach, 1.0)
    return np.asarray((reach > 0).all(axis=(-1, -2)))
