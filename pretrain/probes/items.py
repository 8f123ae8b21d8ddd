"""Instruction items seen by a base model: the loss of their reference answers, and whether test items stand out.

`answer_loss` is the mean loss per token of the reference after the question in plain words, before any fine-tuning.
`test_advantage` is the mean answer loss of the training items minus that of each test item: both sets come from one
source, so a model that never saw either finds them alike, and one that saw the test items finds those easier. Compared
between two models it is a difference in differences, in which what makes an item hard cancels.
`few_shot_lift` is what three training items before the question take from the test items' answer loss.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from tiktoken import Encoding

from equiloss.errors import InputError
from pretrain.model.decoder import GPT
from pretrain.probes.instructions import AskedItem
from pretrain.probes.measure import mean_of
from pretrain.probes.registry import probe
from pretrain.probes.subject import Subject

BATCH = 64
SHOTS = 3


@probe("items")
def of_subject(subject: Subject) -> dict[str, Any]:
    """The base model's losses of the items' reference answers."""
    return item_losses(subject.model, subject.encoding, *subject.items, seed=subject.options.seed)


def item_losses(
    model: GPT,
    encoding: Encoding,
    everything: Sequence[AskedItem],
    test: Sequence[AskedItem],
    most: int = 400,
    seed: int = 0,
) -> dict[str, Any]:
    """Answer losses of the test items, and of as many of the others; `test` names which of `everything` are held out.

    Raises: InputError when nothing is left to compare the test items with.
    """
    asked = {one.question for one in test}
    others = [one for one in everything if one.question not in asked]
    if len(others) < 2 or not test:
        raise InputError("no items besides the test items", "give all items with --items, the test items with --test")
    rng = random.Random(f"items/{seed}")
    others = rng.sample(others, min(most, len(others)))
    held = list(test)[:most]
    keys = [one.id or one.question for one in held]
    of_test = answer_losses(model, encoding, [(one.question, one.answer) for one in held])
    of_others = answer_losses(model, encoding, [(one.question, one.answer) for one in others])
    usual = sum(of_others) / len(of_others)
    shots = "\n".join(f"{one.question}\n{one.answer}" for one in others[:SHOTS])
    with_shots = answer_losses(model, encoding, [(f"{shots}\n{one.question}", one.answer) for one in held])
    return {
        "measures": {
            "answer_loss": mean_of(of_test, unit="nats per token", keys=keys),
            "other_answer_loss": mean_of(of_others, unit="nats per token"),
            "test_advantage": mean_of([usual - one for one in of_test], unit="nats per token", keys=keys),
            "few_shot_lift": mean_of(
                [a - b for a, b in zip(of_test, with_shots, strict=True)], unit="nats per token", keys=keys
            ),
        },
        "test_items": len(held),
        "other_items": len(others),
    }


@torch.no_grad()
def answer_losses(model: GPT, encoding: Encoding, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """The mean loss in nats per token of each answer after its question; long questions lose their beginning."""
    eot = encoding.eot_token
    rows: list[tuple[list[int], int]] = []
    for question, answer in pairs:
        after = encoding.encode_ordinary(f"\n{answer}")[: model.config.context - 1]
        before = [eot, *encoding.encode_ordinary(question)][-(model.config.context - len(after)) :]
        rows.append(([*before, *after], len(after)))
    losses = [0.0] * len(rows)
    order = sorted(range(len(rows)), key=lambda index: len(rows[index][0]))
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        longest = max(len(rows[index][0]) for index in chosen)
        ids = torch.full((len(chosen), longest), eot)
        targets = torch.full((len(chosen), longest - 1), -100)
        for line, index in enumerate(chosen):
            tokens, count = rows[index]
            ids[line, : len(tokens)] = torch.tensor(tokens)
            targets[line, len(tokens) - 1 - count : len(tokens) - 1] = torch.tensor(tokens[-count:])
        logits = model(ids[:, :-1]).float()
        loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none", ignore_index=-100)
        means = loss.sum(dim=1) / (targets != -100).sum(dim=1)
        for line, index in enumerate(chosen):
            losses[index] = float(means[line])
    return losses
