"""Fine-tuning: the loss of a step is the mean over its tokens, the best epoch by validation loss is what is kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from equiloss.errors import EquilossError, InputError
from equiloss.files import atomic, json_line, reading
from equiloss.records.ift_run import Epoch, RunSeeds
from equiloss.seeds import stream
from ift.prompts import Tokens
from ift.recipe import Recipe
from ift.training import lora
from ift.training.batches import Batch, Encoded, micro_batches
from pretrain.config import TrainConfig
from pretrain.model.checkpoint import check_moments, check_tensors, load_plain
from pretrain.model.language_model import LanguageModel
from pretrain.model.precision import autocast
from pretrain.training.distributed import World
from pretrain.training.optimizers import Optimizers, lr_at

STATE_FORMAT = "equiloss.ift-state.v1"


@dataclass
class Trained:
    """What happened."""

    epochs: list[Epoch] = field(default_factory=list)
    base_validation_loss: float | None = None
    """The validation loss before the first step (and before noise)."""
    selected_epoch: int = 0
    stopped: Literal["patience", "epochs"] = "epochs"
    steps: int = 0
    loss_tokens: int = 0
    """Tokens that carry loss in one epoch."""

    @property
    def selected_validation_loss(self) -> float | None:
        """The validation loss of the epoch whose weights were kept."""
        return self.epochs[self.selected_epoch - 1].validation_loss


OnStep = Callable[[int, int, float, float], None]
"""Called after each step with (step, steps, loss, learning rate)."""
OnEpoch = Callable[[Epoch], Epoch]
"""Called after each epoch, while the model has its weights; gives the epoch with what is to be recorded of it."""


def mean_loss(model: LanguageModel, items: Sequence[Encoded], recipe: Recipe, world: World) -> float | None:
    """The loss per token in nats over all of `items`, each token weighted alike; None where there are none."""
    if not items:
        return None
    training = model.training
    model.eval()
    total = count = 0.0
    mine = sorted((item.tokens for item in items), key=lambda one: len(one.ids))[world.rank :: world.size]
    with torch.no_grad(), autocast(recipe.precision, world.device):
        for part in micro_batches(mine, recipe.micro_batch_tokens):
            batch = Batch(part, device=world.device, pack=model.packs)
            total += float(batch.loss_sum(model))
            count += batch.loss_tokens
    model.train(training)
    total, count = world.sum([total, count])
    return total / count


def fine_tune(
    model: LanguageModel,
    train: Sequence[Encoded],
    validation: Sequence[Encoded],
    recipe: Recipe,
    seeds: RunSeeds,
    world: World,
    *,
    state_path: Path | None = None,
    fingerprint: str = "",
    on_step: OnStep | None = None,
    on_epoch: OnEpoch | None = None,
) -> Trained:
    """Train `model` in place; at its end it holds the selected epoch's weights and is in evaluation mode.

    With `state_path`, a run that was stopped goes on after its last finished epoch and ends bit-equal to one that
    was not; the state is deleted by the caller. Raises: EquilossError when the loss is no longer a number.
    """
    order_seed, dropout_seed, noise_seed = (seed or 0 for seed in (seeds.order, seeds.dropout, seeds.noise))
    result = Trained(
        base_validation_loss=mean_loss(model, validation, recipe, world),
        loss_tokens=sum(item.loss_tokens for item in train),
    )
    add_noise(model, recipe.noise, noise_seed)
    if recipe.lora_rank is not None:
        lora.add(model, recipe.lora_rank, recipe.lora_alpha, noise_seed)
    steps_per_epoch = math.ceil(len(train) / recipe.batch_size)
    schedule = TrainConfig(
        steps=steps_per_epoch * recipe.epochs,
        **{name: getattr(recipe, name) for name in ("lr", "beta1", "beta2", "eps", "weight_decay", "decay_on")},
        **{name: getattr(recipe, name) for name in ("schedule", "warmup", "floor")},
    )
    optimizers = Optimizers(model, schedule)
    best = _resume(state_path, fingerprint, model, optimizers, result, world)
    model.train()
    while len(result.epochs) < recipe.epochs and not _out_of_patience(result, recipe):
        epoch = len(result.epochs) + 1
        start = time.monotonic()
        order = np.random.default_rng(stream(order_seed, "order", epoch)).permutation(len(train))
        total, norms, clipped, lr = 0.0, [], 0, 0.0
        for index in range(steps_per_epoch):
            step = (epoch - 1) * steps_per_epoch + index
            chosen = [train[i] for i in order[index * recipe.batch_size : (index + 1) * recipe.batch_size]]
            tokens = sum(item.loss_tokens for item in chosen)
            torch.manual_seed(stream(dropout_seed, "dropout", step, world.rank))
            loss = _backward(model, [item.tokens for item in chosen], tokens, recipe, world)
            norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm or math.inf))
            if not math.isfinite(norm) or not math.isfinite(loss):
                raise EquilossError(f"epoch {epoch}: the loss is no longer a number", "lower the recipe's lr")
            lr = lr_at(step, schedule)
            optimizers.step(lr)
            optimizers.zero_grad()
            total += loss * tokens
            norms.append(norm)
            clipped += recipe.clip_norm is not None and norm > recipe.clip_norm
            if on_step is not None:
                on_step(step + 1, schedule.steps, loss, lr)
        done = Epoch(
            epoch=epoch,
            train_loss=total / result.loss_tokens,
            validation_loss=mean_loss(model, validation, recipe, world),
            lr=lr,
            grad_norm=float(np.mean(norms)),
            clipped_share=clipped / steps_per_epoch,
            seconds=time.monotonic() - start,
        )
        result.epochs.append(done)
        result.steps = epoch * steps_per_epoch
        if recipe.select == "last" or _best_epoch(result) == epoch:
            result.selected_epoch = epoch
            best = _copy(model)
        if on_epoch is not None:
            result.epochs[-1] = on_epoch(done)
        if state_path is not None and world.main:
            _save(state_path, fingerprint, model, best, optimizers, result)
    result.stopped = "patience" if len(result.epochs) < recipe.epochs else "epochs"
    model.load_state_dict(best)
    if recipe.lora_rank is not None:
        lora.merge(model)
    model.eval()
    return result


def _backward(model: LanguageModel, items: Sequence[Tokens], loss_tokens: int, recipe: Recipe, world: World) -> float:
    """Gradients of the mean loss over all tokens of a step, whatever it is cut into; the loss."""
    total = 0.0
    mine = items[world.rank :: world.size]
    for part in micro_batches(mine, recipe.micro_batch_tokens):
        batch = Batch(part, share=not recipe.dropout, device=world.device, pack=model.packs)
        with autocast(recipe.precision, world.device):
            loss = batch.loss_sum(model) / loss_tokens
        loss.backward()
        total += float(loss.detach())
    if world.size > 1:
        for parameter in model.parameters():
            if parameter.requires_grad:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                dist.all_reduce(parameter.grad)
    return world.sum([total])[0]


@torch.no_grad()
def add_noise(model: LanguageModel, scale: float, seed: int) -> None:
    """Add Gaussian noise of `scale` × each matrix's standard deviation; a stream per matrix, named after it."""
    if not scale:
        return
    for name, parameter in model.named_parameters():
        if parameter.ndim >= 2:
            generator = torch.Generator().manual_seed(stream(seed, "noise", name))
            noise = torch.empty(parameter.shape).normal_(generator=generator).to(parameter.device)
            parameter += scale * parameter.std() * noise


def _best_epoch(result: Trained) -> int:
    """The first epoch with the lowest validation loss."""
    losses = [math.inf if one.validation_loss is None else one.validation_loss for one in result.epochs]
    return losses.index(min(losses)) + 1


def _out_of_patience(result: Trained, recipe: Recipe) -> bool:
    if recipe.patience is None or not result.epochs or result.epochs[-1].validation_loss is None:
        return False
    return len(result.epochs) - _best_epoch(result) >= recipe.patience


def _copy(model: LanguageModel) -> dict[str, Tensor]:
    """The weights now: a copy, not a reference that goes on changing."""
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def _save(
    path: Path, fingerprint: str, model: LanguageModel, best: dict[str, Tensor], optimizers: Optimizers, result: Trained
) -> None:
    document = {
        "format": STATE_FORMAT,
        "fingerprint": fingerprint,
        "model": {name: value.detach().cpu() for name, value in model.state_dict().items()},
        "best": best,
        "optimizer": optimizers.state(),
        "result": {**vars(result), "epochs": [one.model_dump(exclude_unset=True) for one in result.epochs]},
    }
    with atomic(path, "wb") as f:
        torch.save(document, f)


def _resume(
    path: Path | None, fingerprint: str, model: LanguageModel, optimizers: Optimizers, result: Trained, world: World
) -> dict[str, Tensor]:
    """Take up a state of the same run where there is one; the best weights so far."""
    document = None if path is None else _read_state(path)
    if document is None or document["fingerprint"] != fingerprint:
        return {}
    hint = "delete it to begin anew"
    with reading(str(path), "the state of a fine-tuning", hint):
        json_line(document["result"])  # a number that no record can hold
        epochs = [Epoch(**epoch) for epoch in document["result"]["epochs"]]
        selected, steps = int(document["result"]["selected_epoch"]), int(document["result"]["steps"])
        if not 1 <= selected <= len(epochs):
            raise ValueError(f"epoch {selected} of {len(epochs)} is selected")
        for weights in (document["model"], document["best"]):
            check_tensors(model.state_dict(), weights, str(path), hint)
        check_moments(dict(model.named_parameters()), document["optimizer"], str(path), hint)
    model.load_state_dict(document["model"])
    optimizers.load(document["optimizer"])
    result.epochs, result.selected_epoch, result.steps = epochs, selected, steps
    world.barrier()
    return document["best"]


def _read_state(path: Path) -> dict[str, Any] | None:
    """What a state file holds; None where there is none, or half a file or something else: to begin anew."""
    try:
        document: dict[str, Any] = load_plain(path, "")
    except InputError:
        return None
    known = isinstance(document, dict) and document.get("format") == STATE_FORMAT  # pyright: ignore[reportUnnecessaryIsInstance]
    return document if known and document.keys() >= {"fingerprint", "model", "best", "optimizer", "result"} else None


def fingerprint_in(path: Path) -> str | None:
    """The fingerprint of the run whose state lies at `path`; None where there is no whole state."""
    document = _read_state(path)
    return None if document is None else str(document["fingerprint"])
