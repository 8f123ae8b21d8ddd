"""What power the seeds and items that `judge compare` names as needed really have.

    python benchmarks/planning.py --pilots 300

Pilots of a few seeds a side are drawn from known spreads (points: item 25, model x item 8, seed 2, seed x item 15) and
planned from, for gaps of 4 and 6 points at 80 %. The true power of what each names is that of the test of the gap in
4,000 experiments of that design, drawn from the true spreads. Beside the mean over pilots: how many named a number;
`at best` is the power that the pilot's seeds would have over any number of items.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from functools import cache, partial
from itertools import product

import numpy as np
from scipy import stats

from equiloss.statistics.nested import NestedGap, SideScores, nested_gap

ITEM, MODEL_ITEM, SEED, CELL = 25.0, 8.0, 2.0, 15.0


def pilot(rng: np.random.Generator, seeds: int, items: int) -> NestedGap:
    """Two equal models' scores, `seeds` fine-tunings of one base each."""
    shared = rng.normal(0, ITEM, items)
    sides = [
        shared
        + rng.normal(0, MODEL_ITEM, items)
        + rng.normal(0, SEED, (seeds, 1))
        + rng.normal(0, CELL, (seeds, items))
        for _ in range(2)
    ]
    gap = nested_gap(SideScores(sides[0][:, :, None]), SideScores(sides[1][:, :, None]))
    assert gap is not None
    return gap


@cache
def power(seeds: int, items: int, effect: float, draws: int = 4000) -> float:
    """How often the test finds a gap of this size: variances of seeds drawn, those over many items as they are."""
    rng = np.random.default_rng(seeds * 1_000_003 + items)
    run = SEED**2 + CELL**2 / items
    over_items, both = 2 * (MODEL_ITEM**2 + CELL**2 / seeds) / items, 2 * CELL**2 / (seeds * items)
    gaps = effect + rng.normal(0, math.sqrt(2 * SEED**2 / seeds + 2 * MODEL_ITEM**2 / items + both), draws)
    sides = run / seeds * rng.chisquare(seeds - 1, (2, draws)) / (seeds - 1)
    units = sides.sum(axis=0)
    variance = np.maximum(units + over_items - both, np.maximum(units, over_items))
    df = variance**2 / ((sides**2).sum(axis=0) / (seeds - 1) + over_items**2 / (items - 1))
    return float(np.mean(np.abs(gaps) > stats.t.ppf(0.975, np.maximum(df, 1)) * np.sqrt(variance)))


def cell(named: list[int | None], true: Callable[[int], float]) -> str:
    numbers = [number for number in named if number]
    if not numbers:
        return "none named"
    mean = np.mean([true(number) for number in numbers])
    return f"{100 * mean:.0f} % ({np.median(numbers):.0f}; {100 * len(numbers) / len(named):.0f} %)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pilots", type=int, default=300)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    print("| gap, items | seeds in the pilot | seeds needed: true power (median; named in) | items needed | at best |")
    print("| --- | --- | --- | --- | --- |")
    for effect, items, seeds in product((4.0, 6.0), (110, 805), (3, 5, 10)):
        plans = [pilot(rng, seeds, items).needed(effect) for _ in range(args.pilots)]
        by_seeds = cell([plan["seeds"] for plan in plans], partial(power, items=items, effect=effect))
        by_items = cell([plan["items"] for plan in plans], lambda n, s=seeds, e=effect: power(s, n, e))
        best = f"{100 * power(seeds, 10**7, effect):.0f} %"
        print(f"| {effect:g}, {items} | {seeds} | {by_seeds} | {by_items} | {best} |", flush=True)


if __name__ == "__main__":
    main()
