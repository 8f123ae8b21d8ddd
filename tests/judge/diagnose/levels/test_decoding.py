"""The p of a fault over items, against scipy's tests."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from judge.diagnose.levels.decoding import _paired_p  # pyright: ignore[reportPrivateUsage]


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 9), st.sampled_from([1.0, 1 / 3]))
def test_one_run_a_side_is_a_sign_test(up: int, down: int, equal: int, step: float) -> None:
    differences = np.array([step] * up + [-step] * down + [0.0] * equal)
    expected = stats.binomtest(up, up + down).pvalue if up + down else 1.0
    assert _paired_p(differences) == pytest.approx(expected, rel=1e-9)


def test_several_runs_a_side_are_ranked() -> None:
    differences = np.random.default_rng(0).integers(-2, 4, 300) / 3
    assert _paired_p(differences) == pytest.approx(stats.wilcoxon(differences).pvalue)
