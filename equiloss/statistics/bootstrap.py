"""Bootstrap over items, and over seeds where there are several: vectorised, seeded, unharmed by missing scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from equiloss.statistics.estimate import Interval

Floats: TypeAlias = NDArray[np.float64]

DRAWS = 10_000
GROUPS = 5_000
"""More units than this are drawn in as many groups, made at random: the means vary as much, to a hundredth."""
_CHUNK_VALUES = 250_000


def resampled_means(
    values: Floats, draws: int = DRAWS, seed: int = 0, clusters: NDArray[np.intp] | None = None
) -> Floats:
    """Means of every row over the same resamples of the columns: (K, I) with NaN for missing → (draws, K).

    With `clusters` (I,), numbers from 0, whole clusters are drawn. A row's mean is over the columns that it has; NaN
    in a resample that holds none of them.
    """
    rows = len(values)
    present = ~np.isnan(values)
    stacked = np.concatenate([np.where(present, values, 0.0), present.astype(np.float64)]).T  # (I, 2K)
    stacked = _grouped(stacked if clusters is None else sums_by_cluster(stacked, clusters), seed)
    replicates = np.empty((draws, rows))
    for first, counts in _item_counts(len(stacked), draws, seed):
        sums = counts @ stacked
        with np.errstate(invalid="ignore", divide="ignore"):
            replicates[first : first + len(counts)] = sums[:, :rows] / sums[:, rows:]
    return replicates


def resampled_crossed_means(groups: Sequence[Floats], draws: int = DRAWS, seed: int = 0) -> Floats:
    """Means of several (S_g, I) groups when items (the same for all) and each group's own rows are resampled.

    Owen (2007), "The pigeonhole bootstrap": rows and columns are drawn independently. No NaN. Returns (draws, G).
    """
    items = groups[0].shape[1]
    rng = np.random.default_rng([seed, 1])
    replicates = np.empty((draws, len(groups)))
    sums, sizes = [_grouped(group.T, seed) for group in groups], _grouped(np.ones((items, 1)), seed)[:, 0]
    for first, counts in _item_counts(len(sizes), draws, seed):
        for index, group in enumerate(groups):
            rows = rng.multinomial(len(group), np.full(len(group), 1 / len(group)), size=len(counts))
            replicates[first : first + len(counts), index] = np.einsum("ds,ds->d", rows, counts @ sums[index]) / (
                (counts @ sizes) * len(group)
            )
    return replicates


def percentile(replicates: Floats, confidence: float = 0.95) -> Interval:
    """The central interval of the replicates."""
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(replicates, [tail, 1 - tail])
    return float(low), float(high)


def sums_by_cluster(values: Floats, clusters: NDArray[np.intp]) -> Floats:
    """Sums of rows (I, K) that belong to one cluster: (C, K)."""
    summed = np.zeros((int(clusters.max()) + 1, values.shape[1]))
    np.add.at(summed, clusters, values)
    return summed


def _grouped(sums: Floats, seed: int) -> Floats:
    """Rows (I, K) of many units as sums of GROUPS random groups of them."""
    if len(sums) <= GROUPS:
        return sums
    return sums_by_cluster(sums, np.random.default_rng([seed, 2]).permutation(len(sums)) % GROUPS)


def _item_counts(items: int, draws: int, seed: int) -> Iterator[tuple[int, Floats]]:
    """Yield (first draw, how often each item is in each resample (n, I)), in chunks that fit into memory."""
    rng = np.random.default_rng([seed, 0])
    chunk = max(1, _CHUNK_VALUES // max(1, items))
    for first in range(0, draws, chunk):
        size = min(chunk, draws - first)
        picks = rng.integers(0, items, size=(size, items), dtype=np.int64)
        picks += np.arange(size)[:, None] * items
        yield first, np.bincount(picks.ravel(), minlength=size * items).reshape(size, items).astype(np.float64)
