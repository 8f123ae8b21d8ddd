"""Items as token ids, and batches of them: packed without padding, every token of a step weighted alike."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from equiloss.records.ift_run import TooLong
from equiloss.records.response import Example
from ift.prompts import Encode, LossOn, Template, Tokens
from pretrain.model.language_model import LanguageModel
from pretrain.model.packing import Packed, Padded


@dataclass(frozen=True)
class Encoded:
    """An item and its token ids."""

    example: Example
    tokens: Tokens

    @property
    def loss_tokens(self) -> int:
        """How many of its tokens carry loss."""
        return sum(self.tokens.loss)


def encode_examples(
    examples: Sequence[Example],
    template: Template,
    encode: Encode,
    end_id: int,
    context: int,
    *,
    loss_on: LossOn = "response",
    end_of_text_loss: bool = True,
    truncate: bool = False,
) -> tuple[list[Encoded], list[TooLong]]:
    """Encode items to train on; those longer than `context` are dropped, or cut at the end where that leaves loss.

    The end-of-text id needs no place of its own in the context: nothing is predicted from it.
    """
    encoded: list[Encoded] = []
    too_long: list[TooLong] = []
    for example in examples:
        tokens = template.tokens(example, encode, end_id, loss_on, end_of_text_loss)
        if len(tokens.ids) > context + 1:
            cut = Tokens(tokens.ids[: context + 1], tokens.loss[: context + 1], tokens.prompt_tokens)
            keep = truncate and any(cut.loss)
            too_long.append(TooLong(id=example.id, tokens=len(tokens.ids), action="truncated" if keep else "dropped"))
            if not keep:
                continue
            tokens = cut
        encoded.append(Encoded(example, tokens))
    return encoded, too_long


class Batch:
    """Items packed into one row (or padded, where the model does not `pack`), and the places in it that carry loss.

    `share`: a beginning that items have in common goes through the model once (without dropout; with it, each item
    needs draws of its own). The vocabulary head runs only where a token carries loss, once per distinct prediction.
    """

    def __init__(
        self, items: Sequence[Tokens], share: bool = True, device: torch.device | None = None, pack: bool = True
    ) -> None:
        texts = [item.ids[:-1] for item in items]
        self.rows = Packed(texts, share=share, device=device) if pack else Padded(texts, device=device)
        counts: Counter[tuple[int, int]] = Counter()
        for item, index in zip(items, self.rows.index, strict=True):
            places = index.tolist()
            counts.update(
                (places[i], target)
                for i, (target, carries) in enumerate(zip(item.ids[1:], item.loss[1:], strict=True))
                if carries
            )
        self.loss_tokens = counts.total()
        by_weight: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for pair, weight in counts.items():
            by_weight[weight].append(pair)
        self.parts: list[tuple[int, Tensor, Tensor]] = []
        """(weight, places in the row, targets): predictions that stand for so many items each."""
        for weight, pairs in by_weight.items():
            places, targets = torch.tensor(pairs, device=device).unbind(1)
            self.parts.append((weight, places, targets))

    def loss_sum(self, model: LanguageModel) -> Tensor:
        """The loss in nats, summed over all tokens that carry it."""
        hidden = self.rows.hidden(model)  # (N, C)
        total = hidden.new_zeros((), dtype=torch.float32)
        for weight, places, targets in self.parts:
            total = total + weight * model.loss_at(hidden[places], targets)
        return total


def micro_batches(items: Sequence[Tokens], most_tokens: int) -> list[list[Tokens]]:
    """Cut a step's items into parts of at most `most_tokens` tokens (at least one item each)."""
    parts: list[list[Tokens]] = []
    used = 0
    for item in items:
        if not parts or used + len(item.ids) > most_tokens:
            parts.append([])
            used = 0
        parts[-1].append(item)
        used += len(item.ids)
    return parts
