"""A GPT-2-style decoder in one file: pre-norm blocks, learned positions, tanh GELU, scaled dot-product attention.

The architecture is GPT-2's (Radford et al., 2019). Two things can differ: `tie_weights` (one matrix reads and writes
tokens) and `qkv_bias`. Dropout is an argument of construction, never a part of the shape, so that fine-tuning cannot
inherit it from the base model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equiloss.errors import InputError
from equiloss.seeds import stream
from pretrain.config import ModelConfig
from pretrain.model.cross_entropy import IGNORE, linear_cross_entropy

INIT_STD = 0.02
LOGIT_STD = 0.3
"""The most that logits may vary at initialisation: their variance adds half of itself to the first loss."""


Attend = Callable[[Tensor, int, float], Tensor]
"""Attention given from outside (see `packing`): (qkv (B, T, 3C), n_head, dropout) to (B, T, C), per layer."""


class GPT(nn.Module):
    """A decoder of `config`'s shape, initialised from `seed`; `dropout` acts in training mode only.

    Every parameter has its own random stream, named after it: models that differ in one intervention (a tied head, a
    bias) start equal everywhere else. Raises InputError for a shape that does not work out.
    """

    def __init__(self, config: ModelConfig, dropout: float = 0.0, seed: int = 0) -> None:
        super().__init__()
        if config.vocab_size is None:
            raise InputError("model.vocab_size is not set", "take it from the data's tokenizer")
        if config.n_embd % config.n_head:
            raise InputError(
                f"model.n_embd {config.n_embd} is not a multiple of model.n_head {config.n_head}", "change one of them"
            )
        self.config = config
        self.dropout = dropout
        device = torch.get_default_device()
        with torch.device("meta"):  # no default initialisation: no time lost, no global random state touched
            self.token_embedding = nn.Embedding(config.vocab_size, config.n_embd)
            self.position_embedding = nn.Embedding(config.context, config.n_embd)
            self.blocks = nn.ModuleList(Block(config, dropout) for _ in range(config.n_layer))
            self.final_norm = nn.LayerNorm(config.n_embd)
            self.unembedding = None if config.tie_weights else nn.Linear(config.n_embd, config.vocab_size, bias=False)
        if device.type != "meta":
            self.to_empty(device=device)
            self.initialise(seed)

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """GPT-2's initialisation: N(0, 0.02), residual projections divided by sqrt(2 n_layer), norms 1, biases 0.

        The matrix that writes tokens is drawn narrower where n_embd is large, so that the first loss is ln(vocab_size).
        """
        residual_std = INIT_STD / math.sqrt(2 * self.config.n_layer)
        for name, parameter in self.named_parameters():
            if "norm" in name:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
            elif name.endswith("bias"):
                parameter.zero_()
            else:
                std = residual_std if name.endswith(("attention.out.weight", "mlp.down.weight")) else INIT_STD
                if parameter is self.head_weight:
                    std = min(std, LOGIT_STD / math.sqrt(self.config.n_embd))
                generator = torch.Generator().manual_seed(stream(seed, name))
                parameter.copy_(torch.empty(parameter.shape).normal_(0.0, std, generator=generator))

    @property
    def head_weight(self) -> Tensor:
        """The matrix that turns hidden states into logits (V, C): its own, or the token embedding when tied."""
        return self.token_embedding.weight if self.unembedding is None else self.unembedding.weight

    def forward(self, ids: Tensor, targets: Tensor | None = None, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
        """Logits (B, T, V) of ids (B, T); with targets (B, T; -100 carries no loss) the mean or summed loss in nats."""
        if targets is None:
            return self.head(self.backbone(ids))
        total, count = self.loss_sum(ids, targets)
        return total if reduction == "sum" else total / count.clamp(min=1)

    def loss_sum(
        self, ids: Tensor, targets: Tensor, positions: Tensor | None = None, mask: Tensor | Attend | None = None
    ) -> tuple[Tensor, Tensor]:
        """The summed loss in nats and the number of targets that carry it, for averages weighted by tokens."""
        hidden = self.backbone(ids, positions, mask)
        return linear_cross_entropy(hidden.flatten(0, 1), self.head_weight, targets.flatten()), (
            targets != IGNORE
        ).sum()

    def backbone(
        self,
        ids: Tensor,
        positions: Tensor | None = None,
        mask: Tensor | Attend | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Hidden states (B, T, C) after the last norm.

        positions (B, T): where each token stands; default 0, 1, 2, ... (after what the cache holds, if there is one).
        mask (B, 1, T, S) or (T, S), true where a query may look; default causal. `packed_mask` makes it for several
        examples in one row; a function in its place does the attending itself. With a cache, the token at position p
        is kept in slot p of its row, and queries see the slots up to their own position: prompts padded on the right
        need no mask of their own.
        Raises: InputError when the sequence is longer than the model's context.
        """
        _, length = ids.shape
        start = 0 if cache is None else cache.length
        if positions is None:
            if start + length > self.config.context:
                raise InputError(
                    f"{start + length} tokens do not fit the model's context of {self.config.context}",
                    "shorten the text",
                )
            positions = torch.arange(start, start + length, device=ids.device).expand_as(ids)
        if cache is not None:
            cache.reach(positions)
            if mask is None:
                slots = torch.arange(cache.length, device=ids.device)
                mask = slots <= positions[:, None, :, None]  # (B, 1, T, S)
        x = self.token_embedding(ids) + self.position_embedding(positions)  # (B, T, C)
        x = F.dropout(x, self.dropout, self.training)
        for layer, block in enumerate(self.blocks):
            x = block(x, mask, None if cache is None else (cache, layer, positions))
        return self.final_norm(x)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) of hidden states (..., C)."""
        return F.linear(hidden, self.head_weight)

    def new_cache(self, batch_size: int, length: int | None = None) -> KVCache:
        """An empty cache for `batch_size` rows of at most `length` tokens (default and limit: the context)."""
        length = self.config.context if length is None else min(length, self.config.context)
        weight = self.token_embedding.weight
        return KVCache(self.config, batch_size, length, weight.device, weight.dtype)


class Block(nn.Module):
    """One pre-norm layer: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: ModelConfig, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.n_embd)
        self.attention = Attention(config, dropout)
        self.mlp_norm = nn.LayerNorm(config.n_embd)
        self.mlp = MLP(config, dropout)

    def forward(self, x: Tensor, mask: Tensor | Attend | None, cached: Cached | None) -> Tensor:
        """The residual stream (B, T, C) after this block."""
        x = x + self.attention(self.attention_norm(x), mask, cached)
        return x + self.mlp(self.mlp_norm(x))


class Attention(nn.Module):
    """Multi-head self-attention, causal unless a mask says otherwise."""

    def __init__(self, config: ModelConfig, dropout: float) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.dropout = dropout
        self.qkv = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.qkv_bias)
        self.out = nn.Linear(config.n_embd, config.n_embd)

    def forward(self, x: Tensor, mask: Tensor | Attend | None, cached: Cached | None) -> Tensor:
        """What the heads read for each position (B, T, C); with a cache, from it and these positions."""
        batch, length, width = x.shape
        dropout = self.dropout if self.training else 0.0
        qkv = self.qkv(x)
        if mask is not None and not isinstance(mask, Tensor):
            return F.dropout(self.out(mask(qkv, self.n_head, dropout)), self.dropout, self.training)
        qkv = qkv.view(batch, length, 3, self.n_head, width // self.n_head)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, H, T, D)
        if cached is not None:
            cache, layer, positions = cached
            k, v = cache.put(layer, positions, k, v)  # (B, H, S, D)
        y = _attend(q, k, v, mask, dropout)
        y = self.out(y.transpose(1, 2).reshape(batch, length, width))
        return F.dropout(y, self.dropout, self.training)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """Scaled dot-product attention (B, H, T, D); on the CPU, short bf16 sequences are computed in fp32.

    torch's fused CPU kernel goes backward in bf16 at a quarter of its fp32 speed for sequences of 64 tokens (measured);
    from a few hundred tokens on the two are alike.
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and k.shape[2] <= 128 and torch.is_grad_enabled():
        with torch.autocast("cpu", enabled=False):
            y = F.scaled_dot_product_attention(
                q.float(), k.float(), v.float(), attn_mask=mask, dropout_p=dropout, is_causal=mask is None
            )
        return y.to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=mask is None)


class MLP(nn.Module):
    """Two layers, four times as wide inside, GELU in GPT-2's tanh form."""

    def __init__(self, config: ModelConfig, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.up = nn.Linear(config.n_embd, 4 * config.n_embd)
        self.down = nn.Linear(4 * config.n_embd, config.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output (B, T, C), position by position."""
        return F.dropout(self.down(F.gelu(self.up(x), approximate="tanh")), self.dropout, self.training)


class KVCache:
    """Keys and values of the tokens seen so far, allocated once: per layer (B, H, slots, D).

    A token's slot is its position in its own row, so rows of different lengths live in one batch: give `backbone` the
    tokens padded on the right with positions 0, 1, 2, ..., then each next token with its row's own position. A query
    sees only slots up to its position, and by then padding in them has been written over.
    """

    def __init__(
        self, config: ModelConfig, batch_size: int, slots: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        shape = (config.n_layer, batch_size, config.n_head, slots, config.n_embd // config.n_head)
        # Zeros, not empty: a masked slot still multiplies, and 0 × NaN is NaN.
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.length = 0
        """Slots in use: one more than the highest position so far."""

    @property
    def slots(self) -> int:
        """How many tokens a row can hold."""
        return self.keys.shape[3]

    def reach(self, positions: Tensor) -> None:
        """Extend the length in use to hold `positions`. Raises: InputError when the cache is full."""
        self.length = max(self.length, int(positions.max()) + 1)
        if self.length > self.slots:
            raise InputError(f"{self.length} tokens do not fit a cache of {self.slots}", "make the text shorter")

    def put(self, layer: int, positions: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store k, v (B, H, T, D) at `positions` (B, T) and return all in use (B, H, S, D)."""
        index = positions[:, None, :, None].expand_as(k)
        self.keys[layer].scatter_(2, index, k.to(self.keys.dtype))
        self.values[layer].scatter_(2, index, v.to(self.values.dtype))
        return self.keys[layer, :, :, : self.length].to(k.dtype), self.values[layer, :, :, : self.length].to(v.dtype)

    def select(self, rows: Tensor) -> None:
        """Keep only these rows (N,), in this order: drop finished ones, or branch one into several."""
        self.keys = self.keys.index_select(1, rows)
        self.values = self.values.index_select(1, rows)


Cached = tuple[KVCache, int, Tensor]
"""A cache, the layer in it, and the positions of the new tokens."""


def packed_mask(example: Tensor) -> Tensor:
    """The mask (B, 1, T, T) for rows that hold several examples: causal, and each token sees its own example only.

    example (B, T): the number of the example that each token belongs to; padding has a number of its own.
    """
    length = example.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=example.device).tril()
    return ((example[:, :, None] == example[:, None, :]) & causal)[:, None]


def packed_positions(example: Tensor) -> Tensor:
    """Positions (B, T) that start again at 0 with each example of a packed row (B, T)."""
    index = torch.arange(example.shape[1], device=example.device).expand_as(example)
    starts = torch.ones_like(example, dtype=torch.bool)
    starts[:, 1:] = example[:, 1:] != example[:, :-1]
    return index - torch.where(starts, index, 0).cummax(dim=1).values
