"""How much of a gap goes with the lengths of the answers, and what is left at equal length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.crossed import Clusters, weighted
from equiloss.statistics.estimate import CONFIDENCE, Interval
from equiloss.statistics.nested import SideScores, highest, renumbered


@dataclass(frozen=True)
class LengthAdjusted:
    """The gap at equal length of the answers, and how scores go with length.

    `slope`: the points that go with an answer longer by about one standard deviation; `mean_length_difference`: in
    characters, a minus b.
    """

    difference: float
    interval: Interval
    slope: float
    slope_interval: Interval
    mean_length_difference: float


def adjusted(
    a: SideScores,
    b: SideScores,
    longer: Floats,
    clusters: Clusters | None = None,
    confidence: float = CONFIDENCE,
) -> LengthAdjusted | None:
    """The gap of items regressed on tanh of the standardised difference in length (I,), read at zero difference.

    The shape of the length term is AlpacaEval's: Dubois et al. (2024), arXiv 2404.04475, equation 2; here for score
    differences, by least squares with HC3 errors (MacKinnon & White 1985) over items or clusters of them, and the
    spread over runs (or base runs) as in `crossed`. None with fewer than ten items or where the lengths do not differ.
    """
    kept: NDArray[np.bool_] = np.asarray(
        ~(np.isnan(a.cells).any(axis=0) | np.isnan(b.cells).any(axis=0) | np.isnan(longer))
    )
    longer = longer[kept]
    if not (len(a.cells) and len(b.cells)) or len(longer) < 10 or float(longer.std()) == 0.0:
        return None
    clusters = renumbered(clusters, kept)
    strata = highest([*a.strata(kept, 1.0), *b.strata(kept, -1.0, 1)])
    series = np.sum([stratum.weight * stratum.values.mean(axis=0) for stratum in strata], axis=0)  # (I,)
    x = np.column_stack([np.ones(len(longer)), np.tanh(longer / longer.std())])
    inverse = np.linalg.inv(x.T @ x)
    leverage = np.einsum("ij,jk,ik->i", x, inverse, x)
    factors = len(longer) * inverse @ x.T  # (2, I): a coefficient is the mean of factors * series
    residual = (series - x @ (factors @ series) / len(longer)) / np.maximum(1 - leverage, 1e-9)
    df = (len(longer) if clusters is None else int(clusters.max()) + 1) - 2
    level, slope = (weighted(factor, factor * residual, strata, df, clusters) for factor in factors)
    return LengthAdjusted(
        difference=level.value,
        interval=level.interval(confidence),
        slope=slope.value,
        slope_interval=slope.interval(confidence),
        mean_length_difference=float(longer.mean()),
    )
