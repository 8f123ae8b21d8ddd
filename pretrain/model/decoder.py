"""A GPT-2-style decoder in one file: pre-norm blocks, learned positions, tanh GELU, scaled dot-product attention.

The architecture is GPT-2's (Radford et al., 2019). Four things can differ: `tie_weights` (one matrix reads and writes
tokens), the biases of attention (`qkv_bias`, `out_bias`) and `norm`. Dropout is an argument of construction, never a
part of the shape, so that fine-tuning cannot inherit it from the base model.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equiloss.errors import InputError
from equiloss.seeds import stream
from pretrain.config import ModelConfig
from pretrain.model.attention import Attend, Heads, causal_attention
from pretrain.model.initialisation import initial
from pretrain.model.language_model import LanguageModel


class GPT(LanguageModel):
    """A decoder of `config`'s shape, initialised from `seed`; `dropout` acts in training mode only.

    Every parameter has its own random stream, named after it: models that differ in one intervention (a tied head, a
    bias) start equal everywhere else. Raises InputError for a shape that does not work out.
    """

    def __init__(self, config: ModelConfig, dropout: float = 0.0, seed: int = 0) -> None:
        super().__init__()
        if config.vocab_size is None:
            raise InputError("model.vocab_size is not set", "take it from the data's tokenizer")
        self.config = config
        self.dropout = dropout
        device = torch.get_default_device()
        with torch.device("meta"):  # no default initialisation: no time lost, no global random state touched
            self.token_embedding = nn.Embedding(config.vocab_size, config.n_embd)
            self.position_embedding = nn.Embedding(config.context, config.n_embd)
            self.blocks = nn.ModuleList(Block(config, dropout) for _ in range(config.n_layer))
            self.final_norm = layer_norm(config)
            self.unembedding = None if config.tie_weights else nn.Linear(config.n_embd, config.vocab_size, bias=False)
        if device.type != "meta":
            self.to_empty(device=device)
            with torch.no_grad():
                for name, parameter in self.named_parameters():
                    generator = torch.Generator().manual_seed(stream(seed, name))
                    parameter.copy_(initial(config, name, parameter.shape, generator))

    @property
    def context(self) -> int:
        """The most tokens that it takes."""
        return self.config.context

    @property
    def adaptable(self) -> nn.Module:
        """Its blocks."""
        return self.blocks

    @property
    def cache_shape(self) -> tuple[int, int, int]:
        """Layers, heads, and the size of a head."""
        return self.config.n_layer, self.config.n_head, self.config.n_embd // self.config.n_head

    @property
    def head_weight(self) -> Tensor:
        """The matrix that turns hidden states into logits (V, C): its own, or the token embedding when tied."""
        return self.token_embedding.weight if self.unembedding is None else self.unembedding.weight

    def with_dropout(self, dropout: float) -> GPT:
        """See LanguageModel."""
        with torch.device("meta"):
            model = GPT(self.config, dropout)
        model.load_state_dict({name: value.clone() for name, value in self.state_dict().items()}, assign=True)
        return model.requires_grad_().train(self.training)

    def untied(self) -> GPT:
        """This model with a head of its own, which begins as the token embedding; itself where it has one."""
        if self.unembedding is not None:
            return self
        with torch.device("meta"):
            model = GPT(self.config.model_copy(update={"tie_weights": False}), self.dropout)
        state = self.state_dict() | {"unembedding.weight": self.head_weight.detach().clone()}
        model.load_state_dict(state, assign=True)
        return model.requires_grad_().train(self.training)

    def backbone(self, ids: Tensor, positions: Tensor | None = None, attend: Attend | None = None) -> Tensor:
        """Hidden states (B, T, C) after the last norm.

        `positions` (B, T): where each token stands; default 0, 1, 2, ... `attend`: how every layer attends, where texts
        are packed into one row or keys and values are cached; default: causally, within each row.
        Raises: InputError when the sequence is longer than the model's context.
        """
        if positions is None:
            length = ids.shape[1]
            if length > self.config.context:
                raise InputError(
                    f"{length} tokens do not fit the model's context of {self.config.context}", "shorten the text"
                )
            positions = torch.arange(length, device=ids.device).expand_as(ids)
        x = self.token_embedding(ids) + self.position_embedding(positions)  # (B, T, C)
        x = F.dropout(x, self.dropout, self.training)
        for block in self.blocks:
            x = block(x, attend)
        return self.final_norm(x)


def layer_norm(config: ModelConfig) -> nn.LayerNorm:
    """The norm of `config.norm` over the last dimension (..., C)."""
    return nn.LayerNorm(config.n_embd) if config.norm == "var" else StdNorm(config.n_embd)


class StdNorm(nn.LayerNorm):
    """A layer norm that divides by the standard deviation plus epsilon, not by the root of the variance plus it."""

    def forward(self, input: Tensor) -> Tensor:
        """`input` (..., C) with mean 0 and a standard deviation just under 1, scaled and shifted."""
        centred = input - input.mean(-1, keepdim=True)
        std = torch.linalg.vector_norm(centred, dim=-1, keepdim=True) / input.shape[-1] ** 0.5  # differentiable at 0
        return centred / (std + self.eps) * self.weight + self.bias


class Block(nn.Module):
    """One pre-norm layer: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: ModelConfig, dropout: float) -> None:
        super().__init__()
        self.attention_norm = layer_norm(config)
        self.attention = Attention(config, dropout)
        self.mlp_norm = layer_norm(config)
        self.mlp = MLP(config, dropout)

    def forward(self, x: Tensor, attend: Attend | None) -> Tensor:
        """The residual stream (B, T, C) after this block."""
        x = x + self.attention(self.attention_norm(x), attend)
        return x + self.mlp(self.mlp_norm(x))


class Attention(nn.Module):
    """Multi-head self-attention, causal unless it is told how to attend."""

    def __init__(self, config: ModelConfig, dropout: float) -> None:
        super().__init__()
        self.heads = Heads(config.n_head, config.n_head)
        self.dropout = dropout
        self.qkv = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.qkv_bias)
        self.out = nn.Linear(config.n_embd, config.n_embd, bias=config.out_bias)

    def forward(self, x: Tensor, attend: Attend | None) -> Tensor:
        """What the heads read for each position (B, T, C)."""
        y = (attend or causal_attention)(self.qkv(x), self.heads, self.dropout if self.training else 0.0)
        return F.dropout(self.out(y), self.dropout, self.training)


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
