"""Where the gap lies: on the items on which a cause predicts it, or as much on the others?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from equiloss.numerals import significant
from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.gap import Draw, Gap, mean_difference, on_items
from judge.diagnose.causes.patterns import Pattern

LEAST_ITEMS = 8
"""Items of a kind, and of the other kinds, for a pattern over items to be tested."""


def located(gap: Gap, chosen: NDArray[np.bool_], items: str) -> Pattern:
    """The share of the gap that goes when the chosen items (I,) are set aside.

    No share where the gap is not larger on them than on the others (95 % bootstrap interval of the contrast), or where
    there are too few of either to see. `items` names the chosen ones: "items that ask to copy".
    """
    inside, outside = int(chosen.sum()), int((~chosen).sum())
    if inside < LEAST_ITEMS or outside < LEAST_ITEMS:
        return Pattern(
            None, f"There are {inside} {items} and {outside} others: too few to see where the gap lies.", False
        )
    share = gap.share(on_items(~chosen), f"the gap on other items than {items}")
    within = mean_difference(gap.a[:, chosen], gap.b[:, chosen])
    without = mean_difference(gap.a[:, ~chosen], gap.b[:, ~chosen])

    def contrast(a: Floats, b: Floats, draw: Draw) -> float:
        here = chosen[draw.items]
        return mean_difference(a[:, here], b[:, here]) - mean_difference(a[:, ~here], b[:, ~here])

    draws = gap.resampled(contrast)
    low, high = (float(v) for v in np.nanquantile(draws, [0.025, 0.975]))
    fits = low > 0 if gap.value > 0 else high < 0
    says = (
        f"The gap is {significant(within)} on {inside} {items} and {significant(without)} on {outside} others "
        f"(95 % interval of the contrast {significant(low)} to {significant(high)})."
    )
    return Pattern(share if fits else None, says, not fits)
