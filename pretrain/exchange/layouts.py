"""Which tensor is called what, and lies which way round, in each layout of the same GPT-2 architecture."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from equiloss.errors import InputError
from pretrain.config import ModelConfig
from pretrain.model.decoder import GPT

State = dict[str, Tensor]

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
    "attention.out": "att.out_proj",
    "mlp_norm.weight": "norm2.scale",
    "mlp_norm.bias": "norm2.shift",
    "mlp.up": "ff.layers.0",
    "mlp.down": "ff.layers.2",
}
"""The names of `GPTModel` in "Build a Large Language Model (From Scratch)" and in gpjt/ddp-base-model-from-scratch."""

QKV = ("W_query", "W_key", "W_value")
BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")
TRANSPOSED = ("attention.qkv.weight", "attention.out.weight", "mlp.up.weight", "mlp.down.weight")
"""What transformers' Conv1D keeps as (in, out) where torch's Linear has (out, in)."""


def names(config: ModelConfig) -> list[str]:
    """The parameters of a model of this shape, all biases of the attention input included."""
    with torch.device("meta"):
        model = GPT(config.model_copy(update={"qkv_bias": True}))
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
        if value is None:  # the only tensor that a shape may lack
            value = torch.zeros(3 * config.n_embd)
        value = value.detach().cpu()
        if name.endswith(TRANSPOSED):
            value = value.T
        result[foreign_name(name, HUGGING_FACE, "transformer.h")] = value.contiguous().clone()
    return result


def from_hugging_face(config: ModelConfig, state: Mapping[str, Tensor], where: str) -> State:
    """The other way round. Raises: InputError when a tensor is missing, left over or of another shape."""
    named = {
        key if key.startswith(("transformer.", "lm_head.")) else f"transformer.{key}": v for key, v in state.items()
    }
    own = {key: v for key, v in named.items() if not key.endswith((".attn.bias", ".attn.masked_bias"))}  # causal masks

    def take(name: str) -> Tensor:
        value = own.pop(foreign_name(name, HUGGING_FACE, "transformer.h"))
        return value.T if name.endswith(TRANSPOSED) and value.ndim == 2 else value

    if config.tie_weights:
        own.pop("lm_head.weight", None)
    return _collect(config, take, own, where)


def from_nanogpt(config: ModelConfig, state: Mapping[str, Tensor], where: str) -> State:
    """nanoGPT's state dict; without biases it gets biases of 0. Raises: InputError as `from_hugging_face`."""
    own = {key.removeprefix("_orig_mod."): v for key, v in state.items()}
    own = {key: v for key, v in own.items() if not key.endswith(".attn.bias")}
    if config.tie_weights:
        own.pop("lm_head.weight", None)

    def take(name: str) -> Tensor:
        foreign = foreign_name(name, HUGGING_FACE, "transformer.h")
        if name.endswith(".bias") and foreign not in own:
            weight = foreign.removesuffix("bias") + "weight"
            return torch.zeros(shapes[weight])
        return own.pop(foreign)

    shapes = {key: v.shape[0] for key, v in own.items() if v.ndim}
    return _collect(config, take, own, where)


def from_diary(config: ModelConfig, state: Mapping[str, Tensor], where: str) -> State:
    """The diary's state dict: three matrices become one. Raises: InputError as `from_hugging_face`."""
    own = {key: v for key, v in state.items() if not key.endswith(".att.mask")}
    if config.tie_weights:  # safetensors keeps one of two names for one tensor
        head = own.pop("out_head.weight", None)
        if head is not None:
            own.setdefault("tok_emb.weight", head)

    def take(name: str) -> Tensor:
        match = BLOCK.fullmatch(name)
        if match and match[2].startswith("attention.qkv."):
            kind = match[2].rpartition(".")[2]
            return torch.cat([own.pop(f"trf_blocks.{match[1]}.att.{part}.{kind}") for part in QKV])
        return own.pop(foreign_name(name, DIARY, "trf_blocks"))

    return _collect(config, take, own, where)


def _collect(config: ModelConfig, take: Callable[[str], Tensor], left: Mapping[str, Tensor], where: str) -> State:
    expected = [n for n in names(config) if config.qkv_bias or not n.endswith("attention.qkv.bias")]
    try:
        state = {name: take(name).float().contiguous().clone() for name in expected}
    except KeyError as error:
        raise InputError(f"{where}: no tensor {error.args[0]!r}", "is it a GPT-2 model of this layout?") from None
    if not config.qkv_bias:
        left = {key: v for key, v in left.items() if not key.endswith("attn.c_attn.bias")}
    if left:
        raise InputError(
            f"{where}: holds {len(left)} tensors that GPT-2 has not, such as {min(left)!r}", "another architecture?"
        )
    return state


READERS = {"gpt2": from_hugging_face, "nanogpt": from_nanogpt, "diary": from_diary}
"""How each layout's tensors become those of this model."""
