"""Answers of any Hugging Face causal language model, by `transformers`' own generation."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Literal

import torch
from pydantic import JsonValue

from equiloss.config import validate
from equiloss.console import say
from equiloss.errors import InputError
from equiloss.files import sha256_of
from equiloss.records.ift_run import AnsweringModel, RunTemplate
from equiloss.records.response import Example, Response, Turn
from equiloss.seeds import stream
from ift.generation.answerer import Answerer, OnAnswer, response_to
from ift.prompts import load as load_template
from ift.recipe import Decoding
from pretrain.exchange.export import MARK, trained_template

OWN = "own"
"""The template name that stands for the tokenizer's own chat template."""
BATCH_SIZE = 16
Written = tuple[list[int], Literal["stop", "length"]]
"""The tokens of an answer, and why it ended."""


class HuggingFaceAnswerer(Answerer):
    """A model that `AutoModelForCausalLM` loads, with no code of its own."""

    def __init__(
        self, name: str, template: str | None, decoding: Mapping[str, JsonValue], device: torch.device
    ) -> None:
        try:
            transformers: Any = import_module("transformers")
        except ImportError:
            raise InputError(
                "a Hugging Face model needs the `transformers` package", "pip install transformers"
            ) from None
        self.decoding = validate(Decoding, dict(decoding), "decoding")
        dtype = torch.bfloat16 if self.decoding.precision == "bf16" else torch.float32
        try:
            self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(name)
            self.model: Any = transformers.AutoModelForCausalLM.from_pretrained(
                name, dtype=dtype, use_safetensors=True, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            first = " ".join(str(error).split())[:160]
            raise InputError(f"{name}: {first}", "check the directory, or the name and the network") from None
        self.model.to(device).eval()
        self.end_ids = _end_ids(self.model, self.tokenizer)
        self.pad_id: int = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.end_ids[0]
        self.context = int(getattr(self.model.config, "max_position_embeddings", 0) or 1 << 30)
        self.transformers = transformers
        export: Any = getattr(self.model.config, MARK, None)
        self.ordinary = isinstance(export, dict)  # trained on texts in which nothing is a special token
        special = [token.content for token in self.tokenizer.added_tokens_decoder.values() if token.special]
        self.special = re.compile("|".join(re.escape(token) for token in sorted(special, reverse=True)))
        chat: str | None = getattr(self.tokenizer, "chat_template", None)
        text: str | None = None
        if template is None:
            trained = trained_template(export, f"{name}: config.json")
            template = trained.name if trained is not None else OWN if chat else "alpaca"
            text = None if trained is None else trained.source()
            what = "its own chat template" if template == OWN else f"the template {template}"
            say(f"{name}: using {what}; --template names another")
        self.template = None if template == OWN else load_template(template, text)
        if self.template is None and not chat:
            raise InputError(f"{name} has no chat template of its own", "name another with --template")
        sha256 = sha256_of(chat) if self.template is None else self.template.sha256
        self.about_template = RunTemplate(name=template, sha256=sha256)
        self.about = AnsweringModel(
            kind="huggingface",
            name=name,
            revision=getattr(self.model.config, "_commit_hash", None),
            parameters=int(self.model.num_parameters()),
        )

    def prompt_ids(self, example: Example) -> list[int]:
        """The ids that the model reads before it answers."""
        hidden: dict[str, str] = {}
        if not self.ordinary and self.special.pattern:
            example = Example.model_validate(_replaced(example.model_dump(), self.special, hidden))
        if self.template is not None:
            return self.template.prompt_ids(example, lambda text: self._encode(text, hidden))
        messages: list[dict[str, str]] = [{"role": "system", "content": example.system}] if example.system else []
        for turn in (*example.history, example):
            asked = f"{turn.instruction}\n\n{turn.input}" if turn.input else turn.instruction
            messages.append({"role": "user", "content": asked})
            if isinstance(turn, Turn):
                messages.append({"role": "assistant", "content": turn.response})
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return self._encode(text, hidden)

    def _encode(self, text: str, hidden: Mapping[str, str]) -> list[int]:
        """The ids of a text in which special tokens are the template's: an item's, which are `hidden`, stay text.

        In an export of this project there are none: it was trained without.
        """
        if not hidden:
            return self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=self.ordinary)
        ids: list[int] = []
        place = 0
        for match in (*self.special.finditer(text), None):
            stretch = text[place : match.start() if match else None]
            for stand_in, token in hidden.items():
                stretch = stretch.replace(stand_in, token)
            ids += self.tokenizer.encode(stretch, add_special_tokens=False, split_special_tokens=True)
            if match:
                ids.append(self.tokenizer.convert_tokens_to_ids(match[0]))
                place = match.end()
        return ids

    @torch.inference_mode()
    def answer(
        self, examples: Sequence[Example], generator: str, seed: int, on_answer: OnAnswer | None = None
    ) -> list[Response]:
        """See Answerer. Sampling goes item by item, each with its seed, so that no answer depends on its batch."""
        prompts = {one.id: self.prompt_ids(one) for one in examples}
        done: dict[str, Response] = {}
        for batch in self._batches(examples, prompts):
            for example, (tokens, reason) in zip(batch, self._write(batch, prompts, seed), strict=True):
                done[example.id] = response_to(example, self._text(tokens), generator, seed, reason, len(tokens))
                if on_answer is not None:
                    on_answer(done[example.id])
        return [done[one.id] for one in examples]

    def _batches(self, examples: Sequence[Example], prompts: dict[str, list[int]]) -> list[list[Example]]:
        """Items by length; those that the context's end may cut short go alone, so that they shorten no other's."""
        size = 1 if self.decoding.temperature else self.decoding.batch_size or BATCH_SIZE
        room = self.context - self.decoding.max_new_tokens
        order = sorted(examples, key=lambda one: -len(prompts[one.id]))
        alone = [one for one in order if len(prompts[one.id]) > room]
        others = order[len(alone) :]
        return [[one] for one in alone] + [others[start : start + size] for start in range(0, len(others), size)]

    def _text(self, tokens: list[int]) -> str:
        """The answer, as written: no spaces tidied, the blank that the template puts before it taken off."""
        text = str(self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))
        return text if self.template is None else self.template.answer(text)

    def _write(self, batch: Sequence[Example], prompts: dict[str, list[int]], seed: int) -> list[Written]:
        width = max(len(prompts[one.id]) for one in batch)
        rows = [prompts[one.id] for one in batch]
        ids = torch.tensor([[self.pad_id] * (width - len(row)) + row for row in rows], device=self.model.device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=self.model.device)
        chosen = self.decoding
        config = self.transformers.GenerationConfig(
            max_new_tokens=max(1, min(chosen.max_new_tokens, self.context - width)),
            eos_token_id=self.end_ids,
            pad_token_id=self.pad_id,
            do_sample=bool(chosen.temperature),
        )
        if chosen.temperature:
            torch.manual_seed(stream(seed, "decoding", batch[0].id))
            config.update(temperature=chosen.temperature, top_k=chosen.top_k, top_p=chosen.top_p)
        processors: list[Any] = []
        if chosen.repetition_penalty != 1:
            penalty = self.transformers.RepetitionPenaltyLogitsProcessor
            processors.append(penalty(chosen.repetition_penalty, prompt_ignore_length=width))
        written = self.model.generate(
            ids, attention_mask=mask, generation_config=config, logits_processor=processors or None
        )
        return [self._ended(row) for row in written[:, width:].tolist()]

    def _ended(self, ids: list[int]) -> Written:
        place = next((i for i, one in enumerate(ids) if one in self.end_ids), None)
        return (ids, "length") if place is None else (ids[:place], "stop")


def _replaced(value: Any, special: re.Pattern[str], hidden: dict[str, str]) -> Any:
    """`value` with stand-ins, which nothing else can be, for what looks like a special token in its texts."""
    if isinstance(value, str):

        def stand_in(match: re.Match[str]) -> str:
            name = f"\x00{secrets.randbits(64)}\x00"
            hidden[name] = match[0]
            return name

        return special.sub(stand_in, value)
    if isinstance(value, dict):
        return {key: _replaced(part, special, hidden) for key, part in value.items()}  # pyright: ignore
    return [_replaced(part, special, hidden) for part in value] if isinstance(value, (list, tuple)) else value  # pyright: ignore


def _end_ids(model: Any, tokenizer: Any) -> list[int]:
    """Where the model says it ends: its generation config's ids, and its tokenizer's."""
    own = model.generation_config.eos_token_id
    ids = [] if own is None else list(own) if isinstance(own, (list, tuple)) else [own]
    if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in ids:
        ids.append(tokenizer.eos_token_id)
    if not ids:
        raise InputError("the model has no end-of-text id", "its tokenizer needs an eos_token")
    return [int(one) for one in ids]
