"""Facts stored and facts extractable: does the model complete a fact where it was told, and where it is asked afresh?

A fact told in one unvarying text can be stored there and still be out of reach from the subject's name alone
(Allen-Zhu & Li, arXiv 2309.14316 and 2309.14402). `stored`: the value after the training text's own words.
`first_mention`: the value after a prefix that mentions the subject for the first time, in every wording given.
A completion is right when each of its tokens is the likeliest one (as greedy decoding would have it).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tiktoken import Encoding

from equiloss.errors import InputError
from pretrain.model.decoder import GPT
from pretrain.probes.facts import Fact
from pretrain.probes.measure import mean_of
from pretrain.probes.registry import probe
from pretrain.probes.subject import Subject

BATCH = 128


@probe("cloze")
def of_subject(subject: Subject) -> dict[str, Any]:
    """The facts that the base model completes."""
    return completions(subject.model, subject.encoding, subject.facts)


def completions(model: GPT, encoding: Encoding, facts: Sequence[Fact]) -> dict[str, Any]:
    """Accuracy and loss of the facts' values, stored and at first mention; samples by fact.

    Raises: InputError when there are no facts.
    """
    if not facts:
        raise InputError("there are no facts to probe", "give facts with --facts, or data of a built-in world")
    measures: dict[str, Any] = {}
    for name, of in (("stored", "told"), ("first_mention", "asked")):
        prompts = [(fact, prefix) for fact in facts for prefix in getattr(fact, of)]
        if not prompts:
            continue
        outcomes = complete(model, encoding, [(prefix, fact.value) for fact, prefix in prompts])
        by_fact: dict[str, list[tuple[float, float]]] = {}
        for (fact, _), outcome in zip(prompts, outcomes, strict=True):
            by_fact.setdefault(fact.key, []).append(outcome)
        keys = list(by_fact)
        right = [sum(one for one, _ in by_fact[key]) / len(by_fact[key]) for key in keys]
        loss = [sum(one for _, one in by_fact[key]) / len(by_fact[key]) for key in keys]
        measures[f"{name}_accuracy"] = mean_of(right, unit="share of facts", keys=keys)
        measures[f"{name}_loss"] = mean_of(loss, unit="nats per value", keys=keys)
    return {"measures": measures, "facts": len(facts)}


@torch.no_grad()
def complete(model: GPT, encoding: Encoding, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, float]]:
    """For each (prefix, value): 1 when greedy decoding would give the value, and the value's loss in nats."""
    eot = encoding.eot_token
    rows: list[tuple[list[int], int]] = []
    for prefix, value in pairs:
        before = [eot, *encoding.encode_ordinary(prefix)]
        after = encoding.encode_ordinary(f" {value}")
        before = before[-(model.config.context - len(after)) :]
        rows.append(([*before, *after], len(after)))
    results: list[tuple[float, float]] = [(0.0, 0.0)] * len(rows)
    order = sorted(range(len(rows)), key=lambda index: len(rows[index][0]))
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        longest = max(len(rows[index][0]) for index in chosen)
        ids = torch.full((len(chosen), longest), eot)
        for line, index in enumerate(chosen):
            ids[line, : len(rows[index][0])] = torch.tensor(rows[index][0])
        logs = torch.log_softmax(model(ids[:, :-1]).float(), dim=-1)  # (B, T-1, V); padding on the right is not seen
        for line, index in enumerate(chosen):
            tokens, count = rows[index]
            at = torch.arange(len(tokens) - count - 1, len(tokens) - 1)
            wanted = torch.tensor(tokens[-count:])
            predicted = logs[line, at]  # (count, V)
            right = bool((predicted.argmax(-1) == wanted).all())
            results[index] = (float(right), float(-predicted[torch.arange(count), wanted].sum()))
    return results
