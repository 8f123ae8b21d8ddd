"""The gap between two models over items and fine-tuning seeds, and its uncertainty."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.estimate import Estimate, student
from equiloss.statistics.missing import present_mean
from equiloss.statistics.nested import NestedGap, SideScores, nested_gap


@dataclass(frozen=True)
class Gap:
    """Scores of A (S_a, I) and B (S_b, I), a row per fine-tuning run, means over repeats; NaN where not scored.

    The gap is the paired difference over the items that both sides have; a missing score is filled in by its run and
    item. `bases` names the base model of each run of A and of B, where they are known.
    """

    a: Floats
    b: Floats
    ids: tuple[str, ...]
    categories: tuple[str | None, ...]
    unit: str = "points"
    bases: tuple[tuple[Hashable, ...], tuple[Hashable, ...]] = ((), ())

    @cached_property
    def sides(self) -> tuple[SideScores, SideScores]:
        """A and B as the nested design takes them."""
        return SideScores(self.a[:, :, None], self.bases[0]), SideScores(self.b[:, :, None], self.bases[1])

    @cached_property
    def filled(self) -> tuple[Floats, Floats]:
        """A's and B's scores with missing ones filled in; NaN only on items that a side lacks, for both."""
        a, b = (np.full_like(values, np.nan) for values in (self.a, self.b))
        for values, side in zip((a, b), self.sides, strict=True):
            values[side.scored] = side.cells
        lacking = np.isnan(a).all(axis=0) | np.isnan(b).all(axis=0)
        a[:, lacking] = b[:, lacking] = np.nan
        return a, b

    @cached_property
    def paired(self) -> Floats:
        """Per item the mean of A over runs minus that of B (I,); NaN where either has no score."""
        return present_mean(self.filled[0]) - present_mean(self.filled[1])

    def part(self, kept: NDArray[np.bool_]) -> Gap:
        """The gap on some of the items (I,) alone."""
        ids, categories = (tuple(compress(one, kept)) for one in (self.ids, self.categories))
        return replace(self, a=self.a[:, kept], b=self.b[:, kept], ids=ids, categories=categories)

    @property
    def value(self) -> float:
        """The gap, mean of A minus mean of B."""
        return self.split.best.value if self.split else mean_difference(*self.filled)

    @property
    def seeds_measured(self) -> bool:
        """Whether at least one side has several seeds, so that seed noise can be estimated."""
        return max(len(self.a), len(self.b)) > 1

    @cached_property
    def estimate(self) -> Estimate:
        """The gap with an interval over items and, where measured, over fine-tuning seeds (`nested`).

        Without bounds where there are fewer than two items.
        """
        if self.split is None:
            return Estimate(value=self.value, unit=self.unit, note="fewer than two items")
        over = "items and fine-tuning seeds" if self.seeds_measured else "items only (one seed a side)"
        error, df = self.standard_error
        return student(self.value, error, df, unit=self.unit, method=f"t interval over {over}")

    @cached_property
    def split(self) -> NestedGap | None:
        """The gap by question and its variance by source (see `nested`); None for fewer than two items."""
        return nested_gap(*self.sides)

    @property
    def standard_error(self) -> tuple[float, float]:
        """Standard error of the gap and its degrees of freedom."""
        return (self.split.standard_error, self.split.df) if self.split else (float("inf"), 1.0)

    @property
    def n_items(self) -> int:
        """Items with a score on both sides (at least 1)."""
        return max(1, int((~np.isnan(self.paired)).sum()))


def mean_difference(a: Floats, b: Floats) -> float:
    """Mean of A's scored answers minus mean of B's; NaN when a side has none."""
    if np.isnan(a).all() or np.isnan(b).all():
        return float("nan")
    return float(np.nanmean(a) - np.nanmean(b))
