"""The loss of a vocabulary head without its logits: they exist a chunk at a time, and gradients form on the way.

With a vocabulary of 50,257 the logits of one batch are larger than the model. Since the loss is a sum over tokens, a
chunk of tokens gives its part of the loss and of both gradients, d logits = softmax − one-hot, and can be forgotten.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE = -100
"""A target that carries no loss."""

CHUNK_ELEMENTS = 1 << 23
"""Logits formed at once on a CPU: what its caches still help with. Other devices take `DEVICE_CHUNK_ELEMENTS`."""
DEVICE_CHUNK_ELEMENTS = 1 << 26
CHUNKS_HELD = 4
"""Chunks between two additions to the weight's gradient, which is as large as the weight."""


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, chunk_elements: int | None = None) -> Tensor:
    """Summed cross-entropy in nats of hidden (N, C) against weight (V, C) and targets (N,; -100 carries no loss).

    Logits that fit one chunk take the plain way, which is faster then.
    """
    if chunk_elements is None:
        chunk_elements = CHUNK_ELEMENTS if hidden.device.type == "cpu" else DEVICE_CHUNK_ELEMENTS
    if hidden.shape[0] * weight.shape[0] <= chunk_elements:
        logits = F.linear(hidden, weight)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        return F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="sum")
    if torch.is_autocast_enabled(hidden.device.type):
        hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
    return _LinearCrossEntropy.apply(hidden, weight, targets, chunk_elements)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, chunk_elements: int) -> Tensor:
        rows = max(32, chunk_elements // weight.shape[0])
        held_rows = min(rows * CHUNKS_HELD, len(hidden))
        exact = torch.promote_types(hidden.dtype, torch.float32)  # of loss and the sum over chunks
        narrow = weight.to(hidden.dtype)
        need_hidden, need_weight = ctx.needs_input_grad[:2]
        grad_hidden = torch.empty_like(hidden) if need_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=exact) if need_weight else None
        total = torch.zeros((), dtype=exact, device=hidden.device)
        buffer = torch.empty(held_rows, weight.shape[0], dtype=hidden.dtype, device=hidden.device)
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, len(hidden), rows):
                part, target = hidden[start : start + rows], targets[start : start + rows]
                at = start % held_rows
                grad = buffer[at : at + len(part)]
                torch.mm(part, narrow.T, out=grad)
                total += _to_gradient(grad, target, exact)
                if grad_hidden is not None:
                    torch.mm(grad, narrow, out=grad_hidden[start : start + rows])
                end = start + len(part)
                if grad_weight is not None and (end % held_rows == 0 or end == len(hidden)):
                    held, grads = hidden[start - at : end], buffer[: at + len(part)]
                    if grads.dtype == exact:
                        grad_weight.addmm_(grads.T, held)
                    else:
                        grad_weight += grads.T @ held
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.weight_dtype = weight.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        scale = grad_outputs[0]
        grad_hidden, grad_weight = ctx.saved_tensors
        return (
            None if grad_hidden is None else grad_hidden * scale.to(grad_hidden.dtype),
            None if grad_weight is None else (grad_weight * scale).to(ctx.weight_dtype),
            None,
            None,
        )


def _to_gradient(logits: Tensor, target: Tensor, exact: torch.dtype) -> Tensor:
    """Turn logits (N, V) in place into the gradient of their summed loss, softmax − one-hot, and return that loss.

    logsumexp = highest logit − log(highest probability), which is at least 1/V: exact however improbable the target.
    """
    carries = target != IGNORE
    at_target = (torch.arange(len(target), device=target.device), torch.where(carries, target, 0))
    of_target, highest = logits[at_target].to(exact), logits.amax(1).to(exact)
    torch.softmax(logits, 1, out=logits)
    logsumexp = highest - logits.amax(1).to(exact).log()
    # Not scatter_add_, which in bf16 takes the CPU longer than the softmax.
    logits.index_put_(at_target, logits.new_full((), -1.0), accumulate=True)
    logits.mul_(carries[:, None])
    return ((logsumexp - of_target) * carries).sum()
