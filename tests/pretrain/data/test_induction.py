"""Induction: what the simplest rule predicts, against a loop, and what masking it does to a run."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from pretrain.data.induction import predicted


def test_a_pattern_is_predicted_from_its_second_token_on() -> None:
    #            A  B  C  x  A  B  C  B  x
    ids = torch.tensor([[1, 2, 3, 9, 1, 2, 3, 2, 9]])
    assert predicted(ids).tolist() == [[False, False, False, False, True, True, False, False]]


@given(st.lists(st.lists(st.integers(0, 3), min_size=9, max_size=9), min_size=1, max_size=4))
def test_it_is_the_rule_in_a_loop(rows: list[list[int]]) -> None:
    expected = []
    for row in rows:
        line = []
        for t in range(len(row) - 1):
            earlier = [s for s in range(t) if row[s] == row[t]]
            line.append(bool(earlier) and row[earlier[-1] + 1] == row[t + 1])
        expected.append(line)
    assert predicted(torch.tensor(rows)).tolist() == expected
