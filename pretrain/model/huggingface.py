"""Any causal language model that `transformers` loads from safetensors or GGUF with no code of its own.

Its layers attend through `transformers`' attention interface, so that texts are packed into one row and generation
keeps its keys and values as for the own decoder. Whether that works for an architecture is found out when a model is
opened: packed texts must give the logits of each alone. Where they do not, texts are padded to like lengths instead.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from equiloss import files, templates
from equiloss.errors import InputError
from equiloss.records.base_run import CheckpointRun, ImportedFrom, TemplateUsed
from equiloss.records.file_record import parse
from equiloss.records.ift_run import AnsweringModel, Settings
from equiloss.tokenizer import END_OF_TEXT
from pretrain.model.attention import Attend, Heads, causal_attention
from pretrain.model.cross_entropy import CHUNK_ELEMENTS
from pretrain.model.language_model import LanguageModel, LoadedModel
from pretrain.model.packing import Packed

MARK = "equiloss"
"""The key of config.json for what the layout cannot say: whose files it lists are ours to replace, what made it."""
ATTENTION = "equiloss"
"""The name under which `transformers` knows how models attend here."""
WEIGHTS = "model.safetensors"
SAME_LOGITS = 1e-4
"""By how much logits may differ that are computed in two ways, relative to the largest."""
UNPACKABLE = ("attention_chunk_size", "dual_chunk_attention_config")
"""Fields of config.json with which a token's place in the row matters to attention."""
CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
"""What the highest possible logit is called."""
ENDS = (END_OF_TEXT, "</s>", "<eos>", "<|end_of_text|>", "<|im_end|>", "<|eot_id|>")
"""What other tokenizers call the end of a text."""
HINT = "check the directory, or the name and the network"
EXPORTED = "name a template with --template, or export it again"
_attends: list[Attend] = [causal_attention]
"""How layers attend now: the last."""


def _attention(
    _: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """What `transformers` calls in every layer: query (B, H, T, D), key and value (B, K, T, D), to (B, T, H, D)."""
    if softcap or attention_mask is not None or more.get("s_aux") is not None or more.get("position_bias") is not None:
        raise NotImplementedError("attention that is more than softmax(QK')V")
    heads = Heads(query.shape[1], key.shape[1], scaling, sliding_window)
    qkv = torch.cat((query, key, value), dim=1).transpose(1, 2).flatten(2)
    return _attends[-1](qkv, heads, dropout).unflatten(-1, (heads.queries, -1)), None


@cache
def library() -> Any:
    """`transformers`, told how to attend. Raises: InputError where it is not installed."""
    try:
        transformers: Any = import_module("transformers")
    except ImportError:
        raise InputError("this model needs the `transformers` package", "pip install transformers") from None
    transformers.AttentionInterface.register(ATTENTION, _attention)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    return transformers


class HuggingFaceModel(LanguageModel):
    """A model of `transformers` behind the names of `LanguageModel`."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner
        self.shape = (0, 0, 0)
        self._examine()

    @torch.no_grad()
    def _examine(self) -> None:
        """Find out what its head does, and whether texts can be packed.

        Raises: InputError where the logits are not those of its head over its last hidden states.
        """
        inner, vocabulary = self.inner.eval(), self.head_weight.shape[0]
        lengths = (19, 12, 5) if self.context > 19 else (self.context, 3)
        texts = [[(7 * place + 31 * length) % (vocabulary - 1) for place in range(length)] for length in lengths]
        texts = [[*texts[0][:9], *text[9:]] for text in texts]  # some begin alike
        alone = [inner(input_ids=torch.tensor([text], device=self.device)).logits[0] for text in texts]
        hidden = self.backbone(torch.tensor(texts[:1], device=self.device))[0]
        large = hidden * 100  # a cap shows
        bare = getattr(inner.get_output_embeddings(), "bias", None) is None
        self.plain_head = bare and _same(F.linear(large, self.head_weight), self.head(large))
        if not _same(self.head(hidden), alone[0]):
            raise InputError(f"{type(inner).__name__}: its logits are not its head's", "it cannot be used here")
        usual = inner.config._attn_implementation
        seen: list[Heads] = []

        def attend(qkv: Tensor, heads: Heads, dropout: float) -> Tensor:
            seen.append(heads)
            self.shape = (len(seen), heads.keys, qkv.shape[-1] // (heads.queries + 2 * heads.keys))
            return packed.attend(qkv, heads, dropout)

        self.packs = False
        if not self._place_matters():
            packed = Packed(texts, device=self.device)
            with suppress(Exception):  # whatever an architecture makes of attention that it does not know
                inner.set_attn_implementation(ATTENTION)
                row = self.head(self.backbone(packed.ids, packed.positions, attend)[0])
                self.packs = all(
                    _same(row[index], logits) for index, logits in zip(packed.index, alone, strict=True)
                ) and bool(seen)
        if not self.packs:
            inner.set_attn_implementation(usual)

    def _place_matters(self) -> bool:
        config = self.inner.config.get_text_config().to_dict()
        rope = str(config.get("rope_parameters") or config.get("rope_scaling") or "")
        return any(config.get(name) for name in UNPACKABLE) or "longrope" in rope or "dynamic" in rope

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.head_weight.device

    @property
    def context(self) -> int:
        """See LanguageModel; without a limit of its own, 2^20."""
        config = self.inner.config.get_text_config()
        names = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
        return next((int(known) for name in names if (known := getattr(config, name, None))), 1 << 20)

    @property
    def cache_shape(self) -> tuple[int, int, int]:
        """See LanguageModel."""
        return self.shape

    @property
    def head_weight(self) -> Tensor:
        """See LanguageModel."""
        return self.inner.get_output_embeddings().weight

    @property
    def adaptable(self) -> nn.Module:
        """All but the head."""
        return self.inner.base_model

    def untied(self) -> HuggingFaceModel:
        """See LanguageModel."""
        head = self.inner.get_output_embeddings()
        if head.weight is self.inner.get_input_embeddings().weight:
            head.weight = nn.Parameter(head.weight.detach().clone())
            self.inner.config.tie_word_embeddings = False
            self.inner.all_tied_weights_keys = {}
        return self

    def backbone(self, ids: Tensor, positions: Tensor | None = None, attend: Attend | None = None) -> Tensor:
        """See LanguageModel."""
        where = {} if positions is None else {"position_ids": positions}
        with _attending(attend or causal_attention):
            return self.inner.base_model(input_ids=ids, use_cache=False, **where).last_hidden_state

    def head(self, hidden: Tensor) -> Tensor:
        """See LanguageModel: with what some architectures do to logits behind the product."""
        logits = self.inner.get_output_embeddings()(hidden)
        config = self.inner.config.get_text_config()
        logits = logits * (getattr(config, "logit_scale", None) or 1) / (getattr(config, "logits_scaling", None) or 1)
        cap = next((getattr(config, name) for name in CAPS if getattr(config, name, None)), None)
        return logits if not cap else cap * torch.tanh(logits / cap)

    def continued(self, prompt: Sequence[int], most: int, ends: Sequence[int], **sampling: float) -> list[int]:
        """See LanguageModel: by `transformers`' own generation."""
        config = library().GenerationConfig(
            max_new_tokens=most, eos_token_id=list(ends), pad_token_id=ends[0], do_sample=bool(sampling["temperature"])
        )
        if config.do_sample:
            config.update(**{key: sampling[key] for key in ("temperature", "top_k", "top_p")})
        penalty = library().RepetitionPenaltyLogitsProcessor
        processors = [penalty(sampling["repetition_penalty"], prompt_ignore_length=len(prompt))]
        ids = torch.tensor([prompt], device=self.device)
        mask = torch.ones_like(ids)
        written = self.inner.generate(ids, attention_mask=mask, generation_config=config, logits_processor=processors)
        return written[0, len(prompt) :].tolist()

    def loss_at(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """See LanguageModel: the logits of some tokens exist at a time, in the backward pass too."""
        if self.plain_head:
            return super().loss_at(hidden, targets)

        def loss(part: Tensor, target: Tensor) -> Tensor:
            return F.cross_entropy(self.head(part).float(), target, reduction="sum")

        rows = max(32, CHUNK_ELEMENTS // self.head_weight.shape[0])
        parts = zip(hidden.split(rows), targets.split(rows), strict=True)
        return torch.stack([checkpoint(loss, *part, use_reentrant=False) for part in parts]).sum()  # pyright: ignore


def _same(a: Tensor, b: Tensor) -> bool:
    return float((a - b).abs().max()) <= SAME_LOGITS * max(1.0, float(b.abs().max()))


@contextmanager
def _attending(attend: Attend) -> Iterator[None]:
    _attends.append(attend)
    try:
        yield
    finally:
        _attends.pop()


class HuggingFaceEncoding:
    """A tokenizer of `transformers` behind tiktoken's names."""

    def __init__(self, tokenizer: Any, end_id: int, before_text: int) -> None:
        self.tokenizer, self.eot_token, self.before_text = tokenizer, end_id, before_text

    @property
    def n_vocab(self) -> int:
        """Ids from 0 on."""
        return max(len(self.tokenizer), self.eot_token + 1)

    def encode_ordinary(self, text: str) -> list[int]:
        """The ids of a text: nothing is added to it, and nothing in it is a special token."""
        return self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of ids, as written: special tokens left out, no spaces tidied."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))


@dataclass
class HuggingFaceCheckpoint(LoadedModel):
    """A model of `transformers` that was opened. `notes`: what a person should know of how it is handled."""

    model: HuggingFaceModel  # pyright: ignore[reportIncompatibleVariableOverride]
    path: Path
    sha256: str
    run: CheckpointRun
    tokenizer: Any
    ends: list[int]
    starts: list[int]
    notes: list[str] = field(default_factory=list[str])

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

    def reloaded(self, device: str | torch.device, dropout: float = 0.0) -> HuggingFaceCheckpoint:
        """See LoadedModel."""
        return load(self.path, device, dropout)

    def weights_in(self, directory: Path) -> Path:
        """See LoadedModel."""
        return directory / WEIGHTS

    def saved(
        self, directory: Path, model: LanguageModel, run: CheckpointRun, device: str | torch.device
    ) -> HuggingFaceCheckpoint:
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
        return load(directory, device)


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


def load(source: Path | str, device: str | torch.device = "cpu", dropout: float = 0.0) -> HuggingFaceCheckpoint:
    """Open a directory of Hugging Face (or its weights' file), a GGUF file, or a model of the Hub by its name.

    The model is in evaluation mode, in fp32, and has the `dropout` asked for here wherever its architecture has one.
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
    if place.suffix == ".gguf":
        where["gguf_file"] = place.name
    try:
        with files.reading(name, "a model that transformers loads", HINT):
            config: Any = transformers.AutoConfig.from_pretrained(**where)
            for key, value in config.to_dict().items():
                if isinstance(value, float) and ("dropout" in key or key.endswith(("pdrop", "drop_rate"))):
                    setattr(config, key, dropout)
            tokenizer: Any = transformers.AutoTokenizer.from_pretrained(**where)
            inner: Any = transformers.AutoModelForCausalLM.from_pretrained(
                **where, config=config, dtype=torch.float32, use_safetensors=True
            )
            notes: list[str] = []
            ends = _end_ids(inner, tokenizer, notes)
            starts = _start_ids(tokenizer, notes)
    except ImportError as error:  # a library that this kind of file needs
        raise InputError(f"{name}: {' '.join(str(error).split())[:160]}", HINT) from None
    inner.to(device)
    model = HuggingFaceModel(inner).eval()
    if not model.packs:
        notes.append("its attention cannot be packed: texts of like length are padded together")
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


def _end_ids(inner: Any, tokenizer: Any, notes: list[str]) -> list[int]:
    """Where it says that it ends: its tokenizer's id first, which training writes, and its generation config's."""
    own = getattr(inner.generation_config, "eos_token_id", None) or getattr(inner.config, "eos_token_id", None)
    ids = [] if own is None else list(own) if isinstance(own, (list, tuple)) else [own]
    if tokenizer.eos_token_id is not None:
        ids = [tokenizer.eos_token_id, *(one for one in ids if one != tokenizer.eos_token_id)]
    size = inner.get_input_embeddings().weight.shape[0]
    ids = [int(one) for one in ids if 0 <= int(one) < size]
    if not ids:
        vocabulary = tokenizer.get_vocab()
        known = next((name for name in ENDS if name in vocabulary), None)
        if known is None:
            known = END_OF_TEXT
            tokenizer.add_special_tokens({"eos_token": known})
            if len(tokenizer) > size:
                inner.resize_token_embeddings(len(tokenizer), mean_resizing=False)
                with torch.no_grad():
                    for table in {inner.get_input_embeddings(), inner.get_output_embeddings()}:
                        table.weight[size:] = table.weight[:size].mean(0)
        tokenizer.eos_token = known
        ids = [int(tokenizer.convert_tokens_to_ids(known))]
        notes.append(f"its tokenizer names no end of text: using {known} ({ids[0]})")
    if tokenizer.pad_token_id is None:
        notes.append("its tokenizer has no padding: where some is needed, the end of text stands in, without loss")
    return ids


def _start_ids(tokenizer: Any, notes: list[str]) -> list[int]:
    """The ids that it puts before a text by itself; those that it puts behind are said and left out."""
    added, bare = tokenizer.encode("a"), tokenizer.encode("a", add_special_tokens=False)
    at = next((at for at in range(len(added)) if bare and added[at : at + len(bare)] == bare), 0)
    start, behind = [int(one) for one in added[:at]], added[at + len(bare) :]
    if start:
        notes.append(f"its tokenizer begins every text with {tokenizer.decode(start)}: every prompt here begins so too")
    if behind:
        notes.append(f"its tokenizer ends every text with {tokenizer.decode(behind)}: left out here but for the end")
    return start
