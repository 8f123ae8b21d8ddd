"""Optimizers, what they decay, the learning-rate schedule, and the scaler that keeps fp16 gradients in range."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pretrain.config import TrainConfig


def lr_at(step: int, config: TrainConfig) -> float:
    """The learning rate of `step`, counted from 0.

    With W = round(warmup × steps): lr × (step + 1) / W during the warm-up, the full lr at step W, and `floor` × lr
    reached after the last step. The same values as torch's LinearLR, CosineAnnealingLR and ConstantLR in a row.
    """
    warm = round(config.warmup * config.steps)
    if step < warm:
        return config.lr * (step + 1) / warm
    if config.schedule == "constant":
        return config.lr
    start = warm
    if config.schedule == "wsd":
        start = max(warm, config.steps - round(config.decay * config.steps))
    progress = min(1.0, max(0.0, (step - start) / max(1, config.steps - start)))
    share = 0.5 * (1 + math.cos(math.pi * progress)) if config.schedule == "cosine" else 1 - progress
    return config.lr * (config.floor + (1 - config.floor) * share)


class Optimizers:
    """AdamW, or Muon for the matrices inside the blocks and AdamW for the rest, behind one face."""

    def __init__(self, model: nn.Module, config: TrainConfig) -> None:
        self.names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
        muon: list[nn.Parameter] = []
        adamw: list[nn.Parameter] = []
        for name, parameter in model.named_parameters():
            inside = config.optimizer == "muon" and parameter.ndim == 2 and name.startswith("blocks.")
            (muon if inside else adamw).append(parameter)
        groups = [
            {"params": [p for p in adamw if decays(p, config)], "weight_decay": config.weight_decay},
            {"params": [p for p in adamw if not decays(p, config)], "weight_decay": 0.0},
        ]
        self.all: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(
                [group for group in groups if group["params"]],
                lr=config.lr,
                betas=(config.beta1, config.beta2),
                eps=config.eps,
                fused=True if adamw[0].device.type in ("cpu", "cuda", "mps") else None,
            )
        ]
        if muon:
            # match_rms_adamw (Liu et al. 2025, "Muon is scalable for LLM training"): updates of AdamW's size, so that
            # one learning rate and one weight decay serve both.
            self.all.append(
                torch.optim.Muon(
                    muon,
                    lr=config.lr,
                    weight_decay=config.weight_decay,
                    momentum=config.momentum,
                    adjust_lr_fn="match_rms_adamw",
                )
            )

    def step(self, lr: float) -> None:
        """Update the parameters with this learning rate."""
        for optimizer in self.all:
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for optimizer in self.all:
            optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, dict[str, Tensor]]:
        """The optimizers' state by the name of the parameter."""
        return {
            self.names[parameter]: dict(state) for optimizer in self.all for parameter, state in optimizer.state.items()
        }

    def load(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Take up a state that `state` gave."""
        for optimizer in self.all:
            document: dict[str, Any] = optimizer.state_dict()
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            document["state"] = {
                index: state[self.names[parameter]]
                for index, parameter in enumerate(parameters)
                if self.names[parameter] in state
            }
            optimizer.load_state_dict(document)


def decays(parameter: Tensor, config: TrainConfig) -> bool:
    """Whether weight decay pulls at this parameter: matrices (embeddings too), or everything."""
    return config.decay_on == "everything" or parameter.ndim >= 2


@dataclass
class LossScaler:
    """Dynamic loss scaling for fp16: halve after a step with non-finite gradients, double after many good ones.

    The rule and its constants are those of torch.amp.GradScaler (Micikevicius et al. 2018). The decision is made from
    the gradient norm over all devices, which torch's scaler does not see, so that every rank keeps the same scale.
    """

    scale: float = 65536.0
    good_steps: int = 0
    growth_interval: int = 2000

    def update(self, finite: bool) -> None:
        """Learn from one step."""
        if not finite:
            self.scale, self.good_steps = self.scale / 2, 0
            return
        self.good_steps += 1
        if self.good_steps == self.growth_interval:
            self.scale, self.good_steps = self.scale * 2, 0
