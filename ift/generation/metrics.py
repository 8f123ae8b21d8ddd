"""What can be said of answers without a judge: agreement with the reference, length, endings, repetition."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib import import_module
from statistics import fmean, median
from typing import Any

from equiloss.records.ift_run import AnswerStatistics
from equiloss.records.response import Response

ALL = "all"


def normal(text: str) -> str:
    """A text for exact comparison: white space made single, ends trimmed, a final full stop and case ignored."""
    return re.sub(r"\s+", " ", text).strip().rstrip(".").casefold()


def exact_match(response: Response) -> bool:
    """Whether the answer is the reference, but for white space, case and a final full stop."""
    return normal(response.output) == normal(response.reference)


def distinct(text: str, n: int) -> float | None:
    """The share of different n-grams of words among all (Li et al. 2016); None where there is none."""
    words = text.split()
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else None


def summary(responses: Sequence[Response]) -> dict[str, AnswerStatistics]:
    """Statistics of all answers ("all") and of each category.

    items; finish_reason counts; empty answers; tokens (mean, median, max); distinct_2 (mean over answers); and over
    answers with a reference: exact_match (share), chrf (0 to 100; None where sacrebleu is not installed) and
    rouge_l (F1, 0 to 1).
    """
    groups: dict[str, list[Response]] = {ALL: list(responses)}
    for response in responses:
        if response.category is not None:
            groups.setdefault(response.category, []).append(response)
    return {name: _describe(group) for name, group in groups.items()}


def _describe(group: Sequence[Response]) -> AnswerStatistics:
    tokens = [one.n_tokens for one in group if one.n_tokens is not None]
    known = [one for one in group if one.reference]
    return AnswerStatistics(
        items=len(group),
        finish_reason={reason: sum(one.finish_reason == reason for one in group) for reason in ("stop", "length")},
        empty=sum(not one.output.strip() for one in group),
        tokens_mean=_mean(tokens),
        tokens_median=float(median(tokens)) if tokens else None,
        tokens_max=max(tokens, default=None),
        distinct_2=_mean(share for one in group if (share := distinct(one.output, 2)) is not None),
        with_reference=len(known),
        exact_match=_mean(float(exact_match(one)) for one in known),
        chrf=_chrf(known),
        rouge_l=_mean(rouge_l(one.output, one.reference) for one in known),
    )


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return fmean(known) if known else None


def _chrf(group: Sequence[Response]) -> float | None:
    """chrF2 of a group (Popović 2015), by sacrebleu."""
    with suppress(ImportError):
        metric: Any = import_module("sacrebleu.metrics").CHRF()
        if group:
            return float(metric.corpus_score([one.output for one in group], [[one.reference for one in group]]).score)
    return None


def rouge_l(output: str, reference: str) -> float:
    """ROUGE-L F1 of one answer, from 0 to 1 (Lin 2004).

    The longest common subsequence of words, as precision and recall. Words are runs of a-z and 0-9, lower-cased and
    not stemmed, as in Google's rouge-score. 0 where either has none.
    """
    from rapidfuzz.distance import LCSseq

    answer, wanted = (re.findall(r"[a-z0-9]+", text.lower()) for text in (output, reference))
    common = LCSseq.similarity(answer, wanted)
    if not common:
        return 0.0
    precision, recall = common / len(answer), common / len(wanted)
    return 2 * precision * recall / (precision + recall)
