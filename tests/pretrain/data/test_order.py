"""The order of the data: a function of the step, fair to every window."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equiloss.errors import InputError
from pretrain.data.order import DataOrder, Order, evenly_spaced, gather

orders = st.sampled_from(["shuffled", "random", "sequential"])


@given(orders, st.integers(2, 40), st.integers(1, 9), st.integers(0, 400), st.integers(0, 50), st.integers(0, 2**62))
def test_any_step_alone_gives_windows_inside_the_data(
    order: Order, context: int, batch: int, extra: int, step: int, seed: int
) -> None:
    n_tokens = context + 1 + extra
    offsets = DataOrder(n_tokens, context, batch, order, seed).offsets(step)
    assert offsets.shape == (batch,)
    assert offsets.min() >= 0
    assert offsets.max() + context + 1 <= n_tokens
    again = DataOrder(n_tokens, context, batch, order, seed)
    again.offsets(step + 3)  # whatever was asked before
    assert np.array_equal(again.offsets(step), offsets)


@given(st.integers(2, 12), st.integers(1, 7), st.integers(30, 300), st.integers(0, 5))
def test_shuffled_takes_every_window_once_per_epoch(context: int, batch: int, n_tokens: int, seed: int) -> None:
    order = DataOrder(n_tokens, context, batch, "shuffled", seed)
    offsets = np.concatenate([order.offsets(step) for step in range(3 * order.windows // batch + 2)])
    for epoch in range(3):
        part = np.sort(offsets[epoch * order.windows : (epoch + 1) * order.windows])
        assert np.array_equal(np.diff(part), np.full(order.windows - 1, context))
        assert part[0] < context


def test_seeds_epochs_and_orders_differ() -> None:
    first = DataOrder(10_000, 16, 100, "shuffled", 1)
    assert not np.array_equal(first.offsets(0), DataOrder(10_000, 16, 100, "shuffled", 2).offsets(0))
    assert not np.array_equal(first.offsets(0), first.offsets(7))
    random = DataOrder(10_000, 16, 4000, "random", 1).offsets(3)
    assert abs(random.mean() / ((10_000 - 16) / 2) - 1) < 0.05
    assert DataOrder(100, 10, 4, "sequential", 0).offsets(2).tolist() == [80, 0, 10, 20]


def test_too_little_data_is_a_clear_error() -> None:
    with pytest.raises(InputError, match=r"fewer than one window of model\.context 16"):
        DataOrder(16, 16, 1, "shuffled", 0)


def test_gather_and_evenly_spaced() -> None:
    tokens = np.arange(50, dtype=np.uint16)
    assert gather(tokens, np.array([3, 40]), 4).tolist() == [[3, 4, 5, 6], [40, 41, 42, 43]]
    assert evenly_spaced(50, 7, 10**6).tolist() == [0, 7, 14, 21, 28, 35, 42]
    assert evenly_spaced(50, 7, 14).tolist() == [0, 42]
    assert evenly_spaced(50, 7, 1).tolist() == [0]
