"""What models that can answer have in common, whatever they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal

from equiloss.records.ift_run import AnsweringModel, RunTemplate, Settings
from equiloss.records.response import Example, Response
from ift.recipe import Decoding

OnAnswer = Callable[[Response], None]


class Answerer(ABC):
    """A model with its tokenizer, its template and its decoding. `about`...: what the record says."""

    about: AnsweringModel
    decoding: Decoding
    about_template: RunTemplate
    context: int
    """Most tokens that a prompt and its answer may have."""

    @abstractmethod
    def prompt_ids(self, example: Example) -> list[int]:
        """The ids that the model reads before it answers."""

    @abstractmethod
    def answer(
        self, examples: Sequence[Example], generator: str, seed: int, on_answer: OnAnswer | None = None
    ) -> list[Response]:
        """A response to each item, in their order; no answer depends on the other items.

        Raises: InputError for an item whose prompt fills the context (see `answerable`).
        """

    def answerable(self, examples: Sequence[Example]) -> tuple[list[Example], dict[str, int]]:
        """The items whose prompt leaves room to answer, and the others' ids with the tokens of their prompts."""
        return with_room(examples, lambda one: len(self.prompt_ids(one)), self.context)


def with_room(
    examples: Sequence[Example], prompt_tokens: Callable[[Example], int], context: int
) -> tuple[list[Example], dict[str, int]]:
    """The items whose prompt has fewer tokens than the context, and the others' ids with how many theirs has."""
    tokens = {one.id: prompt_tokens(one) for one in examples}
    others = {id: count for id, count in tokens.items() if count >= context}
    return [one for one in examples if one.id not in others], others


def response_to(
    example: Example, output: str, generator: str, seed: int, finish_reason: Literal["stop", "length"], n_tokens: int
) -> Response:
    """An answer to an item, with what the item says kept beside it."""
    more: Settings = {"system": example.system} if example.system else {}
    if example.history:
        more["history"] = [turn.model_dump() for turn in example.history]
    return Response.model_validate(
        {
            **example.model_dump(include={"id", "instruction", "input", "reference", "category"}),
            "output": output,
            "generator": generator,
            "finish_reason": finish_reason,
            "n_tokens": n_tokens,
            "seed": seed,
            **more,
        }
    )
