"""Sharpness: the trace and the largest eigenvalue of the loss's Hessian over all parameters.

Trace after Hutchinson (1990): E[v'Hv] = tr H for v of random signs; largest eigenvalue by power iteration, each step a
Hessian-vector product (Pearlmutter 1994). That models of equal loss can differ in flatness and transfer is in Liu et
al. 2022 (arXiv 2210.14199). Descriptive only: here a sharper model has also been the better one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from equiloss.records.probe import Measure, ProbeResult
from pretrain.model.decoder import GPT
from pretrain.probes.registry import probe
from pretrain.probes.subject import Subject

Product = Callable[[list[Tensor]], list[Tensor]]


@probe("sharpness")
def of_subject(subject: Subject) -> ProbeResult:
    """Trace and top eigenvalue of the Hessian on 32 windows of the test text."""
    return hessian_spectrum(subject.decoder, subject.few_windows(32), seed=subject.options.seed)


def hessian_spectrum(model: GPT, rows: Tensor, draws: int = 8, steps: int = 20, seed: int = 0) -> ProbeResult:
    """Trace and top eigenvalue of the Hessian of the mean loss on windows (N, T+1)."""
    parameters: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
    product = hessian_product(lambda: _loss(model, rows), parameters)
    generator = torch.Generator().manual_seed(seed)
    samples = trace_samples(product, parameters, draws, generator)
    top, change = top_eigenvalue(product, parameters, steps, generator)
    count = sum(p.numel() for p in parameters)
    trace = Measure.mean_of(samples, unit="nats")
    measures = {
        "trace": trace,
        "trace_per_parameter": Measure(value=trace.value / count, unit="nats"),
        "top_eigenvalue": Measure(value=top, unit="nats"),
    }
    return ProbeResult.of(measures, parameters=count, last_relative_change=change, tokens=rows[:, 1:].numel())


def _loss(model: GPT, rows: Tensor) -> Tensor:
    with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no second derivative
        logits = model(rows[:, :-1])
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())


def hessian_product(loss: Callable[[], Tensor], parameters: list[Tensor]) -> Product:
    """v → Hv: the gradient of the gradient's product with v."""
    gradients = torch.autograd.grad(loss(), parameters, create_graph=True)

    def product(vectors: list[Tensor]) -> list[Tensor]:
        inner = sum((g * v).sum() for g, v in zip(gradients, vectors, strict=True))
        assert isinstance(inner, Tensor)
        return list(torch.autograd.grad(inner, parameters, retain_graph=True, materialize_grads=True))

    return product


def trace_samples(product: Product, parameters: list[Tensor], draws: int, generator: torch.Generator) -> list[float]:
    """v'Hv for `draws` vectors of random signs: their mean estimates the trace."""
    samples: list[float] = []
    for _ in range(draws):
        signs = [torch.randint(0, 2, p.shape, generator=generator).to(p.dtype) * 2 - 1 for p in parameters]
        samples.append(float(sum((v * h).sum() for v, h in zip(signs, product(signs), strict=True))))
    return samples


def top_eigenvalue(
    product: Product, parameters: list[Tensor], steps: int, generator: torch.Generator
) -> tuple[float, float]:
    """The eigenvalue of largest size by power iteration, and the last step's relative change."""
    vectors = _unit([torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters])
    value, change = 0.0, math.inf
    for _ in range(steps):
        image = product(vectors)
        new = float(sum((v * h).sum() for v, h in zip(vectors, image, strict=True)))
        change = abs(new - value) / max(abs(new), 1e-12)
        value, vectors = new, _unit(image)
        if change < 1e-4:
            break
    return value, change


def _unit(vectors: list[Tensor]) -> list[Tensor]:
    norm = math.sqrt(sum(float((v * v).sum()) for v in vectors))
    return [v / max(norm, 1e-30) for v in vectors]
