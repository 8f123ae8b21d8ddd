"""What goes with a score besides the answer: its place in the prompt, its length, when it was judged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.estimate import Estimate, Interval
from equiloss.statistics.regression import Regression, regress_clustered, tobit
from judge.data import reference
from judge.data.verdicts import Judged, Panel


@dataclass(frozen=True)
class Rows:
    """One row per judged answer, prompt and repeat. `share` is the score on 0 to 1; NaN in `agreement`: no reference.

    place: 0.5 first in the prompt, -0.5 last, 0 alone. doublings: log2 of the answer's words over the reference's.
    order: thousands of prompts before this one. prompt, item, run: numbers from 0.
    """

    share: Floats
    place: Floats
    doublings: Floats
    agreement: Floats
    order: Floats
    prompt: NDArray[np.intp]
    item: NDArray[np.intp]
    run: NDArray[np.intp]
    runs: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.share)


def rows(judged: Sequence[Judged], panel: Panel, scale: Interval) -> Rows:
    """The panel's verdicts as rows; several criteria of one answer in one prompt are averaged."""
    sums: dict[tuple[str, str, str], list[float]] = {}
    about: dict[tuple[str, str, str], tuple[float, str, int]] = {}
    prompts: dict[str, tuple[int, int, int]] = {}
    items: dict[str, int] = {}
    runs = tuple(run.generator for run in judged)
    for index, run in enumerate(judged):
        for one in run.verdicts_of(panel):
            key = (run.generator, one.id, one.request_sha)
            sums.setdefault(key, []).append((one.value - scale[0]) / (scale[1] - scale[0]))
            item = items.setdefault(one.id, len(items))
            prompts.setdefault(one.request_sha, (item, one.repeat, len(prompts)))
            size = len(one.group)
            about[key] = (0.5 - one.position / (size - 1) if size > 1 else 0.0, one.id, index)
    keys = list(sums)
    turn = {sha: index for index, sha in enumerate(sorted(prompts, key=lambda sha: prompts[sha]))}  # as a plan goes
    answers = {(key[0], key[1]): about[key][2] for key in keys}
    by_answer = {key: _measured(judged[index], key[1]) for key, index in answers.items()}
    return Rows(
        share=np.array([sum(sums[key]) / len(sums[key]) for key in keys]),
        place=np.array([about[key][0] for key in keys]),
        doublings=np.array([by_answer[key[0], key[1]][0] for key in keys]),
        agreement=np.array([by_answer[key[0], key[1]][1] for key in keys]),
        order=np.array([turn[key[2]] / 1000 for key in keys]),
        prompt=np.array([turn[key[2]] for key in keys], dtype=np.intp),
        item=np.array([items[key[1]] for key in keys], dtype=np.intp),
        run=np.array([about[key][2] for key in keys], dtype=np.intp),
        runs=runs,
    )


def _measured(run: Judged, key: str) -> tuple[float, float]:
    response = run.responses.get(key)
    if response is None or not response.reference.strip():
        return math.nan, math.nan
    words = math.log2((len(response.output.split()) + 1) / (len(response.reference.split()) + 1))
    return words, reference.agreement(response.output, response.reference)


@dataclass(frozen=True)
class Estimates:
    """Effects on the scores as given, and behind the ends of the scale; None where the data do not vary in it."""

    as_given: dict[str, Estimate]
    behind: dict[str, Estimate]
    share_at_ends: float
    n_rows: int


def estimate(data: Rows, confidence: float = 0.95) -> Estimates:
    """The effects of place, length and order, each with the others and the answer's agreement held fixed.

    As given: least squares, within prompts where prompts show several answers and the effect varies in them. Behind
    the ends: a two-limit Tobit model (Tobin 1958; Rosett & Nelson 1975), for what scores would do if the scale did not
    end. Errors are robust to clusters of one item. `adjusted:a` are the runs' levels beside the last run's.
    """
    columns = _columns(data)
    known = ~np.isnan(np.column_stack([*columns.values(), data.share])).any(axis=1)
    kept = {name: column[known] for name, column in columns.items() if float(np.ptp(column[known])) > 1e-9}
    share, item, prompt = data.share[known], data.item[known], data.prompt[known]
    if len(share) < 3 * (len(kept) + 2):
        return Estimates({}, {}, 0.0, len(share))
    names = list(kept)
    x = np.column_stack([np.ones(len(share)), *kept.values()])
    as_given = _effects(regress_clustered(x, share, item), ["level", *names], confidence)
    several = len(np.unique(prompt)) < len(prompt)
    if several:
        within = {name: column - _means(column, prompt) for name, column in kept.items()}
        moving = [name for name in names if float(np.ptp(within[name])) > 1e-9]
        if moving:
            x_within = np.column_stack([within[name] for name in moving])
            as_given |= _effects(regress_clustered(x_within, share - _means(share, prompt), item), moving, confidence)
    ends = float(((share <= 1e-9) | (share >= 1 - 1e-9)).mean())
    behind = _effects(tobit(x, share, item), ["level", *names], confidence)
    return Estimates(as_given, behind, ends, len(share))


def _columns(data: Rows) -> dict[str, Floats]:
    columns = {"place": data.place, "order": data.order}
    if not np.isnan(data.agreement).all():
        columns |= {"length": data.doublings, "agreement": data.agreement}
    for index, name in enumerate(data.runs[:-1]):
        columns[f"adjusted:{name}"] = (data.run == index).astype(np.float64)
    return columns


def _means(values: Floats, groups: NDArray[np.intp]) -> Floats:
    counts = np.bincount(groups)
    return (np.bincount(groups, weights=values) / np.maximum(counts, 1))[groups]


def _effects(fit: Regression | None, names: Sequence[str], confidence: float) -> dict[str, Estimate]:
    if fit is None:
        return {}
    return {name: fit.estimate(index, "share", "clustered", confidence) for index, name in enumerate(names)}
