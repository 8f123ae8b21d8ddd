"""The decoder of `pretrain.model.decoder` as pure functions over the same parameters, by the names that torch has.

Weights keep torch's layout, (out, in). `dtype` is the number format of matrix products; the residual stream, norms,
softmax and loss are fp32 whatever it is, as under torch's autocast. `key` draws dropout; None: no dropout.
"""

# Without JAX, type checkers take this package for it.
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from pretrain.config import ModelConfig
from pretrain.model.cross_entropy import IGNORE

NORM_EPS = 1e-5
CHUNK_ELEMENTS = 1 << 23
"""Logits formed at once, above which the loss is taken a chunk of tokens at a time."""

Parameters = dict[str, Array]


def logits(parameters: Parameters, ids: Array, config: ModelConfig, dtype: Any = jnp.float32) -> Array:
    """Logits (B, T, V) of ids (B, T)."""
    return _product(hidden(parameters, ids, config, dtype), head_weight(parameters), dtype, jnp.float32)


def loss_sum(
    parameters: Parameters,
    ids: Array,
    targets: Array,
    config: ModelConfig,
    dtype: Any = jnp.float32,
    key: Array | None = None,
) -> Array:
    """The summed loss in nats of targets (B, T; -100 carries no loss) after ids (B, T)."""
    states = hidden(parameters, ids, config, dtype, key).reshape(-1, config.n_embd).astype(dtype)
    return linear_cross_entropy(states, head_weight(parameters), targets.reshape(-1))


def head_weight(parameters: Parameters) -> Array:
    """The matrix that turns hidden states into logits (V, C): its own, or the token embedding when tied."""
    return parameters.get("unembedding.weight", parameters["token_embedding.weight"])


def hidden(
    parameters: Parameters, ids: Array, config: ModelConfig, dtype: Any = jnp.float32, key: Array | None = None
) -> Array:
    """Hidden states (B, T, C) of ids (B, T) after the last norm."""
    keys = [None] * (3 * config.n_layer + 1) if key is None else list(jax.random.split(key, 3 * config.n_layer + 1))
    rate = config.dropout

    def linear(x: Array, name: str) -> Array:
        y = _product(x, parameters[f"{name}.weight"], dtype)
        bias = parameters.get(f"{name}.bias")
        return y if bias is None else y + bias.astype(dtype)

    def norm(x: Array, name: str) -> Array:
        return layer_norm(x, parameters[f"{name}.weight"], parameters[f"{name}.bias"], config.norm)

    x = parameters["token_embedding.weight"][ids] + parameters["position_embedding.weight"][: ids.shape[1]]
    x = _drop(x, rate, keys.pop())
    for layer in range(config.n_layer):
        block = f"blocks.{layer}"
        qkv = linear(norm(x, f"{block}.attention_norm"), f"{block}.attention.qkv")
        y = linear(causal_attention(qkv, config.n_head, rate, keys.pop()), f"{block}.attention.out")
        x = x + _drop(y, rate, keys.pop())
        y = jax.nn.gelu(linear(norm(x, f"{block}.mlp_norm"), f"{block}.mlp.up"), approximate=True)
        x = x + _drop(linear(y, f"{block}.mlp.down"), rate, keys.pop())
    return norm(x, "final_norm")


def layer_norm(x: Array, weight: Array, bias: Array, kind: str) -> Array:
    """The norm `config.norm` over the last dimension of x (..., C)."""
    centred = x - x.mean(-1, keepdims=True)
    variance = jnp.square(centred).mean(-1, keepdims=True)
    if kind == "var":
        scaled = centred * lax.rsqrt(variance + NORM_EPS)
    else:
        some = variance > 0  # the root has no gradient at 0, where torch takes 0
        std = jnp.where(some, jnp.sqrt(jnp.where(some, variance, 1.0)), 0.0)
        scaled = centred / (std + NORM_EPS)
    return scaled * weight + bias


def causal_attention(qkv: Array, n_head: int, dropout: float, key: Array | None) -> Array:
    """Scaled dot-product attention of qkv (B, T, 3C), to (B, T, C)."""
    batch, length, width = qkv.shape
    q, k, v = jnp.moveaxis(qkv.reshape(batch, length, 3, n_head, -1), 2, 0)  # each (B, T, H, D)
    scores = jnp.einsum("bthd,bshd->bhts", q, k, preferred_element_type=jnp.float32) / q.shape[-1] ** 0.5
    scores = jnp.where(jnp.tril(jnp.ones((length, length), bool)), scores, -jnp.inf)
    weights = _drop(jax.nn.softmax(scores, axis=-1), dropout, key).astype(qkv.dtype)
    return jnp.einsum("bhts,bshd->bthd", weights, v).reshape(batch, length, width // 3)


def _drop(x: Array, rate: float, key: Array | None) -> Array:
    if key is None or not rate:
        return x
    return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0.0).astype(x.dtype)


def _product(x: Array, weight: Array, dtype: Any, result: Any = None) -> Array:
    """x (..., in) times weight (out, in), transposed."""
    dimensions = (((x.ndim - 1,), (1,)), ((), ()))
    return lax.dot_general(x.astype(dtype), weight.astype(dtype), dimensions, preferred_element_type=result)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def linear_cross_entropy(states: Array, weight: Array, targets: Array, chunk_elements: int = CHUNK_ELEMENTS) -> Array:
    """Summed cross-entropy in nats of hidden states (N, C) against weight (V, C) and targets (N,; -100: no loss).

    As in torch's (`pretrain.model.cross_entropy`), logits exist a chunk of tokens at a time, and both gradients,
    softmax - one-hot, form on the way.
    """
    return _cross_entropy(states, weight, targets, chunk_elements)[0]


def _cross_entropy(states: Array, weight: Array, targets: Array, chunk_elements: int) -> tuple[Array, Any]:
    narrow, size = weight.astype(states.dtype), len(states)
    rows = min(size, max(32, chunk_elements // len(weight)))
    filling = -size % rows
    chunks = jnp.pad(states, ((0, filling), (0, 0))).reshape(-1, rows, states.shape[1])
    aims = jnp.pad(targets, (0, filling), constant_values=IGNORE).reshape(-1, rows)

    def chunk(carry: tuple[Array, Array], part: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
        (total, grad_weight), (x, target) = carry, part
        carries = target != IGNORE
        scores = _product(x, narrow, x.dtype, jnp.float32)  # (rows, V)
        logsumexp = jax.nn.logsumexp(scores, axis=1)
        at_target = jnp.take_along_axis(scores, jnp.where(carries, target, 0)[:, None], axis=1)[:, 0]
        hit = target[:, None] == jnp.arange(len(weight))
        grad = ((jnp.exp(scores - logsumexp[:, None]) - hit) * carries[:, None]).astype(x.dtype)
        product = lax.dot_general(grad, x, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)
        return (total + ((logsumexp - at_target) * carries).sum(), grad_weight + product), grad @ narrow

    start = (jnp.zeros((), jnp.float32), jnp.zeros(weight.shape, jnp.float32))
    (total, grad_weight), grad_states = lax.scan(chunk, start, (chunks, aims))
    return total, (grad_states.reshape(-1, states.shape[1])[:size], grad_weight)


def _backward(chunk_elements: int, gradients: tuple[Array, Array], scale: Array) -> tuple[Array, Array, None]:
    del chunk_elements
    grad_states, grad_weight = gradients
    return grad_states * scale.astype(grad_states.dtype), grad_weight * scale, None


linear_cross_entropy.defvjp(_cross_entropy, _backward)  # pyright: ignore[reportFunctionMemberAccess]
