"""Any causal language model that `transformers` loads, behind the names of `LanguageModel`.

Its layers attend through `transformers`' attention interface, so that texts are packed into one row and generation
keeps its keys and values as for the own decoder. Whether that works for an architecture is found out when a model is
opened: packed texts must give the logits of each alone. Where they do not, texts are padded to like lengths instead.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from equiloss.errors import InputError
from pretrain.model.attention import Attend, Heads, causal_attention
from pretrain.model.cross_entropy import CHUNK_ELEMENTS
from pretrain.model.language_model import LanguageModel
from pretrain.model.packing import Packed

ATTENTION = "equiloss"
"""The name under which `transformers` knows how models attend here."""
SAME_LOGITS = 1e-4
"""By how much logits may differ that are computed in two ways, relative to the largest."""
UNPACKABLE = ("attention_chunk_size", "dual_chunk_attention_config")
"""Fields of config.json with which a token's place in the row matters to attention."""
CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
"""What the highest possible logit is called."""
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


def with_dropout(config: Any, dropout: float) -> Any:
    """A config of `transformers` with that dropout wherever it has one."""
    for key, value in config.to_dict().items():
        if isinstance(value, float) and ("dropout" in key or key.endswith(("pdrop", "drop_rate"))):
            setattr(config, key, dropout)
    return config


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
        alone = [inner(input_ids=torch.tensor([text], device=self.head_weight.device)).logits[0] for text in texts]
        hidden = self.backbone(torch.tensor(texts[:1], device=self.head_weight.device))[0]
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
            packed = Packed(texts, device=self.head_weight.device)
            with suppress(Exception):  # whatever an architecture makes of attention that it does not know
                inner.set_attn_implementation(ATTENTION)
                row = self.head(self.backbone(packed.ids, packed.positions, attend)[0])
                self.packs = all(
                    _same(row[index], logits) for index, logits in zip(packed.index, alone, strict=True)
                ) and bool(seen)
        if not self.packs:
            inner.set_attn_implementation(usual)
            how = {"max_new_tokens": 1, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
            with suppress(Exception):  # whatever an architecture makes of a mask
                first = self._written(texts, pad_token_id=0, **how).logits[0]
                self.pads_left = _same(first, torch.stack([logits[-1] for logits in alone]))

    def _place_matters(self) -> bool:
        config = self.inner.config.get_text_config().to_dict()
        rope = str(config.get("rope_parameters") or config.get("rope_scaling") or "")
        return any(config.get(name) for name in UNPACKABLE) or "longrope" in rope or "dynamic" in rope

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

    def with_dropout(self, dropout: float) -> HuggingFaceModel:
        """See LanguageModel."""
        model = copy.deepcopy(self)
        if dropout:
            model.inner = type(self.inner)(with_dropout(model.inner.config, dropout))
            model.inner.load_state_dict(self.inner.state_dict())
        return model

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

    def continued(
        self, prompts: Sequence[Sequence[int]], most: int, ends: Sequence[int], **sampling: float
    ) -> list[list[int]]:
        """See LanguageModel: by `transformers`' own generation, the prompts padded on the left."""
        config = library().GenerationConfig(
            max_new_tokens=most,
            eos_token_id=list(ends) or None,
            pad_token_id=ends[0] if ends else 0,
            do_sample=bool(sampling["temperature"]),
        )
        if config.do_sample:
            config.update(**{key: sampling[key] for key in ("temperature", "top_k", "top_p")})
        width = max(map(len, prompts))
        penalty = library().RepetitionPenaltyLogitsProcessor
        processors = [penalty(sampling["repetition_penalty"], prompt_ignore_length=width)]
        return self._written(prompts, generation_config=config, logits_processor=processors)[:, width:].tolist()

    def _written(self, prompts: Sequence[Sequence[int]], **how: Any) -> Any:
        """What `transformers` generates after prompts that are padded on the left."""
        width, device = max(map(len, prompts)), self.head_weight.device
        ids = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=device)
        mask = torch.tensor([[place >= width - len(prompt) for place in range(width)] for prompt in prompts])
        return self.inner.generate(ids, attention_mask=mask.long().to(device), **how)

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
