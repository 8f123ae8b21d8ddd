"""For which difference a judge can be trusted: what place, length and its own noise can make of a gap at most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from scipy import stats

from equiloss.statistics.estimate import Estimate, Interval
from judge.auditing import effects
from judge.auditing.documents import Bias, PairTrust, Repeatability
from judge.auditing.effects import Rows


def pairs(
    data: Rows, place: Bias | None, length: Bias | None, again: Repeatability | None, confidence: float
) -> list[PairTrust]:
    """Every pair of runs with the part of its gap that can be the judge's doing."""
    found: list[PairTrust] = []
    for a, b in combinations(range(len(data.runs)), 2):
        part = _part(data, a, b)
        if part is None:
            continue
        first, second = part.run == 0, part.run == 1
        gap = float(part.share[first].mean() - part.share[second].mean())
        adjusted = _adjusted(part, confidence)
        survives = None
        if adjusted is not None:
            survives = adjusted.excludes(0) and (adjusted.value > 0) == (gap > 0)
        nearer = float(part.place[first].mean() - part.place[second].mean())
        known = ~np.isnan(part.doublings)
        longer = None
        if known[first].any() and known[second].any():
            longer = float(part.doublings[first & known].mean() - part.doublings[second & known].mean())
        shown_alone = not part.place.any()
        spans = {
            "place": (0.0, 0.0) if shown_alone else _times(place, nearer),
            "length": _times(length, longer),
            "noise": _of_noise(again, part, confidence),
        }
        limits = [max(abs(low), abs(high)) for low, high in filter(None, spans.values())]
        found.append(
            PairTrust(
                a=data.runs[a],
                b=data.runs[b],
                gap=gap,
                adjusted=adjusted.value if adjusted else None,
                adjusted_interval=adjusted.interval if adjusted else None,
                survives=survives,
                place_imbalance=nearer,
                by_place=spans["place"],
                length_imbalance=longer,
                by_length=spans["length"],
                by_noise=spans["noise"],
                trusted_beyond=sum(limits) if limits else None,
                unknown=[name for name, span in spans.items() if span is None],
            )
        )
    return found


def trusted_beyond(found: Sequence[PairTrust]) -> float | None:
    """The largest of the pairs' limits: beyond it no gap between these runs is this judge's place, length or noise."""
    return max((one.trusted_beyond for one in found if one.trusted_beyond is not None), default=None)


def _part(data: Rows, a: int, b: int) -> Rows | None:
    """The rows of two runs, numbered 0 and 1."""
    both = (data.run == a) | (data.run == b)
    if not ((data.run == a).any() and (data.run == b).any()):
        return None
    names = ("share", "place", "doublings", "agreement", "order", "prompt", "item")
    return Rows(
        *(getattr(data, name)[both] for name in names),
        run=(data.run[both] == b).astype(np.intp),
        runs=(data.runs[a], data.runs[b]),
    )


def _times(bias: Bias | None, imbalance: float | None) -> Interval | None:
    """A bias's interval times how unevenly the two runs were exposed to it."""
    if bias is None or imbalance is None:
        return None
    ends = (bias.interval[0] * imbalance, bias.interval[1] * imbalance)
    return min(ends), max(ends)


def _of_noise(again: Repeatability | None, part: Rows, confidence: float) -> Interval | None:
    """What noise alone makes of the gap: every verdict's is its own, so it shrinks with their number."""
    if again is None:
        return None
    one = again.standard_deviation if again.noise_interval is None else again.noise_interval[1]
    counts = np.bincount(part.run)
    half = float(stats.norm.ppf((1 + confidence) / 2)) * one * math.sqrt(float((1 / counts).sum()))
    return -half, half


def _adjusted(part: Rows, confidence: float) -> Estimate | None:
    """The gap between two runs with place, length and order held fixed, but not the agreement with the reference."""
    blind = Rows(
        part.share,
        part.place,
        part.doublings,
        np.where(np.isnan(part.agreement), np.nan, 0.0),
        part.order,
        part.prompt,
        part.item,
        part.run,
        part.runs,
    )
    found = effects.estimate(blind, confidence)
    return found.as_given.get(f"adjusted:{part.runs[0]}")
