"""From contributions to what may be named: bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equiloss.statistics.estimate import Estimate
from judge.diagnose.naming import at_most


@pytest.mark.parametrize(
    ("points", "bounded"),
    [
        ((8.0, 2.0, 14.0), (8.0, 2.0, 12.0)),  # within the bound: its interval ends where the bound's does
        ((16.0, 6.0, 26.0), (10.0, 6.0, 12.0)),  # the excess may be chance
        ((16.0, 11.0, 21.0), (10.0, 0.0, 12.0)),  # something else made points here for sure, perhaps nearly all
        ((30.0, 20.0, 40.0), (10.0, 0.0, 12.0)),
        ((-30.0, -40.0, -20.0), (-10.0, -12.0, 0.0)),
    ],
)
def test_points_beyond_their_bound(points: tuple[float, ...], bounded: tuple[float, ...]) -> None:
    found = at_most(Estimate(value=points[0], low=points[1], high=points[2]), 10.0, 12.0)
    assert (found.value, found.low, found.high) == bounded


@given(st.floats(-50, 50), st.floats(0, 30), st.floats(0, 20), st.floats(0, 10))
def test_bounded_points_lie_in_their_interval(value: float, half: float, bound: float, beyond: float) -> None:
    found = at_most(Estimate(value=value, low=value - half, high=value + half), bound, bound + beyond)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high
    assert abs(found.value) <= bound
    assert (found.high if value >= 0 else -found.low) <= bound + beyond + 1e-9
