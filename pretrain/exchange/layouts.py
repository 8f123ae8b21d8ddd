"""Which tensor is called what, and lies which way round, in each layout of the same GPT-2 architecture."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from equiloss.errors import InputError
from pretrain.config import ModelConfig
from pretrain.model.decoder import GPT

State = dict[str, Tensor]
Layout = Literal["gpt2", "diary", "diary-jax", "nanogpt"]

HUGGING_FACE = {
    "token_embedding.weight": "transformer.wte.weight",
    "position_embedding.weight": "transformer.wpe.weight",
    "final_norm": "transformer.ln_f",
    "unembedding.weight": "lm_head.weight",
    "attention_norm": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.out": "attn.c_proj",
    "mlp_norm": "ln_2",
    "mlp.up": "mlp.c_fc",
    "mlp.down": "mlp.c_proj",
}
"""This model's names and those of transformers' GPT2LMHeadModel; nanoGPT has the latter too, in torch's orientation."""

DIARY = {
    "token_embedding.weight": "tok_emb.weight",
    "position_embedding.weight": "pos_emb.weight",
    "final_norm.weight": "final_norm.scale",
    "final_norm.bias": "final_norm.shift",
    "unembedding.weight": "out_head.weight",
    "attention_norm.weight": "norm1.scale",
    "attention_norm.bias": "norm1.shift",
    "attention.qkv": "att.{}",
    "attention.out": "att.out_proj",
    "mlp_norm.weight": "norm2.scale",
    "mlp_norm.bias": "norm2.shift",
    "mlp.up": "ff.layers.0",
    "mlp.down": "ff.layers.2",
}
"""The names of `GPTModel` in "Build a Large Language Model (From Scratch)" and in gpjt/ddp-base-model-from-scratch."""

DIARY_JAX = {
    "token_embedding.weight": "token_embedding.embedding",
    "position_embedding.weight": "position_embedding.embedding",
    "final_norm.weight": "output_norm.scale",
    "final_norm.bias": "output_norm.bias",
    "unembedding.weight": "output_head.kernel",
    "attention_norm.weight": "attention_norm.scale",
    "attention_norm.bias": "attention_norm.bias",
    "attention.qkv.weight": "attention.{}.kernel",
    "attention.qkv.bias": "attention.{}.bias",
    "attention.out.weight": "attention.output_projection.kernel",
    "attention.out.bias": "attention.output_projection.bias",
    "mlp_norm.weight": "ffn_norm.scale",
    "mlp_norm.bias": "ffn_norm.bias",
    "mlp.up.weight": "ffn.layers.0.kernel",
    "mlp.up.bias": "ffn.layers.0.bias",
    "mlp.down.weight": "ffn.layers.2.kernel",
    "mlp.down.bias": "ffn.layers.2.bias",
}
"""The names of the Flax NNX model in gpjt/jax-gpt2-from-scratch."""

MASKS = (".attn.bias", ".attn.masked_bias", ".att.mask")
"""Causal masks that are stored among the weights."""
BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")
TRANSPOSED = ("attention.qkv.weight", "attention.out.weight", "mlp.up.weight", "mlp.down.weight")
"""What transformers' Conv1D keeps as (in, out) where torch's Linear has (out, in)."""


@dataclass(frozen=True)
class Naming:
    """A layout's names: the table, what stands before a layer's number, the parts of qkv, and what lies (in, out)."""

    table: Mapping[str, str]
    block: str
    qkv: tuple[str, ...] = ("",)
    transposed: tuple[str, ...] = ()


NAMINGS: dict[Layout, Naming] = {
    "gpt2": Naming(HUGGING_FACE, "transformer.h", transposed=TRANSPOSED),
    "nanogpt": Naming(HUGGING_FACE, "transformer.h"),
    "diary": Naming(DIARY, "trf_blocks", ("W_query", "W_key", "W_value")),
    "diary-jax": Naming(
        DIARY_JAX, "transformers_layers.layers", ("W_q", "W_k", "W_v"), (*TRANSPOSED, "unembedding.weight")
    ),
}


def names(config: ModelConfig) -> list[str]:
    """The parameters of a model of this shape, all biases of attention included."""
    with torch.device("meta"):
        model = GPT(config.model_copy(update={"qkv_bias": True, "out_bias": True}))
    return list(model.state_dict())


def foreign_name(name: str, table: Mapping[str, str], block: str) -> str:
    """A parameter's name in another layout; `block` is what stands before a layer's number there."""
    match = BLOCK.fullmatch(name)
    prefix, own = (f"{block}.{match[1]}.", match[2]) if match else ("", name)
    stem, _, kind = own.rpartition(".")
    return prefix + (table[own] if own in table else f"{table[stem]}.{kind}")


def to_hugging_face(config: ModelConfig, state: Mapping[str, Tensor]) -> State:
    """A state dict of this model as one of GPT2LMHeadModel: Conv1D matrices, and biases of 0 where there are none."""
    result: State = {}
    for name in names(config):
        value = state.get(name)
        if value is None:  # a bias of attention is all that a shape may lack
            value = torch.zeros(len(state[name.removesuffix("bias") + "weight"]))
        value = value.detach().cpu()
        if name.endswith(TRANSPOSED):
            value = value.T
        result[foreign_name(name, HUGGING_FACE, "transformer.h")] = value.contiguous().clone()
    return result


def from_layout(layout: Layout, config: ModelConfig, tensors: Mapping[str, Tensor], where: str) -> State:
    """This model's state dict from that of another layout; nanoGPT's without biases gets biases of 0.

    Raises: InputError when a tensor is missing or left over.
    """
    naming = NAMINGS[layout]
    own = {_full_name(key, layout): value for key, value in tensors.items() if not key.endswith(MASKS)}
    if config.tie_weights and (head := own.pop(naming.table["unembedding.weight"], None)) is not None:
        # safetensors keeps one of two names for one tensor
        own.setdefault(naming.table["token_embedding.weight"], head.T if layout == "diary-jax" else head)
    absent = {"attention.qkv.bias": not config.qkv_bias, "attention.out.bias": not config.out_bias}
    state: State = {}
    try:
        for name in names(config):
            foreign = foreign_name(name, naming.table, naming.block)
            if any(lacks and name.endswith(bias) for bias, lacks in absent.items()):
                own.pop(foreign, None)
                continue
            if layout == "nanogpt" and name.endswith(".bias"):
                own.setdefault(foreign, torch.zeros(len(state[name.removesuffix("bias") + "weight"])))
            parts = [own.pop(foreign.format(part)) for part in naming.qkv] if "{}" in foreign else [own.pop(foreign)]
            if name.endswith(naming.transposed) and parts[0].ndim == 2:
                parts = [part.T for part in parts]
            value = torch.cat(parts)
            if layout == "diary-jax" and value.shape[:-1] == (1, 1):  # its norms lie as they are broadcast
                value = value.flatten()
            state[name] = value.float().contiguous().clone()
    except KeyError as error:
        raise InputError(f"{where}: no tensor {error.args[0]!r}", "is it a GPT-2 model of this layout?") from None
    if own:
        raise InputError(
            f"{where}: holds {len(own)} tensors that GPT-2 has not, such as {min(own)!r}", "another architecture?"
        )
    return state


def _full_name(key: str, layout: Layout) -> str:
    """A tensor's name without the prefix that torch.compile leaves, and with that which GPT-2's own files leave out."""
    key = key.removeprefix("_orig_mod.")
    prefixed = layout.startswith("diary") or key.startswith(("transformer.", "lm_head."))
    return key if prefixed else f"transformer.{key}"
