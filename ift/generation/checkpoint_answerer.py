"""Answers of a model of this suite: generated together, from the prompts of training."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from pydantic import JsonValue

from equiloss.config import validate
from equiloss.console import say
from equiloss.records.ift_run import AnsweringModel, RunTemplate
from equiloss.records.response import Example, Response
from equiloss.seeds import stream
from ift.generation.answerer import Answerer, OnAnswer, response_to
from ift.prompts import Template
from ift.prompts import load as load_template
from ift.recipe import Decoding
from pretrain.model import checkpoint
from pretrain.model.checkpoint import Checkpoint
from pretrain.model.generation import Generation, generate


class CheckpointAnswerer(Answerer):
    """A checkpoint.pt: what `ift run` fine-tuned, or a base model. Greedy unless `decoding` says else."""

    def __init__(self, loaded: Checkpoint, template: Template, decoding: Decoding) -> None:
        self.model, self.encoding, self.context = loaded.model, loaded.encoding, loaded.config.context
        if decoding.precision == "bf16":
            self.model = copy.deepcopy(loaded.model).to(torch.bfloat16)
        self.template, self.decoding = template, decoding
        self.about_template = RunTemplate(name=template.name, sha256=template.sha256)
        self.about = AnsweringModel(kind="checkpoint", path=str(loaded.path), sha256=loaded.sha256, run=loaded.run)

    def prompt_ids(self, example: Example) -> list[int]:
        """The ids that training put before the answer."""
        return self.template.prompt_ids(example, self.encoding.encode_ordinary)

    def answer(
        self, examples: Sequence[Example], generator: str, seed: int, on_answer: OnAnswer | None = None
    ) -> list[Response]:
        """See Answerer."""

        def respond(number: int, written: Generation) -> Response:
            text = self.template.answer(self.encoding.decode(written.tokens))
            return response_to(examples[number], text, generator, seed, written.finish_reason, len(written.tokens))

        answers = generate(
            self.model,
            [self.prompt_ids(example) for example in examples],
            eos_id=self.encoding.eot_token,
            seeds=[stream(seed, "decoding", example.id) for example in examples],
            **self.decoding.model_dump(exclude={"precision"}),
            on_done=None if on_answer is None else lambda number, written: on_answer(respond(number, written)),
        )
        return [respond(number, written) for number, written in enumerate(answers)]


def open_checkpoint(
    path: Path, template: str | None, decoding: Mapping[str, JsonValue], device: torch.device
) -> CheckpointAnswerer:
    """Open a checkpoint.pt with the template and decoding that it was fine-tuned with, or with others."""
    loaded = checkpoint.load(path, device)
    used, recipe = loaded.run.template, loaded.run.recipe or {}
    if used is None and template is None:
        template = str(recipe.get("template", "alpaca"))
        say(f"{path} does not say which template it was fine-tuned with: using {template}")
    chosen = load_template(used.name, used.source()) if used and template is None else load_template(str(template))
    if used is not None and used.sha256 not in (None, chosen.sha256):
        say(f"note: the template {chosen.name} is not the one that {path} was trained with")
    trained = recipe.get("decoding")
    fields = {**(trained if isinstance(trained, dict) else {}), **decoding}
    return CheckpointAnswerer(loaded, chosen, validate(Decoding, fields, "decoding"))
