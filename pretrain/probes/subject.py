"""What a probe may look at: the base model, and the text, facts and items that the command was given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from equiloss.errors import InputError
from pretrain.data.shards import Shards
from pretrain.model.decoder import GPT
from pretrain.model.language_model import LanguageModel, LoadedModel, TextEncoding
from pretrain.model.opening import open_model
from pretrain.probes.facts import Fact, read_facts, world_facts
from pretrain.probes.instructions import AskedItem, read_items
from pretrain.probes.windows import windows


@dataclass(frozen=True)
class ProbeOptions:
    """What to probe with. Probes whose input is missing are skipped and say so.

    `text`: the data whose test text losses are measured on, where it is not `data`.
    """

    data: Path | None = None
    text: Path | None = None
    facts: Path | None = None
    items: Path | None = None
    test: Path | None = None
    tuned: Path | None = None
    only: Sequence[str] = ()
    tokens: int = 65_536
    seed: int = 0


class MissingInput(Exception):
    """A probe lacks an input that was not given; the message says which. The probe is skipped."""


@dataclass(frozen=True)
class Subject:
    """A base model and the inputs that were given; a property whose input was not raises MissingInput.

    `skipped`: what a probe left out of its measures, and why; a probe may add to it.
    """

    base: LoadedModel
    options: ProbeOptions
    skipped: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def model(self) -> LanguageModel:
        """The base model, in evaluation mode, on the CPU."""
        return self.base.model

    @property
    def decoder(self) -> GPT:
        """The base model where it is of the own kind. Raises: MissingInput where it is another library's."""
        if not isinstance(self.base.model, GPT):
            raise MissingInput("is measured on the own decoder's matrices alone")
        return self.base.model

    @property
    def encoding(self) -> TextEncoding:
        """The base model's tokenizer."""
        return self.base.encoding

    @cached_property
    def shards(self) -> Shards:
        """The data."""
        if self.options.data is None:
            raise MissingInput("needs --data")
        return Shards.open(self.options.data)

    @cached_property
    def text(self) -> Shards:
        """The data whose test text is read."""
        return self.shards if self.options.text is None else Shards.open(self.options.text)

    @cached_property
    def test_tokens(self) -> NDArray[np.unsignedinteger[Any]]:
        """The text's test split (N,), in the model's tokens. Raises: InputError where it cannot read that data."""
        split = self.text.split("test")
        return self.base.tokens_of(self.text, split, np.arange(len(split)))[0].tokens

    @cached_property
    def windows(self) -> Tensor:
        """Windows of the text's test split (N, T+1), evenly spaced, of at most `--tokens` predicted tokens."""
        return windows(self.test_tokens, self.base.evaluated_context, self.options.tokens)

    def few_windows(self, most: int) -> Tensor:
        """At most so many of the windows, evenly spaced."""
        return self.windows[:: max(1, len(self.windows) // most)][:most]

    @cached_property
    def test_items(self) -> list[AskedItem]:
        """The held-out instruction items of `--test`."""
        if self.options.test is None:
            raise MissingInput("needs --test")
        return read_items(self.options.test)

    @cached_property
    def items(self) -> tuple[list[AskedItem], list[AskedItem]]:
        """All instruction items, and the held-out ones among them."""
        if self.options.items is None or self.options.test is None:
            raise MissingInput("needs --items and --test")
        return read_items(self.options.items), self.test_items

    @cached_property
    def tuned(self) -> LanguageModel:
        """The fine-tuned model of `--tuned`. Raises: InputError when it has another shape than the base model."""
        path = self.options.tuned
        if path is None:
            raise MissingInput("needs --tuned")
        tuned = open_model(path)
        shapes = [{name: one.shape for name, one in of.model.named_parameters()} for of in (tuned, self.base)]
        if shapes[1].items() - shapes[0].items():
            raise InputError(f"{path}: has another shape than the base model", "give a fine-tuning of this checkpoint")
        return tuned.model

    @cached_property
    def facts(self) -> list[Fact]:
        """The facts of `--facts`, else those of the world that the data was made from, in words that the model read."""
        if self.options.facts is not None:
            return read_facts(self.options.facts)
        source = self.shards.record.source if self.options.data else None
        if source is None or not source.name.startswith("world:"):
            raise MissingInput("needs --facts, or --data of a built-in world")
        known, read = world_facts(source.name), self.base.run.data
        if read is None or read.sha256 in (None, self.shards.sha256):
            return known
        self.skipped["cloze.stored"] = "--data is not the text that this checkpoint read"
        return [fact.model_copy(update={"told": ()}) for fact in known]
