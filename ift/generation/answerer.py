"""Models that can answer: a fine-tuned checkpoint, or any Hugging Face causal language model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from equiloss.config import validate
from equiloss.console import say
from equiloss.errors import InputError
from equiloss.files import sha256_file
from equiloss.records.response import Example, Response
from ift.generation.checkpoint_answerer import OnAnswer, answer, answerable
from ift.prompts import load as load_template
from ift.recipe import Decoding
from pretrain.model import checkpoint
from pretrain.model.checkpoint import Checkpoint


class Answerer(Protocol):
    """A model with its tokenizer, its template and its decoding."""

    decoding: Decoding
    about: dict[str, Any]
    """What the record says of the model."""
    template_name: str
    template_sha256: str

    def answerable(self, examples: Sequence[Example]) -> tuple[list[Example], dict[str, int]]:
        """The items whose prompt leaves room to answer, and the others' ids with the tokens of their prompts."""
        ...

    def answer(
        self, examples: Sequence[Example], generator: str, seed: int, on_answer: OnAnswer | None = None
    ) -> list[Response]:
        """A response to each item, in their order."""
        ...


def open_answerer(model: str, template: str | None, decoding: dict[str, Any], device: torch.device) -> Answerer:
    """Open a directory of `ift run`, a checkpoint.pt, or a Hugging Face model (a directory or a name on the Hub).

    `decoding` overrides what the model was trained with. Raises: InputError when it is none of these.
    """
    path = Path(model)
    if path.is_dir() and (path / "checkpoint.pt").exists():
        path = path / "checkpoint.pt"
    if path.is_file():
        return OwnModel(path, template, decoding, device)
    if path.is_dir() and not (path / "config.json").exists():
        raise InputError(f"{model}: holds neither checkpoint.pt nor config.json", "name a model's directory")
    if not path.is_dir() and (model.count("/") != 1 or path.suffix == ".pt"):
        raise InputError(f"{model}: no such model", "name a directory, a checkpoint.pt, or OWNER/NAME on the Hub")
    from ift.generation.huggingface_answerer import HubModel

    return HubModel(model, template, decoding, device)


def open_base(path: Path, name: str, models: Path) -> Checkpoint:
    """A base model: a checkpoint.pt, a directory with one, or a GPT-2-layout Hugging Face directory.

    The last is written as `models`/NAME.base/checkpoint.pt, once. Raises: InputError when it is none of these.
    """
    if not path.is_dir():
        return checkpoint.load(path)
    if (path / "checkpoint.pt").exists():
        return checkpoint.load(path / "checkpoint.pt")
    from pretrain.exchange import importing

    found = importing.read(path)
    target = models / f"{name}.base" / "checkpoint.pt"
    if target.exists():
        known = checkpoint.load(target)
        if (known.run.get("source") or {}).get("sha256") == sha256_file(found.weights):
            return known
    importing.import_checkpoint(path, target)
    say(f"{path}: a {found.layout} model, taken over as {target}")
    return checkpoint.load(target)


class OwnModel:
    """A checkpoint of this suite."""

    def __init__(self, path: Path, template: str | None, decoding: dict[str, Any], device: torch.device) -> None:
        self.checkpoint = checkpoint.load(path, device)
        run = self.checkpoint.run
        trained = run.get("recipe") or {}
        if template is None:
            template = trained.get("template", "alpaca")
            if run.get("kind") != "ift":
                say(f"{path} was not fine-tuned by `ift run`: using the template alpaca")
        self.template = load_template(str(template))
        known = run.get("template", {}).get("sha256") if run.get("kind") == "ift" else None
        if known is not None and known != self.template.sha256:
            say(f"note: the template {self.template.name} is not the one that {path} was trained with")
        self.template_name, self.template_sha256 = self.template.name, self.template.sha256
        self.decoding = validate(Decoding, {**(trained.get("decoding") or {}), **decoding}, "decoding")
        self.about = {"kind": "checkpoint", "path": str(path), "sha256": self.checkpoint.sha256, "run": run}

    def answerable(self, examples: Sequence[Example]) -> tuple[list[Example], dict[str, int]]:
        """See Answerer."""
        return answerable(examples, self.template, self.checkpoint.encoding, self.checkpoint.config.context)

    def answer(
        self, examples: Sequence[Example], generator: str, seed: int, on_answer: OnAnswer | None = None
    ) -> list[Response]:
        """See Answerer."""
        return answer(
            self.checkpoint.model,
            self.checkpoint.encoding,
            self.template,
            examples,
            self.decoding,
            generator=generator,
            seed=seed,
            on_answer=on_answer,
        )
