"""Facts stored and facts extractable: does the model complete a fact where it was told, and where it is asked afresh?

A fact told in one unvarying text can be stored there and still be out of reach from the subject's name alone
(Allen-Zhu & Li, arXiv 2309.14316 and 2309.14402). `stored`: the value after the training text's own words.
`first_mention`: the value after a prefix that mentions the subject for the first time, in every wording given.
A completion is right when each of its tokens is the likeliest one (as greedy decoding would have it).
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from equiloss.errors import InputError
from equiloss.records.probe import Measure, ProbeResult
from pretrain.model.language_model import LanguageModel, TextEncoding
from pretrain.probes.completions import Completion, complete
from pretrain.probes.facts import Fact
from pretrain.probes.registry import probe
from pretrain.probes.subject import Subject


@probe("cloze")
def of_subject(subject: Subject) -> ProbeResult:
    """The facts that the base model completes."""
    return completed_facts(subject.model, subject.encoding, subject.facts)


def completed_facts(model: LanguageModel, encoding: TextEncoding, facts: Sequence[Fact]) -> ProbeResult:
    """Accuracy and loss of the facts' values, stored and at first mention; samples by fact.

    Raises: InputError when there are no facts.
    """
    if not facts:
        raise InputError("there are no facts to probe", "give facts with --facts, or data of a built-in world")
    measures: dict[str, Measure] = {}
    for name, prefixes in (
        ("stored", [(fact, prefix) for fact in facts for prefix in fact.told]),
        ("first_mention", [(fact, prefix) for fact in facts for prefix in fact.asked]),
    ):
        if not prefixes:
            continue
        completions = complete(model, encoding, [(prefix, f" {fact.value}") for fact, prefix in prefixes])
        by_fact: dict[str, list[Completion]] = {}
        for (fact, _), completion in zip(prefixes, completions, strict=True):
            by_fact.setdefault(fact.key, []).append(completion)
        right = [fmean(completion.greedy for completion in of_fact) for of_fact in by_fact.values()]
        loss = [fmean(completion.nats for completion in of_fact) for of_fact in by_fact.values()]
        measures[f"{name}_accuracy"] = Measure.mean_of(right, unit="share of facts", keys=[*by_fact])
        measures[f"{name}_loss"] = Measure.mean_of(loss, unit="nats per value", keys=[*by_fact])
    return ProbeResult.of(measures, facts=len(facts))
