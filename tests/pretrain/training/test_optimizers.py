"""Schedules against torch's, what decays, which optimizer has which matrix, and the fp16 scaler against torch's."""

from __future__ import annotations

import pytest
import torch
from torch.optim import lr_scheduler

from pretrain.config import ModelConfig, TrainConfig
from pretrain.model.decoder import GPT
from pretrain.training.optimizers import LossScaler, Optimizers, lr_at

MODEL = ModelConfig(n_layer=2, n_head=2, n_embd=16, context=8, vocab_size=31, tie_weights=False)


def from_torch(config: TrainConfig) -> list[float]:
    """The schedule put together from torch's own schedulers."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=config.lr)
    steps, warm = config.steps, round(config.warmup * config.steps)
    parts: list[lr_scheduler.LRScheduler] = []
    milestones: list[int] = []
    if warm:
        parts.append(lr_scheduler.LinearLR(optimizer, 1 / warm, 1.0, max(1, warm - 1)))
        milestones.append(warm)
    floor = config.floor
    if config.schedule == "constant":
        parts.append(lr_scheduler.ConstantLR(optimizer, 1.0))
    elif config.schedule == "cosine":
        parts.append(lr_scheduler.CosineAnnealingLR(optimizer, steps - warm, config.lr * floor))
    elif config.schedule == "linear":
        parts.append(lr_scheduler.LinearLR(optimizer, 1.0, floor, steps - warm))
    else:
        down = round(config.decay * steps)
        parts += [lr_scheduler.ConstantLR(optimizer, 1.0), lr_scheduler.LinearLR(optimizer, 1.0, floor, down)]
        milestones.append(steps - down)
    scheduler = lr_scheduler.SequentialLR(optimizer, parts, milestones)
    rates: list[float] = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.filterwarnings("ignore:The epoch parameter")
@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear", "wsd"])
@pytest.mark.parametrize(("warmup", "floor", "steps"), [(0.05, 0.1, 200), (0.25, 0.0, 60), (0.0, 0.5, 40)])
def test_schedules_equal_torchs(schedule: str, warmup: float, floor: float, steps: int) -> None:
    config = TrainConfig.model_validate(
        {"schedule": schedule, "warmup": warmup, "floor": floor, "steps": steps, "lr": 0.0014}
    )
    assert [lr_at(step, config) for step in range(steps)] == pytest.approx(from_torch(config), rel=1e-9)


def test_a_schedule_starts_peaks_and_ends_where_it_says() -> None:
    config = TrainConfig(steps=100, warmup=0.05, floor=0.1, lr=1.0)
    assert [lr_at(step, config) for step in (0, 4, 5)] == pytest.approx([0.2, 1.0, 1.0])
    assert lr_at(100, config) == pytest.approx(0.1)
    assert all(lr_at(step, config) > 0 for step in range(100))


@pytest.mark.parametrize("decay_on", ["matrices", "everything"])
def test_decay_only_where_it_is_said(decay_on: str) -> None:
    model = GPT(MODEL)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
    config = TrainConfig.model_validate({"decay_on": decay_on, "weight_decay": 0.5})
    optimizers = Optimizers(model, config)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)  # what moves now is moved by decay
    optimizers.step(lr=0.1)
    for name, parameter in model.named_parameters():
        decayed = decay_on == "everything" or parameter.ndim == 2
        assert torch.allclose(parameter, torch.full_like(parameter, 0.95 if decayed else 1.0)), name


def test_muon_has_the_matrices_inside_the_blocks_and_adamw_the_rest() -> None:
    model = GPT(MODEL)
    optimizers = Optimizers(model, TrainConfig(optimizer="muon"))
    adamw, muon = optimizers.all
    assert isinstance(adamw, torch.optim.AdamW)
    assert isinstance(muon, torch.optim.Muon)
    by_muon = {optimizers.names[p] for group in muon.param_groups for p in group["params"]}
    assert by_muon == {f"blocks.{i}.{m}.weight" for i in (0, 1) for m in MATRICES}
    both = sum(len(group["params"]) for optimizer in optimizers.all for group in optimizer.param_groups)
    assert both == len(list(model.parameters()))


MATRICES = ("attention.qkv", "attention.out", "mlp.up", "mlp.down")


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_state_survives_the_round_trip_to_the_bit(optimizer: str) -> None:
    config = TrainConfig.model_validate({"optimizer": optimizer})
    x = torch.arange(16).view(2, 8)

    def step(model: GPT, optimizers: Optimizers) -> None:
        model(x, x).backward()
        optimizers.step(0.01)
        optimizers.zero_grad()

    first = GPT(MODEL)
    optimizers = Optimizers(first, config)
    for _ in range(3):
        step(first, optimizers)
    second = GPT(MODEL, seed=9)
    second.load_state_dict(first.state_dict())
    again = Optimizers(second, config)
    again.load({name: {k: v.clone() for k, v in state.items()} for name, state in optimizers.state().items()})
    for model, both in ((first, optimizers), (second, again)):
        step(model, both)
        step(model, both)
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, second.get_parameter(name)), name


def test_the_loss_scaler_follows_torchs_rule() -> None:
    ours, theirs = LossScaler(growth_interval=3), torch.amp.GradScaler("cpu", growth_interval=3)  # pyright: ignore
    parameter = torch.nn.Parameter(torch.ones(1))
    sgd = torch.optim.SGD([parameter], lr=0.0)
    for finite in (True, False, True, True, True, True, False, False, True, True, True):
        theirs.scale(parameter.sum()).backward()
        if not finite:
            assert parameter.grad is not None
            parameter.grad.fill_(float("inf"))
        theirs.step(sgd)
        theirs.update()
        sgd.zero_grad()
        ours.update(finite)
        assert ours.scale == theirs.get_scale()
