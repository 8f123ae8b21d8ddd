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
BIASES = {"qkv_bias": "attention.qkv.bias", "out_bias": "attention.out.bias"}
"""The parameters that a shape may lack, by the field that says so."""
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


def from_layout(
    layout: Layout, config: ModelConfig, tensors: Mapping[str, Tensor], where: str
) -> tuple[ModelConfig, State, list[str]]:
    """This model's shape and state dict from the tensors of another layout, and what its config does not say of them.

    Every tensor is used, or is a causal mask, a second name of another, or zeros where this shape has nothing;
    nanoGPT's without biases gets biases of 0. Raises: InputError naming a tensor that is missing, left over, there
    under two names, or not of finite floating-point numbers.
    """
    naming, notes = NAMINGS[layout], list[str]()
    own: State = {}
    for key, value in tensors.items():
        if key.endswith(MASKS) and value.ndim != 1:
            continue
        name = _full_name(key, layout)
        if name in own:
            raise InputError(f"{where}: holds {name!r} under two names", "leave one of the two out")
        if not value.is_floating_point() or not bool(value.float().isfinite().all()):
            kind = "numbers that are not finite" if value.is_floating_point() else str(value.dtype)
            raise InputError(f"{where}: {key} holds {kind}", "its weights must be finite, in floating point")
        own[name] = value.float()
    biased = config.qkv_bias
    config = _with_trained_biases(config, naming, own, notes)
    config = _with_own_head(config, layout, own, where, notes)
    state: State = {}
    try:
        for name in names(config):
            if any(name.endswith(bias) and not getattr(config, field) for field, bias in BIASES.items()):
                continue
            foreign = foreign_name(name, naming.table, naming.block)
            if layout == "nanogpt" and name.endswith(".bias") and not biased:
                own.setdefault(foreign, torch.zeros(len(state[name.removesuffix("bias") + "weight"])))
            parts = [own.pop(foreign.format(part)) for part in naming.qkv] if "{}" in foreign else [own.pop(foreign)]
            if name.endswith(naming.transposed) and parts[0].ndim == 2:
                parts = [part.T for part in parts]
            value = torch.cat(parts)
            if layout == "diary-jax" and value.shape[:-1] == (1, 1):  # its norms lie as they are broadcast
                value = value.flatten()
            state[name] = value.contiguous().clone()
    except KeyError as error:
        raise InputError(f"{where}: no tensor {error.args[0]!r}", "is it a GPT-2 model of this layout?") from None
    if own:
        raise InputError(
            f"{where}: holds {len(own)} tensors that GPT-2 has not, such as {min(own)!r}", "another architecture?"
        )
    return config, state, notes


def _with_trained_biases(config: ModelConfig, naming: Naming, own: State, notes: list[str]) -> ModelConfig:
    """The shape with the biases of attention that are not zero, whatever its config says; others leave `own`."""
    for field, bias in BIASES.items():
        endings = tuple(f".{foreign_name(bias, naming.table, naming.block).format(part)}" for part in naming.qkv)
        if getattr(config, field):
            continue
        stored = [name for name in own if name.endswith(endings)]
        if trained := next((name for name in stored if bool(own[name].any())), None):
            notes.append(
                f"its config says that it has no {field}, yet {trained} is not zero: imported with model.{field} = true"
            )
            config = config.model_copy(update={field: True})
        else:
            for name in stored:
                del own[name]
    return config


def _with_own_head(config: ModelConfig, layout: Layout, own: State, where: str, notes: list[str]) -> ModelConfig:
    """The shape with a head of its own where the weights have one that differs from the embedding.

    safetensors keeps one of two names for one tensor: either may stand for both. Raises: InputError where the config
    says that the two are tied (nanoGPT's does not say it).
    """
    head, embedding = (NAMINGS[layout].table[f"{name}.weight"] for name in ("unembedding", "token_embedding"))
    if not config.tie_weights or head not in own:
        return config
    matrix = own[head].T if layout == "diary-jax" else own[head]
    if not torch.equal(own.setdefault(embedding, matrix), matrix):
        if layout != "nanogpt":
            raise InputError(
                f"{where}: {head} differs from {embedding}, yet its config says that they are tied",
                "mend the config, or leave out the one that the model does not use",
            )
        notes.append(f"its {head} differs from its embedding: imported with model.tie_weights = false")
        return config.model_copy(update={"tie_weights": False})
    del own[head]
    return config


def _full_name(key: str, layout: Layout) -> str:
    """A tensor's name, with the prefix that GPT-2's own files leave out."""
    prefixed = layout.startswith("diary") or key.startswith(("transformer.", "lm_head."))
    return key if prefixed else f"transformer.{key}"
