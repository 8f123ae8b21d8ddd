"""The decoder: initial loss, equality with GPT-2, dropout, errors."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from equiloss.errors import InputError
from pretrain.config import ModelConfig
from pretrain.model.cross_entropy import IGNORE
from pretrain.model.decoder import GPT, Block


def shape(**changes: object) -> ModelConfig:
    fields = {"n_layer": 2, "n_head": 2, "n_embd": 32, "context": 24, "vocab_size": 97}
    return ModelConfig.model_validate({**fields, **changes})


def ids(config: ModelConfig, rows: int, length: int, seed: int = 0) -> torch.Tensor:
    assert config.vocab_size is not None
    return torch.randint(config.vocab_size, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize(
    ("n_layer", "n_embd", "vocab"),
    [(1, 16, 50), (4, 128, 800), (4, 128, 50257), (2, 256, 300), (2, 768, 50257), (3, 1600, 2048)],
)
def test_initial_loss_is_that_of_a_uniform_guess(tie: bool, n_layer: int, n_embd: int, vocab: int) -> None:
    config = shape(n_layer=n_layer, n_embd=n_embd, vocab_size=vocab, tie_weights=tie, context=32)
    x = ids(config, 8, 33)
    with torch.no_grad():
        loss = GPT(config)(x[:, :-1], x[:, 1:]).item()
    assert loss == pytest.approx(math.log(vocab), abs=0.1)


def test_initialisation_differs_only_where_the_intervention_does() -> None:
    tied, untied = GPT(shape(), seed=3), GPT(shape(tie_weights=False), seed=3)
    plain = GPT(shape(qkv_bias=False), seed=3)
    own = dict(untied.named_parameters())
    for name, parameter in tied.named_parameters():
        assert torch.equal(parameter, own[name]), name
    for name, parameter in plain.named_parameters():
        assert torch.equal(parameter, own[name]), name
    assert not torch.equal(GPT(shape(), seed=4).token_embedding.weight, tied.token_embedding.weight)


def test_building_a_model_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    GPT(shape())
    assert torch.equal(torch.get_rng_state(), before)


def test_loss_is_the_mean_over_targets_that_carry_it() -> None:
    config = shape()
    model, x = GPT(config), ids(config, 3, 24)
    targets = x.roll(-1, 1)
    targets[:, 10:] = IGNORE
    logits = model(x)
    expected = F.cross_entropy(logits[:, :10].flatten(0, 1), targets[:, :10].flatten())
    assert torch.allclose(model(x, targets), expected)
    total, count = model.loss_sum(x, targets)
    assert int(count) == 30
    assert torch.allclose(total / count, expected)
    assert model(x, torch.full_like(x, IGNORE)).item() == 0.0


def test_dropout_acts_in_training_only_and_is_not_part_of_the_shape() -> None:
    config = shape(dropout=0.5)
    x = ids(config, 2, 8)
    assert GPT(config).dropout == 0.0
    model = GPT(config, dropout=0.5)
    torch.manual_seed(0)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), GPT(config)(x))


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_logits_equal_those_of_transformers(tie: bool, bias: bool) -> None:
    transformers = pytest.importorskip("transformers")
    config = shape(n_layer=3, n_head=4, n_embd=64, tie_weights=tie, qkv_bias=bias)
    model = GPT(config, seed=1)
    torch.manual_seed(0)
    with torch.no_grad():  # far from initialisation, so that every part matters
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    theirs = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=97, n_positions=24, n_embd=64, n_layer=3, n_head=4, tie_word_embeddings=tie,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        )
    ).eval()  # fmt: skip
    with torch.no_grad():
        own = theirs.transformer
        own.wte.weight.copy_(model.token_embedding.weight)
        own.wpe.weight.copy_(model.position_embedding.weight)
        own.ln_f.load_state_dict(model.final_norm.state_dict())
        if not tie:
            theirs.lm_head.weight.copy_(model.head_weight)
        for mine, other in zip(model.blocks, own.h, strict=True):
            assert isinstance(mine, Block)
            other.ln_1.load_state_dict(mine.attention_norm.state_dict())
            other.ln_2.load_state_dict(mine.mlp_norm.state_dict())
            for linear, conv in (
                (mine.attention.qkv, other.attn.c_attn),
                (mine.attention.out, other.attn.c_proj),
                (mine.mlp.up, other.mlp.c_fc),
                (mine.mlp.down, other.mlp.c_proj),
            ):
                conv.weight.copy_(linear.weight.T)  # their layout is (in, out)
                conv.bias.copy_(linear.bias) if linear.bias is not None else conv.bias.zero_()
        x = ids(config, 3, 24)
        assert (model(x) - theirs(x).logits).abs().max().item() < 1e-5


def test_a_text_too_long_and_a_vocabulary_unknown_are_clear_errors() -> None:
    config = shape()
    with pytest.raises(InputError, match="context of 24"):
        GPT(config)(ids(config, 1, 25))
    with pytest.raises(InputError, match="vocab_size"):
        GPT(shape(vocab_size=None))
