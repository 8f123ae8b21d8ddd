"""For which difference a judge can be trusted: what place, length and its own noise can make of a gap at most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from scipy.special import ndtri

from equiloss.statistics.estimate import Estimate, Interval
from judge.auditing import effects
from judge.auditing.documents import Bias, PairTrust, Repeatability

if TYPE_CHECKING:
    from pandas import DataFrame


def pairs(
    rows: DataFrame, place: Bias | None, length: Bias | None, repeats: Repeatability | None, confidence: float
) -> list[PairTrust]:
    """Every pair of runs with the part of its gap that can be the judge's doing."""
    trusts: list[PairTrust] = []
    for a, b in combinations(rows["run"].cat.categories, 2):
        pair = rows[rows["run"].isin([a, b])]
        pair = pair.assign(run=pair["run"].cat.set_categories([a, b]))
        counts = pair["run"].value_counts()
        if not counts.all():
            continue
        means = pair.groupby("run", observed=True)[["share", "place", "doublings"]].mean().to_numpy()
        gap, nearer, longer = (means[0] - means[1]).tolist()
        adjusted = _at_equal_terms(pair, confidence)
        by_noise = None
        if repeats is not None:  # every verdict's noise is its own, so it shrinks with their number
            noise = repeats.standard_deviation if repeats.noise_interval is None else repeats.noise_interval[1]
            half = float(ndtri((1 + confidence) / 2)) * noise * math.sqrt(float((1 / counts).sum()))
            by_noise = (-half, half)
        spans = {
            "place": _times(place, nearer) if pair["place"].any() else (0.0, 0.0),  # all shown alone
            "length": _times(length, longer),
            "noise": by_noise,
        }
        limits = [max(map(abs, span)) for span in spans.values() if span is not None]
        trusts.append(
            PairTrust(
                a=a,
                b=b,
                gap=gap,
                adjusted=adjusted.value if adjusted else None,
                adjusted_interval=adjusted.interval if adjusted else None,
                survives=adjusted.excludes(0) and (adjusted.value > 0) == (gap > 0) if adjusted else None,
                place_imbalance=nearer,
                by_place=spans["place"],
                length_imbalance=None if math.isnan(longer) else longer,
                by_length=spans["length"],
                by_noise=spans["noise"],
                trusted_beyond=sum(limits) if limits else None,
                unknown=[name for name, span in spans.items() if span is None],
            )
        )
    return trusts


def trusted_beyond(trusts: Sequence[PairTrust]) -> float | None:
    """The largest of the pairs' limits: beyond it no gap between these runs is this judge's place, length or noise."""
    return max((pair.trusted_beyond for pair in trusts if pair.trusted_beyond is not None), default=None)


def _times(bias: Bias | None, imbalance: float) -> Interval | None:
    """A bias's interval times how unevenly the two runs were exposed to it."""
    if bias is None or math.isnan(imbalance):
        return None
    ends = [end * imbalance for end in bias.interval]
    return min(ends), max(ends)


def _at_equal_terms(pair: DataFrame, confidence: float) -> Estimate | None:
    """The gap between two runs with place, length and order held fixed, but not the agreement with the reference."""
    blind = pair.assign(agreement=pair["agreement"].where(pair["agreement"].isna(), 0.0))
    return effects.as_given(blind, confidence).get(f"adjusted:{pair['run'].cat.categories[0]}")
