"""Orders and groups are balanced, and equal seeds give equal ones."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from judge.scoring.orders import Groups, Orders, pairs, williams


@given(st.integers(1, 16))
def test_williams_design_balances_places_and_neighbours(k: int) -> None:
    design = williams(k)
    assert len(design) == (k if k % 2 == 0 or k == 1 else 2 * k)
    assert all(sorted(row) == list(range(k)) for row in design)
    for column in zip(*design, strict=True):
        assert set(Counter(column).values()) == {len(design) // k}
    follows = Counter(pair for row in design for pair in pairwise(row))
    assert len(follows) == k * (k - 1)
    assert len(set(follows.values())) <= 1


@given(st.integers(2, 8), st.integers(0, 5))
def test_orders_are_balanced_in_every_block(k: int, seed: int) -> None:
    orders = Orders(k, seed)
    block = len(williams(k))
    for _ in range(3):
        rows = [orders.next() for _ in range(block)]
        for column in zip(*rows, strict=True):
            assert set(Counter(column).values()) == {block // k}


def test_orders_depend_on_the_seed_and_on_nothing_else() -> None:
    first = [Orders(4, 7).next() for _ in range(2)]
    assert first[0] == first[1]
    stream, other = Orders(4, 7), Orders(4, 8)
    assert [stream.next() for _ in range(40)] != [other.next() for _ in range(40)]


@given(st.integers(3, 14), st.integers(2, 6), st.integers(0, 3))
def test_groups_hold_everybody_once_and_the_anchor_in_each(n: int, k: int, seed: int) -> None:
    groups = Groups(k, seed).next(range(n))
    if n <= k:
        assert groups == [list(range(n))]
        return
    assert all(group[0] == 0 and len(group) <= k for group in groups)
    assert sorted(one for group in groups for one in group[1:]) == list(range(1, n))
    assert max(map(len, groups)) - min(map(len, groups)) <= 1


def test_pairs_meet_about_equally_often() -> None:
    maker = Groups(5, seed=1)
    met: Counter[tuple[int, int]] = Counter()
    for _ in range(200):
        for group in maker.next(range(13)):
            met.update(combinations(group[1:], 2))
    counts = [met[pair] for pair in combinations(range(1, 13), 2)]
    assert max(counts) - min(counts) <= 0.1 * sum(counts) / len(counts)


def test_pairs_come_in_both_orders() -> None:
    assert pairs(3) == [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)]
    assert pairs(3, anchor=1) == [(0, 1), (1, 0), (1, 2), (2, 1)]
