"""How much a difference in a measure can make of whole answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judge.diagnose.causes.patterns import dose_of_answers, dose_of_tokens

shares = st.floats(0.0, 1.0)


def test_what_a_difference_can_make_is_what_arithmetic_says() -> None:
    assert dose_of_answers(1.0, 0.8) == pytest.approx(0.2)
    assert dose_of_tokens(0.9, 0.8) == pytest.approx(0.9**6 - 0.8**6)  # the longest difference is at six tokens


@given(shares, shares)
def test_whole_answers_of_any_length_may_differ_by_more_than_their_tokens(a: float, b: float) -> None:
    assert 0.0 <= dose_of_answers(a, b) <= dose_of_tokens(a, b) <= 1.0
    assert dose_of_tokens(a, b) == dose_of_tokens(b, a)
