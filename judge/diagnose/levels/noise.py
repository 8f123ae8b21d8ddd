"""Level 1: is the gap more than noise over items, fine-tuning seeds and the judge's repeats?"""

from __future__ import annotations

import math

import numpy as np

from equiloss.records.diagnosis import Evidence, Level, Row, not_tested, tested
from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.estimate import Estimate
from equiloss.statistics.gap import Gap, mean_difference
from equiloss.statistics.missing import present_mean
from judge.diagnose import next_steps, prose
from judge.diagnose.case import Case, Options


def level(case: Case, _options: Options) -> Level:
    """Test the gap against noise, and say what could have been detected."""
    gap = case.gap
    if gap is None:
        unjudged = [run for arm in case.arms for run in arm.runs if not run.panels()]
        names = prose.names([run.generator for run in unjudged])
        return not_tested(1, f"verdicts on {names}", next_steps.score(case))
    if gap.split is None:
        return not_tested(1, "two or more items with scores on both sides", None)
    estimate, measured = gap.estimate, gap.seeds_measured
    least = minimum_detectable(gap) if measured else None  # with one seed more items do not tell the models apart
    evidence = [_seed_evidence(gap), *([_detectable(gap)] if measured else []), *_repeat_evidence(case)]
    unit = "base runs and items" if gap.split.recipes else "items and fine-tuning seeds"
    if case.same_answers:
        evidence.append(Evidence(name="same answers", says="A and B gave the same answer to every item.", a=1.0, b=1.0))
    if not measured and estimate.value != 0:
        status, says = "undetermined", prose.gap_of_these_answers(case.a.name, case.b.name, gap)
    elif not estimate.excludes(0.0):
        status, says = "accounts", prose.gap_is_noise(case.a.name, case.b.name, estimate, least, unit)
    else:
        status, says = "clear", prose.gap_is_real(case.a.name, case.b.name, estimate, unit)
    few = min(len(gap.a), len(gap.b)) < 2
    return tested(
        1,
        status,
        says,
        effect=estimate,
        evidence=tuple(evidence),
        missing=("several fine-tuning seeds on each side",) if few else (),
        command=next_steps.more_seeds(case) if few else None,
        tables={"categories": _categories(gap), "needed": _needed(gap) if measured else []},
    )


def minimum_detectable(gap: Gap) -> float:
    """The gap that this design would find four times in five, at 5 % two-sided."""
    return gap.split.detectable() if gap.split else float("inf")


def _detectable(gap: Gap) -> Evidence:
    least = minimum_detectable(gap)
    return Evidence(
        name="minimum detectable gap",
        says=prose.detectable(least, gap.n_items, len(gap.a), len(gap.b)),
        value=Estimate(value=least, unit=gap.unit, method="80 % power, 5 % two-sided"),
    )


def _seed_evidence(gap: Gap) -> Evidence:
    spreads = [float(np.std(present_mean(one.T), ddof=1)) if len(one) > 1 else None for one in (gap.a, gap.b)]
    return Evidence(name="seed spread", says=prose.seed_spread(spreads[0], spreads[1]), a=spreads[0], b=spreads[1])


def _repeat_evidence(case: Case) -> list[Evidence]:
    if case.scores is None or case.scores.values.shape[2] < 2:
        return []
    values = case.scores.values  # (G, I, R)
    rows = values[(~np.isnan(values)).sum(axis=2) >= 2]
    if not len(rows):
        return []
    variances: Floats = np.nanvar(rows, axis=1, ddof=1)
    spread = math.sqrt(variances.mean())
    return [Evidence(name="repeat spread", says=prose.repeat_spread(spread, values.shape[2]), a=spread, b=spread)]


def _needed(gap: Gap) -> list[Row]:
    """The least detectable gap with other numbers of seeds and items."""
    split = gap.split
    if split is None:
        return []
    items = [gap.n_items * factor for factor in (1, 2, 4)]
    seeds = [3, 5, 10] if split.bases else [None]
    return [{"seeds": s, "items": i, "detectable": split.detectable(seeds=s, items=i)} for s in seeds for i in items]


def _categories(gap: Gap) -> list[Row]:
    """The gap by category, with a bootstrap interval where it has at least five items."""
    rows: list[Row] = []
    for name in dict.fromkeys(gap.categories):
        part = gap.part(np.array([one == name for one in gap.categories]))
        value = mean_difference(part.a, part.b)
        if math.isnan(value):
            continue
        estimate = part.estimate if len(part.ids) >= 5 else None
        rows.append(
            {
                "category": name or "(none)",
                "items": len(part.ids),
                "a": float(np.nanmean(part.a)),
                "b": float(np.nanmean(part.b)),
                "gap": value,
                "low": estimate.low if estimate else None,
                "high": estimate.high if estimate else None,
            }
        )
    return rows
