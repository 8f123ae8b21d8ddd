"""The chunked head equals the plain one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from pretrain.model.cross_entropy import IGNORE, linear_cross_entropy


def plain(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(F.linear(hidden, weight), targets, ignore_index=IGNORE, reduction="sum")


@pytest.mark.parametrize("chunk", [1, 40 * 97, 10**9])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_loss_and_gradients_equal_the_plain_ones(chunk: int, dtype: torch.dtype, tolerance: float) -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(97, (130,), generator=generator)
    targets[::7] = IGNORE
    hidden = torch.randn(130, 16, generator=generator, dtype=dtype).requires_grad_()
    weight = torch.randn(97, 16, generator=generator, dtype=dtype).requires_grad_()
    results = []
    for loss in (linear_cross_entropy(hidden, weight, targets, chunk), plain(hidden, weight, targets)):
        mean = loss / 111
        results.append((mean.detach(), *torch.autograd.grad(mean, (hidden, weight))))
    for ours, theirs in zip(*results, strict=True):
        assert ours.dtype == dtype
        assert (ours - theirs).abs().max() / theirs.abs().max() < tolerance


def test_the_derivative_is_right() -> None:
    targets = torch.tensor([0, 4, IGNORE, 2] * 10)
    hidden = torch.randn(40, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda h, w: linear_cross_entropy(h, w, targets, 1), (hidden, weight))


def test_under_autocast_the_loss_stays_close_and_gradients_keep_the_weights_type() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(97, (64,), generator=generator)
    hidden = torch.randn(64, 16, generator=generator).requires_grad_()
    weight = torch.randn(97, 16, generator=generator).requires_grad_()
    exact = plain(hidden, weight, targets)
    (expected,) = torch.autograd.grad(exact, weight)
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_cross_entropy(hidden, weight, targets, 1)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=0.01)
    (gradient,) = torch.autograd.grad(loss, weight)
    assert gradient.dtype == torch.float32
    assert (gradient - expected).norm() / expected.norm() < 0.02


def test_without_gradients_nothing_is_kept() -> None:
    hidden, weight = torch.randn(64, 16), torch.randn(97, 16)
    targets = torch.randint(97, (64,))
    with torch.no_grad():
        assert torch.allclose(linear_cross_entropy(hidden, weight, targets, 1), plain(hidden, weight, targets))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_target_whose_probability_underflows_has_its_true_loss(dtype: torch.dtype) -> None:
    hidden, weight = torch.full((64, 1), 1.0, dtype=dtype), torch.linspace(-300, 300, 97, dtype=dtype)[:, None]
    targets = torch.zeros(64, dtype=torch.long)
    weight.requires_grad_()
    loss = linear_cross_entropy(hidden, weight, targets, 1)
    assert loss.item() / 64 == pytest.approx(600, rel=1e-3)
