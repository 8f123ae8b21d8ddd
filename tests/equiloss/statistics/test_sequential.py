"""Repeated looks: the spent errors add up, and in simulation a growing comparison seldom errs at any look."""

from __future__ import annotations

import numpy as np
import pytest

from equiloss.statistics.nested import SideScores, nested_gap
from equiloss.statistics.sequential import interval_at_look, look_confidence


def test_the_errors_of_all_looks_add_up_to_alpha():
    assert look_confidence(1) == pytest.approx(0.975)
    assert sum(1 - look_confidence(look, 0.9) for look in range(1, 100_000)) == pytest.approx(0.1, abs=1e-5)
    with pytest.raises(ValueError, match="from 1"):
        look_confidence(0)


@pytest.mark.parametrize("grows", ["items", "seeds"])
def test_looking_five_times_errs_no_more_often_than_promised(grows: str):
    """Equal models; the data grow by items (one seed, none of its spread) or by seeds, with a look each time."""
    rng = np.random.default_rng(0)
    ever, naive, draws = 0, 0, 400
    for _ in range(draws):
        seeds, items = (1, 250) if grows == "items" else (6, 60)
        spread = 0.0 if grows == "items" else 3.0
        a, b = (rng.normal(50, 15, (seeds, items)) + rng.normal(0, spread, (seeds, 1)) for _ in range(2))
        looks = [(1, 50 * k) for k in range(1, 6)] if grows == "items" else [(k, 60) for k in range(2, 7)]
        gaps = [nested_gap(SideScores(a[:n, :i, None]), SideScores(b[:n, :i, None])) for n, i in looks]
        ends = [interval_at_look(gap.best, look) for look, gap in enumerate(gaps, start=1) if gap]
        ever += any(not low <= 0 <= high for low, high in ends)
        naive += any(not low <= 0 <= high for low, high in (gap.best.interval() for gap in gaps if gap))
    assert ever / draws <= 0.065  # 5 %, and 1.4 standard errors
    assert naive > 2 * ever
