"""The three initialisations, held against the libraries' own: torch's layers, and Flax NNX's where it is installed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torch import nn

from pretrain.config import ModelConfig
from pretrain.model.decoder import GPT

SHAPE = {"n_layer": 1, "n_head": 2, "n_embd": 128, "context": 64, "vocab_size": 500, "tie_weights": False}
PLACES = {
    "token_embedding.weight": ("embed", 500, 128),
    "position_embedding.weight": ("embed", 64, 128),
    "unembedding.weight": ("linear", 128, 500),
    "blocks.0.attention.qkv.weight": ("linear", 128, 128),
    "blocks.0.attention.out.weight": ("linear", 128, 128),
    "blocks.0.mlp.up.weight": ("linear", 128, 512),
    "blocks.0.mlp.down.weight": ("linear", 512, 128),
}


def values(init: str, name: str) -> np.ndarray[Any, Any]:
    config = ModelConfig.model_validate({**SHAPE, "init": init})
    return GPT(config, seed=1).get_parameter(name).detach().numpy().ravel()


def alike(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any]) -> bool:
    return bool(ks_2samp(ours, theirs).pvalue > 1e-3)


@pytest.mark.parametrize("name", PLACES)
def test_torchs_is_that_of_its_layers(name: str) -> None:
    kind, rows, columns = PLACES[name]
    torch.manual_seed(0)
    layer = nn.Embedding(rows, columns) if kind == "embed" else nn.Linear(rows, columns)
    assert alike(values("torch", name), layer.weight.detach().numpy().ravel())
    if isinstance(layer, nn.Linear) and name != "unembedding.weight":
        ours = values("torch", name.replace("weight", "bias"))
        assert np.abs(ours).max() <= rows**-0.5
        assert alike(ours, layer.bias.detach().numpy())


@pytest.mark.parametrize("name", PLACES)
def test_flaxs_is_that_of_nnx(name: str) -> None:
    nnx = pytest.importorskip("flax.nnx")
    kind, rows, columns = PLACES[name]
    rngs = nnx.Rngs(0)
    layer = nnx.Embed(rows, columns, rngs=rngs) if kind == "embed" else nnx.Linear(rows, columns, rngs=rngs)
    theirs = np.asarray((layer.embedding if kind == "embed" else layer.kernel)[...]).ravel()
    assert alike(values("flax", name), theirs)
    if kind == "linear" and name != "unembedding.weight":
        assert not values("flax", name.replace("weight", "bias")).any()


@pytest.mark.parametrize("name", PLACES)
def test_flaxs_is_lecuns(name: str) -> None:
    """Variance 1/fan-in, kernels cut off at two standard deviations of the normal they are drawn from."""
    kind, rows, columns = PLACES[name]
    ours, fan_in = values("flax", name), columns if kind == "embed" else rows
    assert np.std(ours) == pytest.approx(fan_in**-0.5, rel=0.03)
    cut = 2 * fan_in**-0.5 / 0.87962566
    assert (np.abs(ours).max() <= cut * 1.0001) == (kind == "linear")


@pytest.mark.parametrize("init", ["gpt2", "torch", "flax"])
def test_norms_begin_as_no_change(init: str) -> None:
    assert set(values(init, "final_norm.weight")) == {1.0}
    assert set(values(init, "final_norm.bias")) == {0.0}


@pytest.mark.parametrize(("init", "tie", "low", "high"), [
    ("gpt2", True, 0.95, 1.05), ("torch", False, 0.95, 1.1), ("flax", False, 0.95, 1.3), ("torch", True, 10, 1000),
])  # fmt: skip
def test_the_first_loss(init: str, tie: bool, low: float, high: float) -> None:
    """A tied head with the embedding's N(0, 1) begins with hundreds of nats; all others near a uniform guess."""
    config = ModelConfig.model_validate({**SHAPE, "n_embd": 768, "n_head": 12, "init": init, "tie_weights": tie})
    ids = torch.randint(500, (4, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        loss = GPT(config)(ids[:, :-1], ids[:, 1:]).item()
    assert low < loss / math.log(500) < high


def test_the_std_norm_is_differentiable_where_nothing_varies() -> None:
    model = GPT(ModelConfig.model_validate({**SHAPE, "norm": "std"}))
    x = torch.ones(2, 128, requires_grad=True)
    model.final_norm(x).sum().backward()
    assert x.grad is not None
    assert bool(torch.isfinite(x.grad).all())
