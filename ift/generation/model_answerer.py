"""Answers of any model that can be opened: generated together, from the prompts of training."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from pydantic import JsonValue

from equiloss.config import validate
from equiloss.console import say
from equiloss.records.ift_run import RunTemplate
from equiloss.records.response import Example, Response
from equiloss.seeds import stream
from ift.generation.answerer import Answerer, OnAnswer, response_to
from ift.prompts import OWN, Template
from ift.prompts import load as load_template
from ift.recipe import Decoding
from pretrain.model.generation import Generation, generate
from pretrain.model.language_model import LoadedModel
from pretrain.model.opening import open_model


class ModelAnswerer(Answerer):
    """What `ift run` fine-tuned, or a base model. Greedy unless `decoding` says else."""

    def __init__(self, loaded: LoadedModel, template: Template, decoding: Decoding) -> None:
        self.loaded, self.model, self.context = loaded, loaded.model, loaded.model.context
        if decoding.precision == "bf16":
            self.model = copy.deepcopy(loaded.model)
            for parameter in self.model.parameters():  # not its buffers: rotary angles need fp32
                parameter.data = parameter.data.to(torch.bfloat16)
        self.template, self.decoding = template, decoding
        self.about_template = RunTemplate(name=template.name, sha256=template.sha256)
        self.about = loaded.about

    def prompt_ids(self, example: Example) -> list[int]:
        """The ids that training put before the answer."""
        return self.template.prompt_ids(example, self.loaded.encode_template)

    def answer(
        self, examples: Sequence[Example], generator: str, seed: int, on_answer: OnAnswer | None = None
    ) -> list[Response]:
        """See Answerer."""

        def respond(number: int, written: Generation) -> Response:
            text = self.template.answer(self.loaded.encoding.decode(written.tokens))
            return response_to(examples[number], text, generator, seed, written.finish_reason, len(written.tokens))

        ends = self.loaded.end_ids if self.template.end is None else [self.template.end, *self.loaded.end_ids]
        answers = generate(
            self.model,
            [self.prompt_ids(example) for example in examples],
            eos_id=ends,
            seeds=[stream(seed, "decoding", example.id) for example in examples],
            **self.decoding.model_dump(exclude={"precision"}),
            on_done=None if on_answer is None else lambda number, written: on_answer(respond(number, written)),
        )
        return [respond(number, written) for number, written in enumerate(answers)]


def open_answerer(
    model: str, template: str | None, decoding: Mapping[str, JsonValue], device: torch.device
) -> ModelAnswerer:
    """Open a directory of `ift run`, a checkpoint.pt, or a Hugging Face model (a directory or a name on the Hub).

    With the template and decoding that it was fine-tuned with, where it was, or with others.
    Raises: InputError when it is none of these.
    """
    loaded = open_model(model, device)
    run, used = loaded.run, loaded.run.template
    text: str | None = None
    if template is None:
        own = OWN if loaded.chat_template else "alpaca"
        template = str((run.recipe or {}).get("template", own)) if used is None else used.name
        if used is None:
            what = "its own chat template" if template == OWN else template
            say(f"{model} does not say which template it was fine-tuned with: using {what}; --template names another")
        elif template != OWN:
            text = used.source()
    chosen = load_template(template, text, loaded)
    if used is not None and used.sha256 not in (None, chosen.sha256):
        say(f"note: the template {chosen.name} is not the one that {model} was trained with")
    trained = (run.recipe or {}).get("decoding")
    fields = {**(trained if isinstance(trained, dict) else {}), **decoding}
    return ModelAnswerer(loaded, chosen, validate(Decoding, fields, "decoding"))
