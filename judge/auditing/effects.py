"""What goes with a score besides the answer: its place in the prompt, its length, when it was judged."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from equiloss.records.verdict import Verdict
from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.estimate import CONFIDENCE, Estimate, Interval
from equiloss.statistics.regression import Regression, regress_clustered, tobit
from judge.data import reference
from judge.data.scores import are_preferences, unit_of
from judge.data.verdicts import Judged, Panel

if TYPE_CHECKING:
    from pandas import DataFrame


def verdict_rows(judged: Sequence[Judged], panel: Panel, scale: Interval) -> DataFrame:
    """The panel's verdicts, a row per judged answer, prompt and repeat; several criteria are averaged.

    run, unit (categorical: all runs, all items or comparisons), item, prompt, repeat: whose answer to which item (or
    in which comparison, for preferences), shown where, asked how often before; share: the score on 0 to 1; place: 0.5
    first in the prompt, -0.5 last, 0 alone; order: thousands of prompts before this one; doublings: log2 of the
    answer's words over the reference's, or over one where answers are compared; agreement: of its text with the
    reference's (NaN in both: no reference).
    """
    import pandas as pd

    lines = [(number, line) for number, run in enumerate(judged) for line in run.verdicts_of(panel)]
    paired = are_preferences(line for _, line in lines)
    items, item = _numbered(line.id for _, line in lines)
    units, unit = _numbered(unit_of(line, paired) for _, line in lines)
    share = np.fromiter((line.value for _, line in lines), np.float64)
    columns = {
        "run": np.fromiter((number for number, _ in lines), np.int64),
        "item": item,
        "unit": unit,
        "prompt": _numbered(line.request_sha for _, line in lines)[1],
        "repeat": np.fromiter((line.repeat for _, line in lines), np.int64),
        "share": (share - scale[0]) / (scale[1] - scale[0]),
        "place": np.fromiter((_place(line) for _, line in lines), np.float64),
    }
    del lines
    rows = pd.DataFrame(columns).groupby([*columns][:5], sort=False, as_index=False).mean()
    prompts = rows.drop_duplicates("prompt").sort_values(["item", "repeat"], kind="stable")["prompt"]  # as a plan goes
    rows["prompt"] = pd.Categorical(rows["prompt"], categories=prompts).codes
    rows["order"] = rows["prompt"] / 1000
    beside = np.full((2, len(judged), len(items)), np.nan)
    for number, run in enumerate(judged):
        for response in run.responses.values():
            if response.id in items and (paired or response.reference.strip()):
                beside[:, number, items[response.id]] = _beside_reference(response.output, response.reference)
    rows["doublings"], rows["agreement"] = beside[:, rows["run"], rows["item"]]
    for name, texts in (("run", [run.generator for run in judged]), ("unit", list(units))):
        rows[name] = pd.Categorical.from_codes(rows[name].to_numpy(), dtype=pd.CategoricalDtype(texts))
    return rows


def _numbered(texts: Iterable[str]) -> tuple[dict[str, int], NDArray[np.int64]]:
    """The number of each text, in order of appearance, and the numbers of all."""
    numbers: dict[str, int] = {}
    of_each = np.fromiter((numbers.setdefault(text, len(numbers)) for text in texts), np.int64)
    return numbers, of_each


def _place(verdict: Verdict) -> float:
    return 0.5 - verdict.position / (len(verdict.group) - 1) if len(verdict.group) > 1 else 0.0


def _beside_reference(output: str, expected: str) -> tuple[float, float]:
    words = math.log2((len(output.split()) + 1) / (len(expected.split()) + 1))
    return words, reference.agreement(output, expected) if expected.strip() else math.nan


@dataclass(frozen=True)
class ScoreEffects:
    """ScoreEffects on the scores as given, and behind the ends of the scale; None where the data do not vary in it."""

    as_given: dict[str, Estimate]
    behind: dict[str, Estimate]
    share_at_ends: float


def estimate(rows: DataFrame, confidence: float = CONFIDENCE) -> ScoreEffects:
    """The effects of place, length and order, each with the others and the answer's agreement held fixed.

    As given: see `as_given`. Behind the ends: a two-limit Tobit model (Tobin 1958; Rosett & Nelson 1975), for what
    scores would do if the scale did not end. Errors are robust to clusters of one item.
    """
    rows, columns = _explained_by(rows)
    if not len(rows):
        return ScoreEffects({}, {}, 0.0)
    share: Floats = rows["share"].to_numpy()
    fit = tobit(_with_level(columns), share, rows["item"].to_numpy())
    behind = _named(fit, ["level", *map(str, columns)], confidence)
    at_ends = float(((share <= 1e-9) | (share >= 1 - 1e-9)).mean())
    return ScoreEffects(_as_given(rows, columns, confidence), behind, at_ends)


def as_given(rows: DataFrame, confidence: float = CONFIDENCE) -> dict[str, Estimate]:
    """The effects on the scores as given: least squares, errors robust to clusters of one item.

    Within prompts, where prompts show several answers and the effect varies in them. `adjusted:a` are the runs' levels
    beside the last run's.
    """
    rows, columns = _explained_by(rows)
    return _as_given(rows, columns, confidence) if len(rows) else {}


def _explained_by(rows: DataFrame) -> tuple[DataFrame, DataFrame]:
    """The rows in which all is known, and what their scores are explained by; no rows where they are too few."""
    columns = rows[["place", "order"]].copy()
    if rows["doublings"].notna().any():
        columns["length"] = rows["doublings"]
    if rows["agreement"].notna().any():
        columns["agreement"] = rows["agreement"]
    for name in rows["run"].cat.categories[:-1]:
        columns[f"adjusted:{name}"] = (rows["run"] == name).astype(np.float64)
    known = columns.notna().all(axis=1)
    if not known.all():
        rows, columns = rows[known], columns[known]
    columns = _varying(columns)
    enough = len(rows) >= 3 * (columns.shape[1] + 2)
    return (rows, columns) if enough else (rows.iloc[:0], columns.iloc[:0])


def _as_given(rows: DataFrame, columns: DataFrame, confidence: float) -> dict[str, Estimate]:
    share, items = rows["share"], rows["item"].to_numpy()
    fit = regress_clustered(_with_level(columns), share.to_numpy(), items)
    found = _named(fit, ["level", *map(str, columns)], confidence)
    if not rows["prompt"].is_unique:
        moving = _varying(columns - columns.groupby(rows["prompt"]).transform("mean"))
        if moving.shape[1]:
            y = share - share.groupby(rows["prompt"]).transform("mean")
            fit = regress_clustered(moving.to_numpy(), y.to_numpy(), items)
            found |= _named(fit, [*map(str, moving)], confidence)
    return found


def _with_level(columns: DataFrame) -> Floats:
    return np.column_stack([np.ones(len(columns)), columns.to_numpy()])


def _varying(columns: DataFrame) -> DataFrame:
    return columns.loc[:, columns.max() - columns.min() > 1e-9]


def _named(fit: Regression | None, names: Sequence[str], confidence: float) -> dict[str, Estimate]:
    if fit is None:
        return {}
    return {name: fit.estimate(index, "share", "clustered", confidence) for index, name in enumerate(names)}
