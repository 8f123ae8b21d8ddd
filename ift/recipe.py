"""Recipes: everything that can be chosen about a fine-tuning run, in one frozen config that the run record keeps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from equiloss.config import Config, apply_sets, read_toml, validate
from equiloss.errors import InputError

RECIPES = Path(__file__).resolve().parent / "recipes"


class SplitRule(Config):
    """Which items train, select and test. Its seed is its own: runs with other seeds keep the same test items."""

    by: Literal["seed", "order", "given"] = "seed"
    """"seed": by a hash of item and seed; "order": train, then test, then validation, as the file stands (the diary's
    way); "given": each item's `split` field."""
    train: float = Field(default=0.85, gt=0, le=1)
    validation: float = Field(default=0.05, ge=0, lt=1)
    test: float = Field(default=0.10, ge=0, lt=1)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _whole(self) -> SplitRule:
        if abs(self.train + self.validation + self.test - 1) > 1e-6:
            raise ValueError("train, validation and test must add up to 1")
        return self


class Decoding(Config):
    """How answers are generated. Temperature 0 is greedy; the seed of an item comes from the run's seed and its id."""

    max_new_tokens: int = Field(default=256, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    top_k: int = Field(default=0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    repetition_penalty: float = Field(default=1.0, gt=0)
    """Above 1, tokens that the answer already has become less likely; below 1, more likely."""
    precision: Literal["fp32", "bf16"] = "fp32"
    batch_size: int | None = Field(default=None, ge=1, le=1 << 20)
    """Answers written together; none: as many as fit. Changes no greedy answer."""


class Recipe(Config):
    """How a base model is fine-tuned. A step takes `batch_size` items; its loss is the mean over all their tokens."""

    template: str = "alpaca"
    loss_on: Literal["response", "prompt+response"] = "response"
    end_of_text_loss: bool = True
    """Whether the end of an answer carries loss; a model that never learns to stop runs on to the token limit."""
    context: int | None = Field(default=None, ge=8)
    """Most tokens an item may have; none: the base model's context."""
    too_long: Literal["drop", "truncate"] = "drop"

    epochs: int = Field(default=6, ge=1, le=1 << 20)
    """The most epochs; `patience` may end the run sooner."""
    patience: int | None = Field(default=1, ge=1)
    """Stop after so many epochs without a lower validation loss; none: run all epochs."""
    select: Literal["best", "last"] = "best"
    """Which epoch's weights are kept: the one with the lowest validation loss, or the last."""
    answer_every_epoch: bool = False
    """Answer the test after each epoch too, in results/NAME.e1.jsonl, NAME.e2.jsonl, ...: is early stopping right?"""
    validation_items: int | None = Field(default=None, ge=1)
    """Select by the first so many validation items alone, as some scripts do; none: by all of them."""

    batch_size: int = Field(default=16, ge=1, le=1 << 20)
    lr: float = Field(default=3e-4, gt=0)
    """Or "0.1 x base": a multiple of the rate at which the base's training ended."""
    lr_of_base: float | None = Field(default=None, gt=0)
    """That multiple, until the base is known; a run's record has the rate itself in `lr`, and none here."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """After the warm-up: constant, or falling to `floor` over the rest of all `epochs`."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps of all `epochs` in which the learning rate rises linearly."""
    floor: float = Field(default=0.1, ge=0, le=1)
    """Where the learning rate ends, as a share of `lr`."""
    weight_decay: float = Field(default=0.1, ge=0)
    decay_on: Literal["matrices", "everything"] = "matrices"
    """What decays: weight matrices alone, or every parameter, as a bare AdamW(model.parameters()) does."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    eps: float = Field(default=1e-8, gt=0)
    clip_norm: float | None = Field(default=1.0, gt=0)
    """The norm that a step's gradient is clipped to; none: no clipping."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    untie_head: bool = False
    """Give a base with a tied head one of its own, a copy of its embedding, that training moves by itself."""
    noise: float = Field(default=0.0, ge=0)
    """Gaussian noise added to the base weights before training, relative to each matrix's standard deviation."""
    order_seed: int | None = Field(default=None, ge=0)
    dropout_seed: int | None = Field(default=None, ge=0)
    noise_seed: int | None = Field(default=None, ge=0)
    """Seeds of the order of the data, of dropout and of the noise; none: the run's seed."""

    lora_rank: int | None = Field(default=None, ge=1)
    """Train low-rank additions to every matrix of the blocks instead of the weights themselves; none: all weights."""
    lora_alpha: float = Field(default=16.0, gt=0)

    precision: Literal["fp32", "bf16"] = "fp32"
    device: str = "auto"
    threads: int | None = Field(default=None, ge=1)
    """CPU threads; none: what OMP_NUM_THREADS says, else one per core."""
    micro_batch_tokens: int = Field(default=8192, ge=1)
    """About how many tokens go through the model at once: bounds memory; changes no result but by rounding."""

    split: SplitRule = SplitRule()
    decoding: Decoding = Decoding()

    @model_validator(mode="before")
    @classmethod
    def _relative_rate(cls, fields: Any) -> Any:
        rate: object = fields.get("lr") if isinstance(fields, dict) else None  # pyright: ignore
        match = re.fullmatch(r"\s*([\d.eE+-]+)\s*[x×*]\s*base\s*", rate) if isinstance(rate, str) else None
        if match is None:
            return fields  # pyright: ignore
        return {key: value for key, value in fields.items() if key != "lr"} | {"lr_of_base": match[1]}

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.split.by != "given" and not self.split.validation and self.select == "best":
            raise ValueError('select "best" needs validation items; set select to "last" or split.validation above 0')
        return self


def names() -> list[str]:
    """The shipped recipes, sorted."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load(name: str, sets: Sequence[str] = ()) -> Recipe:
    """A shipped recipe by its name, or a user's TOML file by its path, with `--set KEY=VALUE` overrides on top.

    Raises: InputError when there is none, or when a field is unknown or takes something else.
    """
    path = Path(name) if "/" in name or name.endswith(".toml") else RECIPES / f"{name}.toml"
    if not path.exists():
        raise InputError(f"no recipe {name!r}", f"known: {', '.join(names())}; or give a TOML file")
    where = f"recipe {name}" + (" with --set" if sets else "")
    return validate(Recipe, apply_sets(read_toml(path), sets), where)
