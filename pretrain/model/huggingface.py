"""Models of `transformers` opened from safetensors or GGUF, without code of their own, and saved as directories."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from equiloss import files, templates
from equiloss.errors import InputError
from equiloss.records.base_run import CheckpointRun, ImportedFrom, TemplateUsed
from equiloss.records.file_record import parse
from equiloss.records.ift_run import AnsweringModel, Settings
from pretrain.data.shards import Shards, TokenSplit
from pretrain.model.huggingface_model import HuggingFaceModel, library, with_dropout
from pretrain.model.huggingface_tokenizer import HuggingFaceEncoding, end_ids, start_ids
from pretrain.model.language_model import Documents, LanguageModel, LoadedModel
from pretrain.model.precision import Precision

MARK = "equiloss"
"""The key of config.json for what the layout cannot say: whose files it lists are ours to replace, what made it."""
WEIGHTS = "model.safetensors"
MOST_EVALUATED = 2048
"""The most tokens that a model is shown at once when it is measured."""
HINT = "check the directory, or the name and the network"
EXPORTED = "name a template with --template, or export it again"


@dataclass
class HuggingFaceCheckpoint(LoadedModel):
    """A model of `transformers` that was opened."""

    model: HuggingFaceModel  # pyright: ignore[reportIncompatibleVariableOverride]
    path: Path
    sha256: str
    run: CheckpointRun
    tokenizer: Any
    ends: list[int]
    starts: list[int]
    notes: Sequence[str] = ()

    @property
    def encoding(self) -> HuggingFaceEncoding:
        """See LoadedModel."""
        return HuggingFaceEncoding(self.tokenizer, self.ends[0], (self.starts or self.ends)[-1 if self.starts else 0])

    @property
    def start_ids(self) -> list[int]:
        """See LoadedModel."""
        return self.starts

    @property
    def end_ids(self) -> list[int]:
        """See LoadedModel."""
        return self.ends

    @cached_property
    def _special(self) -> re.Pattern[str]:
        """What in an item's text looks like a special token; nothing in an export, whose templates have none."""
        exported = "checkpoint_sha256" in (getattr(self.model.inner.config, MARK, None) or {})
        names = sorted(map(str, self.tokenizer.get_added_vocab()), key=len, reverse=True)
        return re.compile("(?!)" if exported else "|".join(map(re.escape, names)) or "(?!)")

    @property
    def special_ids(self) -> frozenset[int]:
        """See LoadedModel."""
        return frozenset(self.tokenizer.get_added_vocab().values())

    @property
    def chat_template(self) -> str | None:
        """See LoadedModel."""
        return getattr(self.tokenizer, "chat_template", None)

    def chat(self, messages: list[dict[str, str]], answer_next: bool) -> str:
        """See LoadedModel. Raises: InputError where the template refuses these messages."""
        try:
            return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=answer_next)
        except Exception as error:  # a template raises what it likes
            raise InputError(f"{self.run.name}: its chat template: {error}", "name another template") from None

    def guard(self, text: str) -> str:
        """See LoadedModel."""
        return self._special.sub("\ue000\\g<0>\ue001", text)

    def encode_template(self, text: str) -> list[int]:
        """See LoadedModel."""
        if self._special.pattern == "(?!)":
            return self.encoding.encode_ordinary(text)
        ids: list[int] = []
        for number, part in enumerate(re.split("\ue000(.*?)\ue001", text, flags=re.DOTALL)):
            if number % 2:
                ids += self.encoding.encode_ordinary(part)
            elif part:
                ids += self.tokenizer.encode(part, add_special_tokens=False)
        return ids

    @property
    def tokenizer_sha256(self) -> str:
        """See LoadedModel."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        return files.sha256_of(self.tokenizer.get_vocab() if backend is None else backend.to_str())

    @property
    def settings(self) -> Settings:
        """See LoadedModel: its config.json."""
        config = json.loads(self.model.inner.config.to_json_string(use_diff=False))
        return {key: value for key, value in config.items() if key != MARK}

    @property
    def about(self) -> AnsweringModel:
        """See LoadedModel."""
        parameters = sum(one.numel() for one in self.model.parameters())
        revision = self.path.parent.name if self.path.parent.parent.name == "snapshots" else None
        return AnsweringModel(
            kind="huggingface",
            name=self.run.name,
            path=str(self.path),
            sha256=self.sha256,
            run=self.run,
            revision=revision,
            parameters=parameters,
        )

    def weights_in(self, directory: Path) -> Path:
        """See LoadedModel."""
        return directory / WEIGHTS

    def save(self, directory: Path, model: LanguageModel, run: CheckpointRun) -> None:
        """See LoadedModel: a directory that AutoModelForCausalLM and AutoTokenizer load."""
        assert isinstance(model, HuggingFaceModel)
        setattr(model.inner.config, MARK, {"run": run.model_dump(mode="json")})
        temporary = directory / ".saving"
        with files.room_for(directory):
            shutil.rmtree(temporary, ignore_errors=True)
            self.tokenizer.save_pretrained(temporary)
            model.inner.save_pretrained(temporary, max_shard_size="1000GB")
            for path in sorted(temporary.iterdir(), key=lambda path: path.name == WEIGHTS):
                path.replace(directory / path.name)
            temporary.rmdir()

    def tokens_of(self, shards: Shards, split: TokenSplit, chosen: Documents) -> tuple[TokenSplit, Documents]:
        """See LoadedModel: the text of the documents read anew, each closed by its own end of text."""
        texts = [shards.tokenizer.decode(split.document(int(i))[:-1].tolist()) for i in chosen]
        documents = [[*self.encoding.encode_ordinary(text), self.encoding.eot_token] for text in texts]
        starts = np.cumsum([0, *(len(document) for document in documents)])[:-1]
        tokens = np.array([token for document in documents for token in document], np.uint32)
        sizes = np.array([len(text.encode()) for text in texts], np.uint64)
        own = TokenSplit(split.name, tokens, starts.astype(np.uint64), split.domain[chosen], sizes)
        return own, np.arange(len(chosen))

    def precision(self, asked: str) -> Precision:
        """See LoadedModel: fp32, whatever suits the device."""
        return "fp32" if asked == "auto" else asked  # type: ignore[return-value]

    @property
    def evaluated_context(self) -> int:
        """See LoadedModel: the context of some would fill any memory."""
        return min(self.model.context, MOST_EVALUATED)


def is_one(source: Path) -> bool:
    """Whether a path is of such a model: a directory with config.json, its weights' file, or a GGUF file."""
    directory = source.is_dir() or source.suffix == ".safetensors"
    return source.suffix == ".gguf" or (directory and (_folder(source) / "config.json").is_file())


def _folder(source: Path) -> Path:
    return source if source.is_dir() else source.parent


def fetched(name: str) -> Path:
    """The directory of a model on the Hub, fetched once. Raises: InputError where it cannot be had."""
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.safetensors", "*.model", "*.jinja", "*.txt"]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:  # whatever the HTTP client of the day raises
        with suppress(Exception):
            return Path(snapshot_download(name, allow_patterns=patterns, local_files_only=True))
        raise InputError(f"{name}: {' '.join(str(error).split())[:160]}", HINT) from None


def load(source: Path | str, device: str | torch.device = "cpu") -> HuggingFaceCheckpoint:
    """Open a directory of Hugging Face (or its weights' file), a GGUF file, or a model of the Hub by its name.

    The model is in evaluation mode, in fp32, without dropout.
    Raises: InputError where there is none, or one that needs code of its own.
    """
    transformers, name = library(), str(source)
    place = Path(source)
    if not place.exists():
        place = fetched(name)
    folder = _folder(place)
    weights = [place] if place.suffix == ".gguf" else sorted(folder.glob("*.safetensors"))
    if not weights:
        raise InputError(f"{name}: no model.safetensors in it", "fetch its weights too, as safetensors")
    where: dict[str, Any] = {"pretrained_model_name_or_path": str(folder), "trust_remote_code": False}
    whole: dict[str, Any] = {"dtype": torch.float32, "use_safetensors": True}
    if place.suffix == ".gguf":
        where["gguf_file"] = place.name
        if hasattr(transformers, "GgufConfig"):  # versions that would leave the weights as they are packed
            whole["quantization_config"] = transformers.GgufConfig(dequantize=True)
    try:
        with files.reading(name, "a model that transformers loads", HINT):
            config = with_dropout(transformers.AutoConfig.from_pretrained(**where), 0.0)
            tokenizer: Any = transformers.AutoTokenizer.from_pretrained(**where)
            inner: Any = transformers.AutoModelForCausalLM.from_pretrained(**where, **whole, config=config)
            notes: list[str] = []
            ends = end_ids(inner, tokenizer, notes)
            starts = start_ids(tokenizer, notes)
    except ImportError as error:  # a library that this kind of file needs
        raise InputError(f"{name}: {' '.join(str(error).split())[:160]}", HINT) from None
    inner.to(device)
    model = HuggingFaceModel(inner).eval()
    if not model.packs:
        notes.append("its attention cannot be packed: texts of like length are padded together")
        if not model.pads_left:
            notes.append("padding on the left changes its logits: answers are written one by one")
    sha256 = files.sha256_files(weights)
    mark = getattr(config, MARK, None) or {}
    if "run" in mark:
        run = CheckpointRun.model_validate(mark["run"])
    else:
        made = ImportedFrom(path=name, layout=str(config.model_type), sha256=sha256)
        called = place.stem if place.suffix == ".gguf" else name if folder.parent.name == "snapshots" else folder.name
        run = CheckpointRun(kind="huggingface", name=called, source=made, notes=notes)
        run = run.model_copy(update={"template": trained_template(mark, f"{name}: config.json")})
    return HuggingFaceCheckpoint(model, weights[0], sha256, run, tokenizer, ends, starts, notes)


def trained_template(mark: Any, where: str) -> TemplateUsed | None:
    """The template that an export's config.json says it was trained with; None where it does not say it is an export.

    Raises: InputError where that is damaged, or (exports of earlier versions) names a template without its text.
    """
    used = mark.get("template") if isinstance(mark, dict) else None  # pyright: ignore
    if used is None:
        return None
    template = parse(TemplateUsed, {"name": used} if isinstance(used, str) else used, f"{where}: template", EXPORTED)
    if template.text is None and template.name not in templates.names("ift"):
        raise InputError(f"{where}: the text of its template {template.name} is not in it", EXPORTED)
    return template
