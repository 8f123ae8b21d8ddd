"""Low-rank fine-tuning: W + (alpha / rank) B A in place of W, merged into plain weights at the end (Hu et al. 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from equiloss.seeds import stream
from pretrain.model.language_model import LanguageModel

CONV1D = "Conv1D"
"""What GPT-2's matrices are in `transformers`: (in, out)."""


class LowRank(nn.Module):
    """The addition to one matrix (out, in): B (out, rank) starts at zero, A (rank, in) at random."""

    def __init__(self, weight: Tensor, rank: int, alpha: float, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        down = torch.empty(rank, weight.shape[1]).normal_(0.0, weight.shape[1] ** -0.5, generator=generator)
        self.down = nn.Parameter(down.to(weight.device))
        self.up = nn.Parameter(weight.new_zeros(weight.shape[0], rank))
        self.scale = alpha / rank

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with its addition, in fp32 as `merge` computes it: what is validated is what is saved."""
        with torch.autocast(weight.device.type, enabled=False):
            return weight + self.scale * (self.up @ self.down)


def add(model: LanguageModel, rank: int, alpha: float, seed: int) -> None:
    """Freeze the model and give every matrix of its blocks a low-rank addition that trains."""
    model.requires_grad_(False)
    for name, module in list(model.adaptable.named_modules()):
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and (isinstance(module, nn.Linear) or type(module).__name__ == CONV1D):
            addition = LowRank(weight, rank, alpha, stream(seed, "lora", name))
            parametrize.register_parametrization(module, "weight", addition)


def merge(model: LanguageModel) -> None:
    """Make the additions part of the weights: the model is plain again."""
    for module in list(model.adaptable.modules()):
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    model.requires_grad_(True)
