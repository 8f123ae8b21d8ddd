"""Win rates, and strengths on one scale from who beat whom (Bradley & Terry 1952)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from equiloss.statistics import bootstrap
from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.estimate import Interval
from judge.data.scores import Scores
from judge.data.scores import shipped_rubric as shipped
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
        standard_error=float(given.std(ddof=1) / np.sqrt(len(given))) if len(given) > 1 else None,
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
    rubric = shipped(panel, verdicts[0].rubric_sha) if verdicts else None
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

    Hunter (2004), "MM algorithms for generalized Bradley-Terry models", equation 3. NaN where the maximum does not
    exist: a model that never wins or never loses, or groups that never meet.
    """
    models = wins.shape[-1]
    games = wins + np.swapaxes(wins, -1, -2)
    won = wins.sum(axis=-1)
    lost = wins.sum(axis=-2)
    defined = ((won > 0) & (lost > 0)).all(axis=-1) & _connected(wins)
    strength = np.ones(wins.shape[:-1])
    for _ in range(ITERATIONS):
        with np.errstate(invalid="ignore", divide="ignore"):
            update = won / (games / (strength[..., :, None] + strength[..., None, :])).sum(axis=-1)
            update = update / np.exp(np.log(update).mean(axis=-1, keepdims=True))
        change = np.abs(update - strength)[defined].max(initial=0.0)
        strength = np.where(defined[..., None], update, 1.0)
        if change < TOLERANCE:
            break
    return np.where(defined[..., None], np.log(strength), np.nan) if models > 1 else np.zeros(wins.shape[:-1])


def strength_intervals(
    won: Floats, confidence: float = 0.95, draws: int = 1000, seed: int = 0
) -> list[tuple[float, Interval] | None]:
    """Every model's strength with its bootstrap interval over items (I, M, M); None where it does not exist.

    Resamples in which the maximum does not exist are left out; None too when they are more than a tenth.
    """
    items, models = won.shape[0], won.shape[1]
    point = strengths(won.sum(axis=0))
    if np.isnan(point).any():
        return [None] * models
    resampled = bootstrap.resampled_means(won.reshape(items, -1).T, draws, seed).reshape(draws, models, models)
    replicates = strengths(resampled * items)
    kept = replicates[~np.isnan(replicates).any(axis=1)]
    if len(kept) < 0.9 * draws:
        return [None] * models
    return [(float(point[m]), bootstrap.percentile(kept[:, m], confidence)) for m in range(models)]


def _connected(wins: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Whether every model can be reached from every other by a chain of wins: then the maximum exists (Ford 1957)."""
    reach = (wins > 0) | np.eye(wins.shape[-1], dtype=np.bool_)
    for _ in range(max(1, wins.shape[-1].bit_length())):
        reach = (reach.astype(np.float64) @ reach.astype(np.float64)) > 0
    return np.asarray(reach.all(axis=(-1, -2)))
