"""The steps of a run made by JAX (`pretrain.jax`), behind the face of `Stepper`: the rest of a run is the same code."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor

from equiloss.seeds import stream
from pretrain.config import RunConfig
from pretrain.jax.trainer import Trainer
from pretrain.model.cross_entropy import IGNORE
from pretrain.model.decoder import GPT
from pretrain.training.distributed import World
from pretrain.training.optimizers import Optimizers, decays
from pretrain.training.step import StepResult, micro_batches


class JaxStepper:
    """Makes the steps of a run from the weights and moments that `model` and `optimizers` have before the first one.

    torch holds them on the CPU for whoever reads them (states, samples, the checkpoint); `hand_back` renews them.
    """

    scaler = None

    def __init__(self, model: GPT, optimizers: Optimizers, config: RunConfig, world: World) -> None:
        self.model, self.optimizers, self.config, self.world = model, optimizers, config, world

    @cached_property
    def trainer(self) -> Trainer:
        """The weights and moments in JAX, and the compiled steps."""
        train = self.config.train
        state = {
            name: {key: value.numpy() for key, value in of.items()} for name, of in self.optimizers.state().items()
        }
        return Trainer(
            self.config,
            {name: value.numpy() for name, value in self.model.state_dict().items()},
            state,
            frozenset(name for name, parameter in self.model.named_parameters() if decays(parameter, train)),
            micro_batches(self.config, self.world.devices),
            stream(train.seed if train.dropout_seed is None else train.dropout_seed, "dropout", "jax"),
        )

    @property
    def notes(self) -> list[str]:
        """What the record of the run says about how its steps were made, beside its configuration."""
        dropout = "dropout was drawn by JAX: what dropout_seed drops here, it does not drop with torch"
        return [dropout] if self.config.model.dropout else []

    @property
    def device(self) -> str:
        """What the steps are made on."""
        return self.trainer.platform

    def __call__(self, step: int, ids: Tensor, targets: Tensor, lr: float) -> StepResult:
        """Make step number `step` (from 0) on this process's sequences: ids, targets (b, T)."""
        loss, norm = self.trainer.step(step, ids.numpy(), targets.numpy(), lr)
        finite, limit = math.isfinite(norm), self.config.train.clip_norm
        clipped = finite and limit is not None and norm > limit
        return StepResult(loss / self.world.size, norm, clipped, skipped=not finite)

    def evaluate(self, ids: Tensor, targets: Tensor) -> tuple[float, float]:
        """Summed loss in nats and number of targets of ids, targets (b, T): all processes' loss, on the main one."""
        total = self.trainer.evaluate(ids.numpy(), targets.numpy())
        return total if self.world.main else 0.0, float((targets != IGNORE).sum())

    @torch.no_grad()
    def hand_back(self) -> None:
        """Bring `model` and `optimizers` up to date."""
        weights = {name: torch.from_numpy(value) for name, value in self.trainer.weights().items()}
        self.model.load_state_dict(weights)
        state = self.trainer.state().items()
        self.optimizers.load({name: {key: torch.from_numpy(value) for key, value in of.items()} for name, of in state})
