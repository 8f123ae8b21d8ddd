"""Batches: the packed loss is the loss of each item alone, wherever loss lies."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from equiloss.records.response import Example
from ift.prompts import Tokens, load
from ift.training.batches import Batch, encode_examples, micro_batches
from pretrain.config import ModelConfig
from pretrain.model.decoder import GPT

CONFIG = ModelConfig(n_layer=2, n_head=2, n_embd=16, context=64, vocab_size=40)
HEAD = list(range(10, 22))


def model() -> GPT:
    made = GPT(CONFIG, seed=2).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(5)
    return made


def textbook_loss(made: GPT, item: Tokens) -> torch.Tensor:
    """Summed cross-entropy of one item, from all its logits."""
    logits = made(torch.tensor([item.ids[:-1]]))[0]
    losses = F.cross_entropy(logits, torch.tensor(item.ids[1:]), reduction="none")
    return losses[torch.tensor(item.loss[1:])].sum()


def item(ids: list[int], answer_from: int) -> Tokens:
    return Tokens(ids, [i >= answer_from and i > 0 for i in range(len(ids))], answer_from)


ITEMS = [
    item([*HEAD, 1, 2, 39], 13),
    item([*HEAD, 3, 39], 13),
    item([*HEAD, 3, 39], 13),
    item([5, 6, 39], 0),
    item([*HEAD, 9, 9, 9, 9, 9, 9, 39], 0),
]


@pytest.mark.parametrize("share", [True, False])
def test_loss_and_gradients_equal_those_of_each_item_alone(share: bool) -> None:
    alone, packed = model(), model()
    expected = torch.stack([textbook_loss(alone, one) for one in ITEMS]).sum()
    batch = Batch(ITEMS, share=share)
    found = batch.loss_sum(packed)
    assert batch.loss_tokens == sum(sum(one.loss) for one in ITEMS)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    expected.backward()
    found.backward()
    for (name, a), b in zip(alone.named_parameters(), packed.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}")


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 2), min_size=2, max_size=30), st.integers(0, 29)), min_size=1, max_size=6
    ),
    st.integers(1, 60),
)
def test_however_the_items_are_cut_the_sum_is_the_same(drawn: list[tuple[list[int], int]], most: int) -> None:
    items = [item(ids, min(start, len(ids) - 1)) for ids, start in drawn]
    made = model()
    with torch.no_grad():
        expected = float(sum(textbook_loss(made, one) for one in items))
        parts = micro_batches(items, most)
        assert [one for part in parts for one in part] == items
        assert float(sum(Batch(part).loss_sum(made) for part in parts)) == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_padding_never_carries_loss_and_the_end_always_does() -> None:
    # The end-of-text id is what padding would be; loss on it must come from the items alone.
    batch = Batch(ITEMS)
    ends = sum(weight * int((targets == 39).sum()) for weight, _, targets in batch.parts)
    assert ends == len(ITEMS)


def test_too_long_items_are_dropped_or_cut_and_named() -> None:
    template = load("alpaca-short")
    long = Example(id="long", instruction="x" * 20, reference="y" * 100)
    hopeless = Example(id="hopeless", instruction="x" * 200, reference="y")
    short = Example(id="short", instruction="x", reference="y")

    def encode(text: str) -> list[int]:
        return list(text.encode())

    for truncate, kept in ((False, ["short"]), (True, ["long", "short"])):
        encoded, too_long = encode_examples([long, hopeless, short], template, encode, 256, 80, truncate=truncate)
        assert [one.example.id for one in encoded] == kept
        assert [one.id for one in too_long] == ["long", "hopeless"]
        assert [one.action for one in too_long] == ["truncated" if truncate else "dropped", "dropped"]
        assert all(len(one.tokens.ids) <= 81 for one in encoded)
