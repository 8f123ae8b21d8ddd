"""The decoder in JAX is the one in torch: the same logits, losses and gradients from the same weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pretrain.config import ModelConfig
from pretrain.model.cross_entropy import IGNORE
from pretrain.model.decoder import GPT

jax = pytest.importorskip("jax")
jnp = pytest.importorskip("jax.numpy")

from pretrain.jax import decoder  # noqa: E402

SHAPE: dict[str, Any] = {"n_layer": 2, "n_head": 2, "n_embd": 32, "context": 16, "vocab_size": 96}
INTERVENTIONS: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "untied": {"tie_weights": False},
    "no qkv bias": {"qkv_bias": False},
    "no out bias": {"out_bias": False},
    "std norm": {"norm": "std"},
    "torch's init, tied": {"init": "torch"},
    "flax's init": {"init": "flax", "tie_weights": False},
    "the diary's JAX model": {"tie_weights": False, "qkv_bias": False, "norm": "std", "init": "flax"},
    "another shape": {"n_layer": 3, "n_head": 8, "context": 9, "vocab_size": 50},
}
COVERED = {"n_layer", "n_head", "n_embd", "context", "vocab_size"} | {
    key for of in INTERVENTIONS.values() for key in of
}


def pair(seed: int = 0, **changes: Any) -> tuple[GPT, dict[str, Any]]:
    """A model in torch whose biases and norms are not at their trivial beginnings, and its weights in JAX."""
    model = GPT(ModelConfig(**(SHAPE | changes)), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model, {name: jnp.array(value.numpy()) for name, value in model.state_dict().items()}


def batch(config: ModelConfig, rows: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    assert config.vocab_size is not None
    generator = torch.Generator().manual_seed(7)
    windows = torch.randint(config.vocab_size, (rows, config.context + 1), generator=generator)
    targets = windows[:, 1:].clone()
    targets[0, :4] = IGNORE
    return windows[:, :-1], targets


def in_jax(config: ModelConfig) -> Any:
    """Logits, the summed loss and its gradients, of parameters, ids and targets."""

    @jax.jit
    def every(parameters: Any, ids: Any, targets: Any) -> Any:
        loss, gradients = jax.value_and_grad(decoder.loss_sum)(parameters, ids, targets, config)
        return decoder.logits(parameters, ids, config), loss, gradients

    return every


def assert_close(ours: Any, theirs: torch.Tensor, name: str, rel: float = 2e-5) -> None:
    """Equal within `rel` of the largest number."""
    expected = theirs.detach().numpy()
    largest = max(float(np.abs(expected).max()), 1e-3)
    np.testing.assert_allclose(np.asarray(ours), expected, rtol=0, atol=rel * largest, err_msg=name)


def test_every_field_of_a_model_is_compared() -> None:
    assert set(ModelConfig.model_fields) == COVERED | {"dropout"}  # drawn from a stream of its own: test_trainer


@pytest.mark.parametrize("changes", INTERVENTIONS.values(), ids=INTERVENTIONS)
def test_logits_loss_and_gradients_are_those_of_torch(changes: dict[str, Any]) -> None:
    model, parameters = pair(**changes)
    ids, targets = batch(model.config)
    logits, loss, gradients = in_jax(model.config)(parameters, ids.numpy(), targets.numpy())
    assert_close(logits, model(ids), "logits")
    theirs = model(ids, targets, "sum")
    theirs.backward()
    assert float(loss) == pytest.approx(theirs.item(), rel=1e-6)
    assert gradients.keys() == dict(model.named_parameters()).keys()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert_close(gradients[name], parameter.grad, name)


def test_a_constant_row_has_the_gradient_of_torch_under_the_std_norm() -> None:
    model, parameters = pair(norm="std")
    for name in ("token_embedding.weight", "position_embedding.weight"):
        parameters[name] = jnp.ones_like(parameters[name])  # every row's deviation is 0
        model.state_dict()[name].fill_(1.0)
    ids, targets = batch(model.config)
    model(ids, targets, "sum").backward()
    gradients = in_jax(model.config)(parameters, ids.numpy(), targets.numpy())[2]
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert_close(gradients[name], parameter.grad, name)


@pytest.mark.parametrize("chunk_elements", [96 * 32, 96 * 40, 1 << 23])
def test_the_loss_by_chunks_is_that_of_whole_logits(chunk_elements: int) -> None:
    rng = np.random.default_rng(0)
    states, weight = (jnp.array(rng.normal(size=size), jnp.float32) for size in ((70, 8), (96, 8)))
    targets = jnp.array(np.where(np.arange(70) % 5 == 0, IGNORE, rng.integers(0, 96, 70)))

    def plain(states: Any, weight: Any) -> Any:
        surprise = -jax.nn.log_softmax(states @ weight.T)[jnp.arange(70), jnp.where(targets == IGNORE, 0, targets)]
        return jnp.where(targets == IGNORE, 0.0, surprise).sum()

    def chunked(states: Any, weight: Any) -> Any:
        return decoder.linear_cross_entropy(states, weight, targets, chunk_elements)

    expected, ours = (jax.value_and_grad(f, (0, 1))(states, weight) for f in (plain, chunked))
    for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(ours), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_bf16_rounds_products_alone() -> None:
    model, parameters = pair()
    ids = batch(model.config)[0]
    exact, rounded = (
        np.asarray(decoder.logits(parameters, jnp.array(ids.numpy()), model.config, dtype))
        for dtype in (jnp.float32, jnp.bfloat16)
    )
    with torch.autocast("cpu", torch.bfloat16):
        theirs = model(ids).detach().float().numpy()
    error, their_error = (np.abs(logits - exact).max() for logits in (rounded, theirs))
    assert rounded.dtype == np.float32
    assert 0 < error < 2 * their_error


def test_dropout_drops_its_share_and_only_with_a_key() -> None:
    model, parameters = pair(dropout=0.4)
    ids = jnp.array(batch(model.config)[0].numpy())
    keys = jax.random.split(jax.random.key(0), 2)
    plain = decoder.hidden(parameters, ids, model.config)
    first, again, other = (decoder.hidden(parameters, ids, model.config, key=key) for key in (keys[0], *keys))
    assert jnp.array_equal(first, again)
    assert not jnp.allclose(first, other)
    assert not jnp.allclose(first, plain)
    ones = decoder._drop(jnp.ones((1000, 100)), 0.4, keys[0])
    assert np.unique(ones).tolist() == pytest.approx([0.0, 1 / 0.6])
    assert float(ones.mean()) == pytest.approx(1.0, abs=0.01)
