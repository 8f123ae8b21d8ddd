"""`pretrain fit`: the largest micro-batch that fits, and what the whole run will take, before it starts.

Memory grows linearly with the micro-batch. A few small steps measure the line; larger ones are tried only where the
line says that they fit, so that the system never has a reason to kill anything. The largest follows from the line;
where there is time it is tried too.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import torch

from equiloss.errors import EquilossError, InputError
from equiloss.numerals import binary_size, duration, number
from pretrain.config import RunConfig
from pretrain.data.order import evenly_spaced
from pretrain.model.decoder import GPT
from pretrain.model.device import pick_device
from pretrain.model.precision import resolve_precision, set_matmul_precision
from pretrain.training.defaults import eval_every
from pretrain.training.distributed import World
from pretrain.training.memory import available_bytes, forget_peak, peak_bytes, resident_bytes
from pretrain.training.optimizers import Optimizers
from pretrain.training.plots import plot_loss
from pretrain.training.step import Stepper

GPT2_VOCABULARY = 50257
SAFETY = 1.1
"""What a prediction is multiplied by before it is believed to fit."""
PATIENCE_S = 60.0
"""No single trial is made that is predicted to take longer."""
LARGEST = 4096
MEASURED_S = 3.0
"""So long a run's own step, and its validation, are measured again and again."""


@dataclass(frozen=True)
class Trial:
    """One measured step."""

    batch_size: int
    peak_bytes: int
    step_s: float


@dataclass(frozen=True)
class FittedBatch:
    """The largest micro-batch, how it was found, and what a sequence costs. `measured`: it was tried, not predicted.

    `config`: the run's, with that micro-batch or the largest below it that keeps the step as it is.
    """

    largest_batch_size: int
    measured: bool
    parameters: int
    limit_bytes: int
    fixed_bytes: int
    per_sequence_bytes: int
    flops_per_token: float
    tokens_per_s: float
    trials: list[Trial]
    config: RunConfig
    run_peak_bytes: int = 0
    """The most memory that the process of the run will have."""
    step_s: float | None = None
    """A step as the run makes it, with its micro-batches; None where it was not measured: it would take too long."""
    evaluated_tokens_per_s: float | None = None
    start_s: float = 0.0
    """What comes before the first step: the program, its libraries and the model."""
    save_s: float = 0.0
    """Writing a state."""
    end_s: float = 0.0
    """Drawing the losses at the end."""


def fit(config: RunConfig, vocab_size: int | None = None, memory_bytes: int | None = None) -> FittedBatch:
    """Measure steps of `config` on this machine's device with up to `memory_bytes` (default: 90 % of what is free).

    Raises: EquilossError when not even one sequence fits.
    """
    if config.train.backend != "torch":
        raise InputError("pretrain fit measures the steps of torch", "add --set train.backend=torch")
    device = pick_device(config.train.device)
    vocabulary = vocab_size or config.model.vocab_size or GPT2_VOCABULARY
    model = config.model.model_copy(update={"vocab_size": vocabulary})
    precision = resolve_precision(config.train.precision, device, model)
    resolved = RunConfig(model=model, train=config.train.model_copy(update={"precision": precision}))
    if config.train.threads is not None:
        torch.set_num_threads(config.train.threads)
    set_matmul_precision(precision)
    limit = memory_bytes or int(peak_bytes(device) + 0.9 * available_bytes(device))
    expected = expected_bytes(resolved)
    if expected + peak_bytes(device) > limit:
        raise EquilossError(
            f"weights, gradients and optimizer alone need {binary_size(expected)}, and {binary_size(limit)} are there",
            "use a smaller model, or train.parallel=fsdp on several devices",
        )
    bench = Bench(resolved, device)
    start_s = time.process_time()  # of the whole process so far, which has begun as a run begins
    floor = least_per_sequence(resolved)
    trials = search(bench, limit, floor, expected)
    fixed, slope = line(trials, floor, expected)
    largest, measured = trials[-1].batch_size, True
    reach = largest_that_fits(fixed, slope, limit)
    if reach > largest:
        largest, measured = reach, False
        if reach * trials[-1].step_s / trials[-1].batch_size < PATIENCE_S:
            trials.append(bench(reach))
            measured = True
    whole = resolved.train.batch_size * resolved.train.accumulate
    batch = max(size for size in range(1, min(whole, largest) + 1) if whole % size == 0)
    best = max(trials, key=lambda trial: trial.batch_size / trial.step_s)
    train = config.train.model_copy(update={"batch_size": batch, "accumulate": whole // batch})
    timely = whole * trials[-1].step_s / trials[-1].batch_size < PATIENCE_S
    step_s = bench.mean_step_s(batch, whole // batch) if timely else None
    tried = {trial.batch_size: trial.peak_bytes for trial in trials}
    parameters = sum(parameter.numel() for parameter in bench.model.parameters())
    on_cpu = device.type == "cpu"
    best_weights = 4 * parameters if train.checkpoint == "best" and on_cpu else 0
    evaluated_tokens_per_s, save_s = bench.evaluated_tokens_per_s(batch), bench.save_s()
    end_s, drawn_bytes = drawing()
    return FittedBatch(
        largest_batch_size=largest,
        measured=measured,
        parameters=parameters,
        limit_bytes=limit,
        fixed_bytes=round(fixed),
        per_sequence_bytes=round(slope),
        flops_per_token=flops_per_token(resolved),
        tokens_per_s=best.batch_size * resolved.model.context / best.step_s,
        trials=trials,
        config=RunConfig(model=config.model, train=train),
        run_peak_bytes=tried.get(batch, round(fixed + slope * batch)) + best_weights + drawn_bytes * on_cpu,
        step_s=step_s,
        evaluated_tokens_per_s=evaluated_tokens_per_s,
        start_s=start_s,
        save_s=save_s,
        end_s=end_s,
    )


class Bench:
    """Makes one real step with random tokens and measures it."""

    def __init__(self, config: RunConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        self.model = GPT(config.model, dropout=config.model.dropout).to(device).train()
        self.optimizers = Optimizers(self.model, config.train)

    def __call__(self, batch_size: int) -> Trial:
        """A step of `batch_size` sequences: forward, backward, update, after one to warm up."""
        stepper, ids = self._stepper(batch_size, 1)
        forget_peak(self.device)
        seconds: list[float] = []
        for step in range(2):
            start = time.perf_counter()
            stepper(step, ids[:, :-1], ids[:, 1:], lr=0.0)  # ends in a wait for the device
            seconds.append(time.perf_counter() - start)
        return Trial(batch_size, peak_bytes(self.device), min(seconds))

    def mean_step_s(self, batch_size: int, accumulate: int) -> float:
        """The mean time of a step as the run makes it."""
        stepper, ids = self._stepper(batch_size, accumulate)
        return _mean_s(lambda: stepper(0, ids[:, :-1], ids[:, 1:], lr=0.0))

    def save_s(self) -> float:
        """How long it takes to write a state: weights and moments."""
        start = time.perf_counter()
        with tempfile.TemporaryFile() as f:
            torch.save([self.model.state_dict(), self.optimizers.state()], f)
            f.flush()
            os.fsync(f.fileno())
        return time.perf_counter() - start

    def evaluated_tokens_per_s(self, batch_size: int) -> float:
        """How fast validation reads."""
        stepper, ids = self._stepper(batch_size, 1)
        seconds = _mean_s(lambda: stepper.evaluate(ids[:, :-1], ids[:, 1:]))
        return batch_size * self.config.model.context / seconds

    def _stepper(self, batch_size: int, accumulate: int) -> tuple[Stepper, torch.Tensor]:
        train = self.config.train.model_copy(update={"batch_size": batch_size, "accumulate": accumulate})
        config = RunConfig(model=self.config.model, train=train)
        assert config.model.vocab_size is not None
        shape = (batch_size * accumulate, config.model.context + 1)
        ids = torch.randint(config.model.vocab_size, shape, device=self.device)
        return Stepper(self.model, self.model, self.optimizers, config, World(0, 1, self.device)), ids


def drawing() -> tuple[float, int]:
    """What the picture at a run's end takes: seconds of processor, and the memory that the process then has more."""
    before, start = resident_bytes(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        plot_loss([], [], Path(folder) / "loss.png", "")
    return time.process_time() - start, max(0, resident_bytes() - before)


def _mean_s(work: Callable[[], object]) -> float:
    """The mean time of work that ends in a wait for the device, over some seconds of it, the first time left out."""
    marks: list[float] = []
    while len(marks) < 3 or (marks[-1] - marks[0] < MEASURED_S and len(marks) < 50):
        work()
        marks.append(time.perf_counter())
    return (marks[-1] - marks[0]) / (len(marks) - 1)


def search(bench: Callable[[int], Trial], limit: int, floor: float = 0.0, known: float = 0.0) -> list[Trial]:
    """Double the micro-batch from 1 as long as the line through the trials says that the next one fits."""
    trials = [bench(1)]
    if trials[0].peak_bytes > limit:
        raise EquilossError(
            f"one sequence needs {binary_size(trials[0].peak_bytes)}, and {binary_size(limit)} are there",
            "shorten model.context, or use a smaller model",
        )
    while trials[-1].batch_size < LARGEST:
        size = trials[-1].batch_size * 2
        fixed, slope = line(trials, floor, known)
        if (fixed + slope * size) * SAFETY > limit or 4 * trials[-1].step_s > PATIENCE_S:
            return trials
        trials.append(bench(size))
    return trials


def line(trials: list[Trial], floor: float = 0.0, known: float = 0.0) -> tuple[float, float]:
    """Fixed bytes and bytes per sequence, from the steepest growth seen, and at least `floor`.

    One trial shows no growth yet: what is `known` to be fixed is, and all the rest could be the sequence's own. Memory
    that the process had before and holds free hides growth; it never adds any.
    """
    if len(trials) == 1:
        fixed = min(known, float(trials[0].peak_bytes))
        return fixed, max(trials[0].peak_bytes - fixed, floor)
    growth = [(b.peak_bytes - a.peak_bytes) / (b.batch_size - a.batch_size) for a, b in pairwise(trials)]
    slope = max(*growth, floor, 1.0)
    least = min(known, float(trials[-1].peak_bytes))
    return max(trials[-1].peak_bytes - slope * trials[-1].batch_size, least), slope


def largest_that_fits(fixed: float, slope: float, limit: int) -> int:
    """The largest micro-batch whose predicted need, with the safety margin, is within `limit`."""
    return int(min(max((limit / SAFETY - fixed) / max(slope, 1e-9), 0), LARGEST))


def expected_bytes(config: RunConfig) -> int:
    """Weights, gradients and optimizer state in fp32: 16 bytes per parameter with AdamW."""
    return 16 * parameter_count(config)


def least_per_sequence(config: RunConfig) -> float:
    """A lower bound of the bytes that a sequence adds: what each layer keeps for its backward pass, in two bytes each.

    Per token and layer: two norms C each, queries, keys and values 3 C, attention C, and 4 C before and after GELU.
    """
    model = config.model
    return 2.0 * 14 * model.n_embd * model.n_layer * model.context


def parameter_count(config: RunConfig) -> int:
    """Parameters of the model: V C (twice when untied) + T C + L (12 C² + 13 C) + 2 C, less 3 C L without QKV bias."""
    model = config.model
    assert model.vocab_size is not None
    c = model.n_embd
    block = 12 * c * c + (9 + 3 * model.qkv_bias + model.out_bias) * c
    return model.vocab_size * c * (1 if model.tie_weights else 2) + model.context * c + model.n_layer * block + 2 * c


def flops_per_token(config: RunConfig) -> float:
    """Floating-point operations of training per token: 6 N + 6 L C T.

    N counts the matrices that multiply (blocks and head, not the embeddings); attention over T positions adds, causally
    halved, 6 L C T (PaLM, Chowdhery et al. 2022, appendix B, which counts 12 L C T without the mask).
    """
    model = config.model
    assert model.vocab_size is not None
    matrices = model.n_layer * 12 * model.n_embd**2 + model.vocab_size * model.n_embd
    return 6.0 * matrices + 6.0 * model.n_layer * model.n_embd * model.context


@dataclass(frozen=True)
class RunCost:
    """What the whole run takes."""

    steps: int
    tokens: int
    hours: float
    cost_usd: float | None
    checkpoint_bytes: int
    state_bytes: int


def estimate(
    fitted: FittedBatch,
    devices: int = 1,
    usd_per_hour: float | None = None,
    validation_tokens: int | None = None,
) -> RunCost:
    """Time and cost of the run on `devices` such devices, each at the measured speed; `usd_per_hour` for each.

    `validation_tokens`: how long the validation split is; None: as long as train.eval_tokens.
    Raises: InputError for fewer than one device.
    """
    if devices < 1:
        raise InputError(f"--devices {devices} is not a number of devices", "give 1 or more")
    train = fitted.config.train
    per_step = fitted.config.tokens_per_step
    steps = train.steps if train.tokens is None else math.ceil(train.tokens / per_step)
    tokens = steps * per_step
    every = train.eval_every or eval_every(fitted.config, steps)
    there = train.eval_tokens + 1 if validation_tokens is None else validation_tokens
    context = fitted.config.model.context
    # Validations as the run makes them: every so many steps and at the end, on the windows that the split has.
    evaluated = len(evenly_spaced(there, context, train.eval_tokens)) * context if there > context else 0
    # A validation token costs a third of a training token, a forward pass, where that was not measured.
    evaluation_s = math.ceil(steps / every) * evaluated / (fitted.evaluated_tokens_per_s or 3 * fitted.tokens_per_s)
    step_s = per_step / fitted.tokens_per_s if fitted.step_s is None else fitted.step_s
    computing_s = (steps * step_s + evaluation_s) / devices
    states = steps // train.save_every if train.save_every else 0
    states += math.floor(computing_s / (60 * train.save_minutes)) + 1  # and the checkpoint
    hours = (fitted.start_s + computing_s + states * fitted.save_s + fitted.end_s) / 3600
    cost = None if usd_per_hour is None else hours * devices * usd_per_hour
    moments = 4 if train.optimizer == "muon" else 8
    return RunCost(steps, tokens, hours, cost, 4 * fitted.parameters, (4 + moments) * fitted.parameters)


def document(fitted: FittedBatch, cost: RunCost) -> dict[str, object]:
    """What `--json` prints."""
    measured = asdict(fitted)
    train = measured.pop("config").train
    achieved = fitted.flops_per_token * fitted.tokens_per_s
    chosen = {"batch_size": train.batch_size, "accumulate": train.accumulate}
    return {**measured, **chosen, "achieved_flops": achieved, **asdict(cost)}


def lines(fitted: FittedBatch, cost: RunCost) -> list[str]:
    """The same for a person."""
    train, flops = fitted.config.train, fitted.flops_per_token
    how = "tried" if fitted.measured else "by the measured growth, not tried: it would take too long"
    return [
        f"model: {fitted.parameters:,} parameters, {number(flops / 1e6, 1)} MFLOP per token",
        f"memory: {binary_size(fitted.limit_bytes)} may be used; {binary_size(fitted.fixed_bytes)} fixed, "
        f"{binary_size(fitted.per_sequence_bytes)} per sequence; the run: {binary_size(fitted.run_peak_bytes)}",
        f"largest micro-batch: {fitted.largest_batch_size} ({how})",
        f"speed: {number(fitted.tokens_per_s, 0)} tokens/s, {number(flops * fitted.tokens_per_s / 1e9, 1)} GFLOP/s",
        f"the run: {cost.steps:,} steps, {cost.tokens:,} tokens: {duration(cost.hours * 3600)}"
        + ("" if cost.cost_usd is None else f", {number(cost.cost_usd)} USD"),
        f"disk: checkpoint {binary_size(cost.checkpoint_bytes)}, each state {binary_size(cost.state_bytes)}",
        f"use: --set train.batch_size={train.batch_size} --set train.accumulate={train.accumulate}",
    ]
