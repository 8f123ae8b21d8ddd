"""What a probe may look at: the base model, and the text, facts and items that the command was given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tiktoken import Encoding
from torch import Tensor

from equiloss.errors import InputError
from pretrain.data.shards import Shards
from pretrain.model import checkpoint
from pretrain.model.checkpoint import Checkpoint
from pretrain.model.decoder import GPT
from pretrain.probes.facts import Fact, read_facts, world_facts
from pretrain.probes.instructions import AskedItem, read_items
from pretrain.probes.windows import windows


@dataclass(frozen=True)
class ProbeOptions:
    """What to probe with. Probes whose input is missing are skipped and say so."""

    data: Path | None = None
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

    base: Checkpoint
    options: ProbeOptions
    skipped: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def model(self) -> GPT:
        """The base model, in evaluation mode, on the CPU."""
        return self.base.model

    @property
    def encoding(self) -> Encoding:
        """The base model's tokenizer."""
        return self.base.encoding

    @cached_property
    def shards(self) -> Shards:
        """The data. Raises: InputError when it was made with another tokenizer than the base model's."""
        from equiloss import tokenizer

        if self.options.data is None:
            raise MissingInput("needs --data")
        shards = Shards.open(self.options.data)
        if tokenizer.sha256(self.encoding) != tokenizer.sha256(shards.tokenizer):
            raise InputError(
                f"{self.options.data}: was made with another tokenizer than the checkpoint",
                "give the data it was trained on",
            )
        return shards

    @cached_property
    def windows(self) -> Tensor:
        """Windows of the data's test split (N, T+1), evenly spaced, of at most `--tokens` predicted tokens."""
        return windows(self.shards.split("test").tokens, self.model.config.context, self.options.tokens)

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
    def tuned(self) -> GPT:
        """The fine-tuned model of `--tuned`. Raises: InputError when it has another shape than the base model."""
        path = self.options.tuned
        if path is None:
            raise MissingInput("needs --tuned")
        tuned = checkpoint.load(path / "checkpoint.pt" if path.is_dir() else path)
        if tuned.config != self.base.config.model_copy(update={"tie_weights": tuned.config.tie_weights}):
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
