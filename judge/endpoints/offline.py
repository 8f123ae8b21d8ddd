"""The offline reference judge: agreement with the reference answer. It is not an LLM, and says so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from equiloss.errors import InputError
from equiloss.files import sha256_of
from equiloss.numerals import number
from judge.data.reference import agreement, numbers, words
from judge.data.verdicts import OFFLINE_JUDGE
from judge.endpoints.prices import Price
from judge.endpoints.provider import ConnectionSettings, Draft, JudgeRequest, Provider, Reply, RequestFailure
from judge.rubrics import Rubric

RHO, RHO_LOW, RHO_HIGH = 0.91, 0.87, 0.94  # measured by benchmarks/offline_judge.py


class OfflineJudge(Provider):
    """A formula in the place of an LLM: it needs no endpoint, costs nothing, and judges each answer alone."""

    name = model = OFFLINE_JUDGE
    price = Price(input=0, output=0)
    is_llm = False
    is_free = True
    reads_prompts = False
    notice = (
        f"{OFFLINE_JUDGE} is not an LLM: it measures how far an answer's words and numbers agree with the reference"
    )
    evidence = (
        f"Spearman {RHO} (95 % interval {RHO_LOW} to {RHO_HIGH}) with GPT-4's scores of 200 answers to 100 short "
        "Alpaca-style items, 0.88 with the choice of formula cross-validated; it fails on open-ended items and "
        "paraphrase"
    )

    def check(self, rubric: Rubric) -> None:
        """Raises: InputError unless the rubric asks for one score of agreement with a reference."""
        front = rubric.front
        if front.reference != "required" or len(front.criteria) != 1 or front.output.type != "scores":
            raise InputError(
                f"the {self.name} judge measures agreement with the reference, which is not what rubric "
                f"{rubric.name!r} asks",
                "use --rubric correctness, or set OPENAI_API_KEY, OPENAI_BASE_URL or --judge MODEL@URL",
            )

    def request_sha(self, request: JudgeRequest) -> str:
        """The key of what decides the score: answer, reference and rubric, and the repeat."""
        return sha256_of([self.name, *request.answers, request.item.reference, request.rubric.sha, request.repeat])

    @asynccontextmanager
    async def connect(self, settings: ConnectionSettings) -> AsyncGenerator[None]:  # noqa: ARG002
        """Nothing needs to be opened."""
        yield

    async def ask(self, request: JudgeRequest, drafts: Sequence[Draft] = ()) -> Reply:  # noqa: ARG002
        """The score of the one answer, in the rubric's form of a reply."""
        await asyncio.sleep(0)  # others may go on, and Ctrl-C is heard
        [output], reference, scale = request.answers, request.item.reference, request.rubric.front.scale
        if not reference.strip():
            missing: RequestFailure = {"reason": "error", "detail": "the item has no reference answer"}
            return Reply("", self.name, failure=missing)
        steps = round(agreement(output, reference) * (scale.max - scale.min) / scale.step)
        value = scale.min + steps * scale.step
        verdict = {"explanation": explain(output, reference), request.rubric.criteria[0]: value}
        return Reply(json.dumps({request.labels[0]: verdict}), self.name)


def explain(output: str, reference: str) -> str:
    """A sentence on what `agreement` saw."""
    if not output.strip():
        return "Not an LLM: the answer is empty."
    parts = ["the same words as the reference" if words(output) == words(reference) else "other words"]
    if numbers(reference):
        parts.append("the same numbers" if numbers(output) == numbers(reference) else "other numbers")
    return f"Not an LLM: {' and '.join(parts)}; agreement {number(agreement(output, reference))}."
