"""Choosing a token: the block-wise greedy choice is argmax, and draws follow the cut distribution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.model.next_token import BLOCK, FIRST_RANKS, SCREEN, Chooser, Head

VOCABULARY = 2 * BLOCK + 77


def integers(*shape: int, seed: int) -> torch.Tensor:
    """Small whole numbers: sums of their products are exact, and equal logits occur."""
    return torch.randint(-2, 3, shape, generator=torch.Generator().manual_seed(seed)).float()


@pytest.mark.parametrize(("dtype", "screen"), [(torch.float32, False), (torch.float32, True), (torch.bfloat16, False)])
def test_the_likeliest_is_the_first_of_the_highest(dtype: torch.dtype, screen: bool) -> None:
    hidden, weight = integers(40, 6, seed=0), integers(VOCABULARY, 6, seed=1)
    weight[5], weight[BLOCK + 5], weight[VOCABULARY - 1] = weight[7], weight[7], 3 * weight[7]
    logits = hidden @ weight.T
    highest = logits.amax(-1, keepdim=True)
    assert ((logits == highest).sum(-1) > 1).any(), "the case must have ties"
    first = (logits == highest).int().argmax(-1)
    head = Head(weight.to(dtype), screen=screen)
    assert head.likeliest(hidden.to(dtype)).tolist() == first.tolist()
    assert head.likeliest(0 * hidden[:1].to(dtype)).tolist() == [0]  # every token ties: too many to screen


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 300), st.integers(1, 3), st.floats(1e-4, 1e4), st.integers(0, 10**6))
def test_screening_in_bf16_never_loses_the_likeliest(width: int, rows: int, scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    hidden = scale * torch.randn(rows, width, generator=generator)
    weight = torch.randn(3 * SCREEN + 5, width, generator=generator) * torch.rand(width, generator=generator) ** 4
    # Some that differ from the likeliest by less than bf16 can tell, and negative logits everywhere in one row.
    best = (hidden @ weight.T).argmax(-1)
    weight[: rows * 3] = weight[best].repeat(3, 1) * (1 + 1e-3 * torch.randn(rows * 3, 1, generator=generator))
    exact = hidden.double() @ weight.double().T
    found = Head(weight, screen=True).likeliest(hidden)
    chosen, highest = exact.gather(1, found[:, None])[:, 0], exact.amax(-1)
    slack = 1e-6 * hidden.double().norm(dim=1) * weight.double().norm(dim=1).max()  # rounding of fp32
    assert (chosen >= highest - slack).all()


def test_logits_that_are_all_negative_are_no_trap_for_the_padding() -> None:
    hidden, weight = torch.ones(1, 4), -torch.ones(SCREEN + 3, 4)
    weight[SCREEN + 1] *= 0.5
    assert Head(weight, screen=True).likeliest(hidden).tolist() == [SCREEN + 1]
    assert Head(weight, screen=True).likeliest(hidden * torch.nan).tolist() == [0]


def draws(logits: torch.Tensor, n: int, **cut: float) -> torch.Tensor:
    """How often each token is drawn, from the same logits (V,), at evenly spread random numbers."""
    chosen = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, **cut}
    uniforms = ((np.arange(n) + 0.5) / n)[:, None]
    chooser = Chooser(logits[:, None], chosen["temperature"], int(chosen["top_k"]), chosen["top_p"], 1.0, uniforms)
    ids = chooser.pick(torch.ones(n, 1), torch.arange(n), 0, None)
    return torch.bincount(ids, minlength=len(logits)) / n


@pytest.mark.parametrize(
    ("cut", "kept"),
    [
        ({}, 600),
        ({"temperature": 2.0}, 600),
        ({"top_k": 20}, 20),
        ({"top_p": 0.5}, None),
        ({"top_p": 0.97}, None),
        ({"top_k": 300, "top_p": 0.9}, None),
    ],
)
def test_draws_follow_the_cut_distribution(cut: dict[str, float], kept: int | None) -> None:
    logits = torch.randn(600, generator=torch.Generator().manual_seed(3))
    share = (logits / cut.get("temperature", 1.0)).double().softmax(0)
    ranked, ids = share.sort(descending=True)
    if "top_k" in cut:
        ranked[int(cut["top_k"]) :] = 0
        ranked /= ranked.sum()
    if "top_p" in cut:
        ranked[(ranked.cumsum(0) - ranked) >= cut["top_p"]] = 0
    expected = torch.zeros(600, dtype=torch.float64)
    expected[ids] = ranked / ranked.sum()
    if kept is not None:
        assert int((expected > 0).sum()) == kept
    if cut == {"top_p": 0.97}:
        assert int((expected > 0).sum()) > FIRST_RANKS, "the case must need more than the first ranks"
    found = draws(logits, 6000, **cut)
    torch.testing.assert_close(found.double(), expected, atol=2 / 6000, rtol=0)


def test_numbers_at_the_ends_draw_tokens_that_are_possible() -> None:
    logits = torch.full((50,), -torch.inf)
    logits[[7, 30]] = 0.0
    uniforms = np.array([[0.0], [1 - 2**-53]])
    for cuts in ((0, 1.0), (0, 0.9), (5, 1.0)):
        chooser = Chooser(logits[:, None], 1.0, *cuts, 1.0, uniforms)
        assert chooser.pick(torch.ones(2, 1), torch.arange(2), 0, None).tolist() == [7, 30]
