"""How much a difference in a measure can make of whole answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judge.diagnose.causes.patterns import dose_of_answers, dose_of_known_tokens, dose_of_tokens

shares = st.floats(0.0, 1.0)


def test_what_a_difference_can_make_is_what_arithmetic_says() -> None:
    assert dose_of_answers(1.0, 0.8) == pytest.approx(0.2)
    assert dose_of_tokens(0.9, 0.8) == pytest.approx(0.9**6 - 0.8**6)  # the longest difference is at six tokens
    assert dose_of_known_tokens(0.84, 0.68) == pytest.approx(0.5)  # 0.16 of the 0.32 that are not known anyway
    assert dose_of_known_tokens(1.0, 0.5) == pytest.approx(1.0)


@given(shares, shares)
def test_what_may_be_known_anyway_only_loosens_the_bound(a: float, b: float) -> None:
    answers, tokens, known = (dose(a, b) for dose in (dose_of_answers, dose_of_tokens, dose_of_known_tokens))
    assert 0.0 <= answers <= tokens <= known <= 1.0
    assert known == dose_of_known_tokens(b, a)


@given(shares, st.floats(0.0, 0.99), shares)
def test_a_model_that_copies_is_bounded_by_no_less_than_it_does(copied: float, known: float, other: float) -> None:
    """Tokens of which a share is known anyway, and the rest is copied with two chances."""
    a, b = (known + (1 - known) * chance for chance in (copied, copied * other))
    assert dose_of_known_tokens(a, b) >= copied - copied * other - 0.02
