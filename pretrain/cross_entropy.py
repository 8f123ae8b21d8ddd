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
"""Logits held at once; 32 MB in fp32."""


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, chunk_elements: int = CHUNK_ELEMENTS
) -> Tensor:
    """Summed cross-entropy in nats of hidden (N, C) against weight (V, C) and targets (N,; -100 carries no loss).

    Logits that fit one chunk take the plain way, which is faster then.
    """
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
        exact = torch.promote_types(hidden.dtype, torch.float32)  # of softmax, loss and the sum over chunks
        narrow = weight.to(hidden.dtype)
        need_hidden, need_weight = ctx.needs_input_grad[:2]
        grad_hidden = torch.empty_like(hidden) if need_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=exact) if need_weight else None
        total = torch.zeros((), dtype=exact, device=hidden.device)
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, len(hidden), rows):
                part, target = hidden[start : start + rows], targets[start : start + rows]
                logits = (part @ narrow.T).to(exact)  # (rows, V)
                carries = target != IGNORE
                index = torch.where(carries, target, 0)[:, None]
                logsumexp = logits.logsumexp(1, keepdim=True)
                total += ((logsumexp - logits.gather(1, index))[:, 0] * carries).sum()
                if not (need_hidden or need_weight):
                    continue
                grad = logits.sub_(logsumexp).exp_()  # softmax
                grad.scatter_add_(1, index, grad.new_full((), -1.0).expand_as(index))
                grad = grad.mul_(carries[:, None]).to(hidden.dtype)
                if grad_hidden is not None:
                    torch.mm(grad, narrow, out=grad_hidden[start : start + rows])
                if grad_weight is not None:
                    if grad.dtype == exact:
                        grad_weight.addmm_(grad.T, part)
                    else:
                        grad_weight += grad.T @ part
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
