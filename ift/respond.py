"""Answers to items: generated together, written down one by one, so that a killed run goes on where it was."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ift.prompt import Template
from ift.recipe import Decoding
from ift.records import Example, Response
from pretrain.errors import InputError
from pretrain.generate import Generation, generate
from pretrain.model import GPT
from pretrain.runs import append_jsonl, read_jsonl, write_jsonl
from pretrain.seeds import stream

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
) -> tuple[list[Example], list[str]]:
    """The items whose prompt leaves room to answer, and the ids of the others."""
    fitting: list[Example] = []
    others: list[str] = []
    for example in examples:
        if len(template.prompt_ids(example, encoding.encode_ordinary)) < context:
            fitting.append(example)
        else:
            others.append(example.id)
    return fitting, others


Answer = Callable[[Sequence[Example], OnAnswer], Sequence[Response]]
"""Answers items in their order and reports each answer as it ends."""


def answer_resumably(examples: Sequence[Example], path: Path, fingerprint: str, answers: Answer) -> list[Response]:
    """Answer items, keeping each finished answer in `path`; those that it holds of the same run are not asked again.

    The caller deletes the file when the answers are safe elsewhere.
    """
    done: dict[str, Response] = {}
    if path.exists():
        with suppress(InputError, ValueError, KeyError):  # the last line may be half a line
            _mend(path)
            rows = read_jsonl(path)
            if rows and rows[0] == {"fingerprint": fingerprint}:
                done = {row["id"]: Response.model_validate(row) for row in rows[1:]}
    if not done:
        write_jsonl(path, [{"fingerprint": fingerprint}])
    left = [example for example in examples if example.id not in done]
    if left:
        fresh = answers(left, lambda one: append_jsonl(path, one.model_dump(by_alias=True)))
        done |= {one.id: one for one in fresh}
    return [done[example.id] for example in examples]


def _mend(path: Path) -> None:
    """Cut off a last line that was not written to its end."""
    data = path.read_bytes()
    if not data.endswith(b"\n"):
        with path.open("r+b") as f:
            f.truncate(data.rfind(b"\n") + 1)
