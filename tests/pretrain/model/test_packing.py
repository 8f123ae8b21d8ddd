"""Packed texts: as if each went through the model alone, gradients included."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pretrain.config import ModelConfig
from pretrain.model.decoder import GPT
from pretrain.model.packing import SHORTEST_PREFIX, Packed, common_beginnings

CONFIG = ModelConfig(n_layer=2, n_head=2, n_embd=16, context=64, vocab_size=50)
HEAD = list(range(12))
TEXTS = [
    [*HEAD, 20, 21, 22],
    [7, 7],
    [*HEAD, 23],
    [*HEAD, 20, 21, 30, 31, 32, 33, 34, 35, 36, 37, 38],
    [5],
    [*range(40, 10, -1)],
    [*range(40, 10, -1)],
]


def double(config: ModelConfig = CONFIG, seed: int = 1) -> GPT:
    model = GPT(config, seed=seed).double()
    with torch.no_grad():
        for parameter in model.parameters():  # far from the near-linear start
            parameter.mul_(5)
    return model


@pytest.mark.parametrize("share", [True, False])
def test_hidden_states_equal_those_of_each_text_alone(share: bool) -> None:
    model = double()
    packed = Packed(TEXTS, share=share)
    hidden = model.backbone(packed.ids, packed.positions, packed.attend)[0]
    for text, index in zip(TEXTS, packed.index, strict=True):
        assert packed.ids[0, index].tolist() == text
        torch.testing.assert_close(hidden[index], model.backbone(torch.tensor([text]))[0])


@pytest.mark.parametrize("share", [True, False])
def test_gradients_equal_those_of_each_text_alone(share: bool) -> None:
    weights = torch.randn(1000, CONFIG.n_embd, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    alone, together = double(), double()
    packed = Packed(TEXTS, share=share)
    hidden = together.backbone(packed.ids, packed.positions, packed.attend)[0]
    used = 0
    for text in TEXTS:
        weight = weights[used : used + len(text)]
        used += len(text)
        (alone.backbone(torch.tensor([text]))[0] * weight).sum().backward()
    everything = torch.cat([hidden[index] for index in packed.index])
    (everything * weights[:used]).sum().backward()
    for (name, a), b in zip(alone.named_parameters(), together.parameters(), strict=True):
        if name != "position_embedding.weight" or a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, msg=lambda text, name=name: f"{name}: {text}")


def test_a_common_beginning_is_computed_once() -> None:
    assert Packed(TEXTS).ids.shape[1] == sum(map(len, TEXTS)) - 2 * len(HEAD) - 29
    assert Packed(TEXTS, share=False).ids.shape[1] == sum(map(len, TEXTS))


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=30), min_size=1, max_size=12))
def test_common_beginnings_are_common_and_leave_each_text_a_token(texts: list[list[int]]) -> None:
    groups = common_beginnings(texts)
    assert sorted(number for members, _ in groups for number in members) == list(range(len(texts)))
    for members, length in groups:
        assert length == 0 or length >= SHORTEST_PREFIX
        for member in members:
            assert texts[member][:length] == texts[members[0]][:length]
            assert len(texts[member]) > length


def test_texts_that_go_on_alike_in_two_ways_share_both() -> None:
    """As prompts with and without an input do: alike for a while, then by template."""
    start, with_input, without = list(range(10)), list(range(100, 130)), list(range(200, 220))
    texts = [[*start, *(with_input if i % 3 else without), 300 + i, 400] for i in range(9)]
    assert sorted(common_beginnings(texts)) == [([0, 3, 6], 30), ([1, 2, 4, 5, 7, 8], 40)]
    mixed = [*texts, [*start, 500], [*start, 501]]  # two more that go on by themselves share the first part
    assert sorted(common_beginnings(mixed))[1:] == [([1, 2, 4, 5, 7, 8], 40), ([9, 10], 10)]
    ends = [start, [*start, 1], [*start, 2]]  # one of them is all that the others have in common
    assert common_beginnings(ends) == [([0, 1, 2], 9)]


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 1), st.lists(st.integers(7, 9), min_size=1, max_size=3)),
        min_size=2,
        max_size=8,
    ),
    st.integers(SHORTEST_PREFIX, 33),
)
def test_grouping_by_so_many_first_tokens_saves_no_more(drawn: list[tuple[int, int, list[int]]], k: int) -> None:
    texts = [[0] * 12 + [one] * 10 + [other] * 9 + end for one, other, end in drawn]
    families: dict[tuple[int, ...], int] = Counter(tuple(text[:k]) for text in texts if len(text) > k)
    by_first_tokens = sum((n - 1) * k - SHORTEST_PREFIX for n in families.values() if n > 1)
    groups = common_beginnings(texts)
    saved = sum((len(members) - 1) * length - SHORTEST_PREFIX for members, length in groups if length)
    assert saved >= by_first_tokens


def test_beginnings_of_a_thousand_texts_in_each_other_are_found() -> None:
    texts = [[7] * length for length in range(1, 1001)]
    groups = common_beginnings(texts)
    assert sorted(number for members, _ in groups for number in members) == list(range(1000))


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=40), min_size=1, max_size=10), st.booleans())
def test_every_token_lies_in_the_row_at_its_position(texts: list[list[int]], share: bool) -> None:
    packed = Packed(texts, share=share)
    for text, index in zip(texts, packed.index, strict=True):
        assert packed.ids[0, index].tolist() == text
        assert packed.positions[0, index].tolist() == list(range(len(text)))
    covered = torch.cat([group.rows for group in packed.groups])
    assert sorted(covered.tolist()) == list(range(packed.ids.shape[1]))
