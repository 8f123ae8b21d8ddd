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

from equiloss.errors import InputError
from equiloss.records.probe import Measure, ProbeResult
from pretrain.model.language_model import LanguageModel, TextEncoding
from pretrain.probes.completions import complete
from pretrain.probes.instructions import AskedItem
from pretrain.probes.registry import probe
from pretrain.probes.subject import Subject

SHOTS = 3


@probe("items")
def of_subject(subject: Subject) -> ProbeResult:
    """The base model's losses of the items' reference answers."""
    return item_losses(subject.model, subject.encoding, *subject.items, seed=subject.options.seed)


def item_losses(
    model: LanguageModel,
    encoding: TextEncoding,
    everything: Sequence[AskedItem],
    test: Sequence[AskedItem],
    most: int = 400,
    seed: int = 0,
) -> ProbeResult:
    """Answer losses of the test items, and of as many of the others; `test` names which of `everything` are held out.

    Raises: InputError when nothing is left to compare the test items with.
    """
    asked = {item.question for item in test}
    others = [item for item in everything if item.question not in asked]
    if len(others) < 2 or not test:
        raise InputError("no items besides the test items", "give all items with --items, the test items with --test")
    rng = random.Random(f"items/{seed}")
    others = rng.sample(others, min(most, len(others)))
    held = list(test)[:most]
    keys = [item.key for item in held]
    of_test = answer_losses(model, encoding, [(item.question, item.answer) for item in held])
    of_others = answer_losses(model, encoding, [(item.question, item.answer) for item in others])
    usual = sum(of_others) / len(of_others)
    shots = "\n".join(f"{item.question}\n{item.answer}" for item in others[:SHOTS])
    with_shots = answer_losses(model, encoding, [(f"{shots}\n{item.question}", item.answer) for item in held])
    lifts = [a - b for a, b in zip(of_test, with_shots, strict=True)]
    measures = {
        "answer_loss": Measure.mean_of(of_test, unit="nats per token", keys=keys),
        "other_answer_loss": Measure.mean_of(of_others, unit="nats per token"),
        "test_advantage": Measure.mean_of([usual - loss for loss in of_test], unit="nats per token", keys=keys),
        "few_shot_lift": Measure.mean_of(lifts, unit="nats per token", keys=keys),
    }
    return ProbeResult.of(measures, test_items=len(held), other_items=len(others))


def answer_losses(model: LanguageModel, encoding: TextEncoding, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """The mean loss in nats per token of each answer after its question; long questions lose their beginning."""
    completions = complete(model, encoding, [(question, f"\n{answer}") for question, answer in pairs])
    return [completion.nats / completion.tokens for completion in completions]
