"""What kinds of items carry a gap: its parts in signed points, and what is left over.

The gap of item i is d_i = x_i' beta + rest. Part k of the gap is mean(x_k) beta_k: what the items of that kind (or with
that much of a measure) add to the mean gap beyond what all items share. Parts and rest sum to the gap. Where hardly any
item is outside all kinds, nothing is shared by all (no intercept): the kinds then divide the whole gap among them.

Uncertainty over items is that of the influence values (least squares with leverage corrected as in HC3, MacKinnon &
White 1985, and the items' mix as a sample too); over units as in `crossed`: a part is a weighted mean of the scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.crossed import Clusters, Crossed, Stratum, weighted
from equiloss.statistics.estimate import Estimate

LEAST_ITEMS = 8
"""Items inside a kind, and outside of all, for the one to be told from the other."""


@dataclass(frozen=True)
class Parts:
    """The parts of a gap by column of the pattern, and the rest; each uncertain over items, or items and units."""

    parts: tuple[Crossed, ...]
    rest: Crossed


def parts(
    strata: Sequence[Stratum], pattern: Floats, clusters: Clusters | None = None, *, alone: bool = False
) -> Parts | None:
    """The gap of `strata` (weights +, - by side) taken apart by `pattern` (I, K), 0 or 1 or a measure of each item.

    `alone`: nothing of what other items show is taken to act on the items of a kind: each keeps its whole gap.
    None where the columns cannot be told apart (or from what all items share), or where there are too few items.
    """
    items, kinds = pattern.shape
    series = np.sum([stratum.weight * stratum.values.mean(axis=0) for stratum in strata], axis=0)  # (I,)
    outside = int((pattern == 0).all(axis=1).sum())
    shared = outside >= LEAST_ITEMS and not alone
    x = np.column_stack([pattern, np.ones(items)]) if shared else pattern
    if items < x.shape[1] + 3 or np.linalg.matrix_rank(x) < x.shape[1] or np.linalg.cond(x) > 1e6:
        return None
    inverse = np.linalg.inv(x.T @ x)
    weights = inverse @ x.T  # (K or K + 1, I): the coefficients are weights @ series
    beta = weights @ series
    leverage = np.einsum("ij,jk,ik->i", x, inverse, x)
    residual = (series - x @ beta) / np.maximum(1 - leverage, 1e-9)
    mix = pattern.mean(axis=0)  # (K,)
    influence = items * mix[:, None] * weights[:kinds] * residual + (pattern - mix).T * beta[:kinds, None]  # (K, I)
    factors = items * mix[:, None] * weights[:kinds]  # (K, I): a part is the mean of factors * series
    df = (items if clusters is None else len(np.unique(clusters))) - x.shape[1]
    by_kind = [weighted(factors[k], influence[k], strata, df, clusters) for k in range(kinds)]
    rest = weighted(1 - factors.sum(axis=0), series - series.mean() - influence.sum(axis=0), strata, df, clusters)
    return Parts(tuple(by_kind), rest)


def reaching(part: Estimate, whole: Estimate) -> Estimate:
    """A part of a kind of items, with an interval that reaches outwards as far as that of the whole gap on them.

    What other items show in the same direction is taken off the part, but may be the same effect beyond its items, or
    another that these items do not share. What they show in the other direction is another effect, on all items.
    """
    if None in (part.low, part.high, whole.low, whole.high):
        return part
    (low, high), (whole_low, whole_high) = part.interval, whole.interval
    bounds = (low, max(high, whole_high)) if part.value > 0 else (min(low, whole_low), high)
    return part.model_copy(update={"low": bounds[0], "high": bounds[1]})
