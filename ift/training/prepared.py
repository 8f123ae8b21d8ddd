"""What several fine-tunings of one base on one data set share: the items, split and encoded for that base."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from equiloss.console import say, warn
from equiloss.errors import InputError
from equiloss.files import sha256_of
from equiloss.numerals import plain
from equiloss.records.ift_run import RunData, TooLong
from equiloss.records.response import Example
from ift.data import formats, overlap, splits
from ift.generation.answerer import with_room
from ift.prompts import Template
from ift.prompts import load as load_template
from ift.recipe import Recipe
from ift.training.batches import Encoded, encode_examples
from pretrain.config import TrainConfig
from pretrain.model import checkpoint
from pretrain.model.huggingface import is_one
from pretrain.model.language_model import LanguageModel, LoadedModel
from pretrain.training.optimizers import lr_at


@dataclass(frozen=True)
class Prepared:
    """What several runs on the same base and data share."""

    base: LoadedModel
    recipe: Recipe
    template: Template
    context: int
    parts: dict[str, list[Example]]
    train: list[Encoded]
    validation: list[Encoded]
    about_data: RunData
    """What the record says of the data."""

    def model(self, device: torch.device) -> LanguageModel:
        """The base as fine-tuning begins with it: the recipe's dropout, and a head of its own where that is asked."""
        model = self.base.model.with_dropout(self.recipe.dropout).to(device)
        return model.untied() if self.recipe.untie_head else model

    @property
    def selecting(self) -> list[Encoded]:
        """The validation items whose loss selects the epoch."""
        return self.validation[: self.recipe.validation_items]


def take_over(path: Path, name: str, models: Path) -> Path:
    """The path at which `open_model` opens a base; what `pretrain import` reads is taken over first.

    What the own decoder can be is written as `models`/NAME.base/checkpoint.pt, once, and taken from there.
    Raises: InputError when it is neither.
    """
    if not path.is_dir() or (path / checkpoint.NAME).exists():
        return path
    from pretrain.exchange import importing

    try:
        model = importing.read(path)
    except InputError:
        if is_one(path):
            return path
        raise
    target = models / f"{name}.base" / checkpoint.NAME
    known = checkpoint.made_by(target)
    if known is None or known.source is None or known.source.sha256 != model.sha256:
        importing.write(model, path, target)
        say(f"{path}: a {model.layout} model, taken over as {target}", *(f"note: {note}" for note in model.notes))
    return target


def default_data(base: LoadedModel) -> tuple[str, str]:
    """The data of a run that names none, and why: the instructions of the world that the base was trained on.

    A base of other text gets the built-in skills (copy, reverse, count, ...), which need no knowledge of a world.
    """
    data = base.run.data
    name = data.source.name if data and data.source else ""
    if name.startswith(formats.WORLD):
        return name, f"no --data given: using the instructions of {name}, which the base was trained on"
    return (
        f"{formats.WORLD}demo?fact_items=0",
        "no --data given and the base was not trained on a built-in world: using the built-in skills "
        "(copy, reverse, count, ...); give --data FILE for instructions of your own",
    )


def last_lr(base: LoadedModel) -> float:
    """The learning rate at which a base's training ended, by its record. Raises: InputError where that lacks it."""
    if base.run.last_lr is not None:
        return base.run.last_lr
    known = {name: value for name, value in base.run.train_settings.items() if name in TrainConfig.model_fields}
    with suppress(ValueError):
        if {"lr", "schedule", "warmup", "floor", "steps"} <= known.keys():
            settings = TrainConfig.model_validate(known)
            return lr_at((base.run.steps or settings.steps) - 1, settings)
    raise InputError(f"{base.path}: its record has no last learning rate", "give lr as a number")


def prepare(
    base: LoadedModel, source: str, recipe: Recipe, against: Path | None = None, *, skip_bad: bool = False
) -> Prepared:
    """Read, split and encode the data for a base model.

    `against`: shards of the pretraining text, to find overlap. `skip_bad`: leave out items that cannot be read or have
    no answer.

    Raises: InputError when the data, the template or the recipe does not fit.
    """
    if recipe.context is not None and recipe.context > base.model.context:
        raise InputError(
            f"the recipe's context of {recipe.context} exceeds the base's {base.model.context}", "lower context"
        )
    if recipe.lr_of_base is not None:
        rate = recipe.lr_of_base * last_lr(base)
        say(f"learning rate: {plain(recipe.lr_of_base)} x the base's last = {plain(rate)}")
        recipe = recipe.model_copy(update={"lr": rate, "lr_of_base": None})
    context = recipe.context or base.model.context
    template = load_template(recipe.template, model=base)
    examples = formats.read_examples(source, skip_bad=skip_bad)
    parts = splits.split_examples(examples, recipe.split)
    blank: list[int] = []
    for part in ("train", "validation") if recipe.loss_on == "response" else ():
        blank = [examples.index(one) + 1 for one in parts[part] if not one.reference.strip()]
        if blank:
            places = ", ".join(f"item {number}" for number in blank[:5])
            warn(f"{source}: {len(blank)} {part} items have no answer and are left out ({places})")
            parts[part] = [one for one in parts[part] if one.reference.strip()]
    if not parts["train"]:
        raise InputError(f"{source}: no training item has an answer to learn", "give each an output")
    if recipe.select == "best" and not parts["validation"]:
        which = "validation item has an answer" if blank else "item is for validation"
        raise InputError(f"{source}: no {which}, so none can select the epoch", "give some, or set select=last")
    encode, end_id = base.encode_template, base.encoding.eot_token
    encoded: dict[str, list[Encoded]] = {}
    too_long: dict[str, list[TooLong]] = {}
    for part in ("train", "validation"):
        encoded[part], too_long[part] = encode_examples(
            parts[part],
            template,
            encode,
            end_id,
            context,
            loss_on=recipe.loss_on,
            end_of_text_loss=recipe.end_of_text_loss,
            truncate=recipe.too_long == "truncate",
        )
        if parts[part] and not encoded[part]:
            raise InputError(
                f"every {part} item is longer than the context of {context} tokens",
                "choose a shorter template (alpaca-short), or a base with a longer context",
            )
    test, others = with_room(parts["test"], lambda one: len(template.prompt_ids(one, encode)), context)
    too_long["test"] = [TooLong(id=id, tokens=tokens, action="dropped") for id, tokens in others.items()]
    found = overlap.report(parts, against)
    parts["test"] = test
    about_data = RunData(
        source=source,
        sha256=sha256_of([one.model_dump() for one in examples]),
        items={part: len(items) for part, items in parts.items()},
        split={part: tuple(one.id for one in items) for part, items in parts.items()},
        too_long={part: tuple(items) for part, items in too_long.items()},
        overlap=found,
        skip_bad=skip_bad,
    )
    return Prepared(base, recipe, template, context, parts, encoded["train"], encoded["validation"], about_data)
