"""One optimizer step: micro-batches in, loss and gradient norm out. All the arithmetic of training is here."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equiloss.seeds import stream
from pretrain.config import RunConfig
from pretrain.model.cross_entropy import IGNORE
from pretrain.model.decoder import GPT
from pretrain.model.precision import Precision, autocast
from pretrain.training.distributed import World, synchronising
from pretrain.training.optimizers import LossScaler, Optimizers


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step came to. `loss` is this process's share of the mean loss: the shares of all add up to it."""

    loss: float
    grad_norm: float
    clipped: bool
    skipped: bool


class Stepper:
    """Makes the steps of a run on this process's share of each batch.

    The loss is the mean over all tokens of the step, whatever the micro-batches and processes they are spread over:
    each micro-batch gives its sum divided by the tokens of the whole step. Gradients travel in the last micro-batch
    alone. Steps whose gradients are not finite leave the weights alone and say so.
    """

    def __init__(self, model: GPT, wrapped: nn.Module, optimizers: Optimizers, config: RunConfig, world: World) -> None:
        self.model, self.wrapped, self.optimizers, self.world = model, wrapped, optimizers, world
        assert config.train.precision != "auto"  # resolved before the run
        self.precision: Precision = config.train.precision
        self.clip_norm = config.train.clip_norm
        self.micro_batches = micro_batches(config, world.devices)
        self.weight = world.size / config.tokens_per_step  # DDP and FSDP average over processes
        self.scaler = LossScaler() if self.precision == "fp16" else None
        seed = config.train.dropout_seed
        self.dropout_seed = stream(config.train.seed if seed is None else seed, "dropout", world.rank)
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    @property
    def notes(self) -> list[str]:
        """What the record of the run says about how its steps were made, beside its configuration."""
        return []

    @property
    def device(self) -> str:
        """What the steps are made on."""
        return str(self.world.device)

    def hand_back(self) -> None:
        """Bring `model` and `optimizers` up to date: they are what steps are made on here."""

    def __call__(self, step: int, ids: Tensor, targets: Tensor, lr: float) -> StepResult:
        """Make step number `step` (from 0) on this process's sequences: ids, targets (b, T).

        b is a multiple of the number of micro-batches; sequences that only fill up carry no targets.
        """
        if self.model.dropout:
            torch.manual_seed(stream(self.dropout_seed, step))  # a function of the step: nothing to save and restore
        scale = self.scaler.scale if self.scaler else 1.0
        total: Tensor | None = None
        parts = zip(ids.chunk(self.micro_batches), targets.chunk(self.micro_batches), strict=True)
        for number, (x, y) in enumerate(parts, start=1):
            with synchronising(self.wrapped, last=number == self.micro_batches):
                with autocast(self.precision, self.world.device):
                    loss = self.wrapped(x, y, "sum") * self.weight
                (loss * scale if self.scaler else loss).backward()
            total = loss.detach() if total is None else total + loss.detach()
        assert total is not None
        return self._update(total, scale, lr)

    def _update(self, total: Tensor, scale: float, lr: float) -> StepResult:
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # type: ignore[operator]
        loss, grad_norm = torch.stack([total.to(norm.dtype), norm]).tolist()  # the step's one wait for the device
        grad_norm /= scale
        finite = math.isfinite(grad_norm)
        clipped = finite and self.clip_norm is not None and grad_norm > self.clip_norm
        if finite:
            factor = 1 / scale
            if clipped and self.clip_norm is not None:
                factor *= self.clip_norm / grad_norm
            if factor != 1.0:
                torch._foreach_mul_(gradients, factor)  # pyright: ignore[reportPrivateImportUsage]
            self.optimizers.step(lr)
        if self.scaler:
            self.scaler.update(finite)
        self.optimizers.zero_grad()
        return StepResult(loss / self.world.size, grad_norm, clipped, skipped=not finite)

    @torch.no_grad()
    def evaluate(self, ids: Tensor, targets: Tensor) -> tuple[float, float]:
        """Summed loss in nats and number of targets of ids, targets (b, T); dropout off, weights untouched."""
        self.wrapped.eval()
        with autocast(self.precision, self.world.device):
            total = self.wrapped(ids, targets, "sum")
        self.wrapped.train()
        return float(total), float((targets != IGNORE).sum())


def micro_batches(config: RunConfig, devices: int) -> int:
    """Micro-batches per step and device: as many as keep each at `batch_size` sequences or fewer."""
    mine = math.ceil(config.train.batch_size * config.train.accumulate / devices)
    return math.ceil(mine / config.train.batch_size)


def my_share(config: RunConfig, world: World) -> tuple[slice, int]:
    """This process's sequences of a step, and how many to hold (the same everywhere; the rest is filling)."""
    batch = config.train.batch_size * config.train.accumulate
    count = micro_batches(config, world.devices)
    held = math.ceil(math.ceil(batch / world.devices) / count) * count * world.local
    return slice(batch * world.rank // world.size, batch * (world.rank + 1) // world.size), held
