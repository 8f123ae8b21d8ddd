"""Answers to items by a model of this suite: generated together, from the prompts of training."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from equiloss.records.response import Example, Response
from equiloss.seeds import stream
from ift.prompts import Template
from ift.recipe import Decoding
from pretrain.model.decoder import GPT
from pretrain.model.generation import Generation, generate

if TYPE_CHECKING:
    from tiktoken import Encoding

OnAnswer = Callable[[Response], None]


def answer(
    model: GPT,
    encoding: Encoding,
    template: Template,
    examples: Sequence[Example],
    decoding: Decoding,
    *,
    generator: str,
    seed: int,
    on_answer: OnAnswer | None = None,
) -> list[Response]:
    """A response to each item, in their order. The prompt is the one of training; greedy unless `decoding` says else.

    Raises: InputError for an item whose prompt fills the model's context (see `answerable`).
    """
    prompts = [template.prompt_ids(example, encoding.encode_ordinary) for example in examples]
    if decoding.precision == "bf16":
        model = copy.deepcopy(model).to(torch.bfloat16)

    def respond(number: int, written: Generation) -> Response:
        return response(
            examples[number],
            template.answer(encoding.decode(written.tokens)),
            generator=generator,
            finish_reason=written.finish_reason,
            n_tokens=len(written.tokens),
            seed=seed,
        )

    answers = generate(
        model,
        prompts,
        max_new_tokens=decoding.max_new_tokens,
        eos_id=encoding.eot_token,
        temperature=decoding.temperature,
        top_k=decoding.top_k,
        top_p=decoding.top_p,
        repetition_penalty=decoding.repetition_penalty,
        seeds=[stream(seed, "decoding", example.id) for example in examples],
        batch_size=decoding.batch_size,
        on_done=None if on_answer is None else lambda number, written: on_answer(respond(number, written)),
    )
    return [respond(number, written) for number, written in enumerate(answers)]


def response(example: Example, output: str, **fields: Any) -> Response:
    """An answer to an item, with what the item says kept beside it."""
    extra: dict[str, Any] = {}
    if example.system:
        extra["system"] = example.system
    if example.history:
        extra["history"] = [turn.model_dump() for turn in example.history]
    return Response.model_validate(
        {
            "id": example.id,
            "instruction": example.instruction,
            "input": example.input,
            "output": output,
            "reference": example.reference,
            "category": example.category,
            **fields,
            **extra,
        }
    )


def answerable(
    examples: Sequence[Example], template: Template, encoding: Encoding, context: int
) -> tuple[list[Example], dict[str, int]]:
    """The items whose prompt leaves room to answer, and the others' ids with the tokens of their prompts."""
    fitting: list[Example] = []
    others: dict[str, int] = {}
    for example in examples:
        tokens = len(template.prompt_ids(example, encoding.encode_ordinary))
        if tokens < context:
            fitting.append(example)
        else:
            others[example.id] = tokens
    return fitting, others
