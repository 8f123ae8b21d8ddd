"""`pretrain run`: train a base model so that it can be repeated, resumed to the bit, and shared by many devices."""

from __future__ import annotations

import math
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from equiloss import tokenizer
from equiloss.console import say, warn
from equiloss.errors import EquilossError, InputError
from equiloss.files import append_jsonl, json_line, locked, sha256_of, write_json
from equiloss.numerals import duration, number
from equiloss.progress import ProgressBar, training_figures
from equiloss.provenance import provenance
from equiloss.records.base_run import CheckpointRun, RunProgress, StartedFrom, TrainingData
from equiloss.records.file_record import FileRecord
from equiloss.records.metrics import TrainingMetrics, ValidationMetrics, read_metrics
from equiloss.seeds import stream
from pretrain.config import RunConfig
from pretrain.data.induction import predicted
from pretrain.data.order import DataOrder, Offsets, evenly_spaced, gather
from pretrain.data.shards import Shards, fingerprint
from pretrain.model import checkpoint
from pretrain.model.cross_entropy import IGNORE
from pretrain.model.decoder import GPT
from pretrain.model.precision import set_matmul_precision
from pretrain.training import state
from pretrain.training.callbacks import Callback, Metrics, callbacks_of
from pretrain.training.defaults import resolve
from pretrain.training.distributed import World, share, world
from pretrain.training.interrupts import StopRequest, resumable_errors
from pretrain.training.optimizers import Optimizers, lr_at
from pretrain.training.run_directory import last_state, prepare
from pretrain.training.step import Stepper, my_share


class RunResult(FileRecord):
    """What a run came to, and what `--json` prints of it."""

    directory: Path = Field(serialization_alias="run")
    checkpoint: Path
    already_done: bool
    steps: int
    train_loss: float | None
    validation_loss: float | None
    skipped: int = Field(serialization_alias="skipped_steps")
    main: bool = Field(exclude=True)
    """Whether this process speaks for the run."""


def train(config: RunConfig, data: Path, directory: Path, resume: bool = False) -> RunResult:
    """Train `config` on the shards in `data`; everything it leaves is in `directory`.

    A finished run is left alone. Raises: InputError for what cannot be right (an unfinished run without `resume`, a
    changed config, changed data), EquilossError when the loss is no longer finite, IncompleteError when the disk is
    full, KeyboardInterrupt after Ctrl-C, when the state has been written.
    """
    if config.train.threads is not None:
        torch.set_num_threads(config.train.threads)
    with world(config.train.device, config.train.backend) as peers:
        return Run(config, data, directory, peers).go(resume)


class Run:
    """One run, in this process."""

    def __init__(self, config: RunConfig, data: Path, directory: Path, peers: World) -> None:
        shards = Shards.open(data)
        self.config = config = resolve(config, shards, peers)
        self.world, self.shards, self.directory = peers, shards, directory
        self.states, self.metrics = directory / "state", directory / "metrics.jsonl"
        self.callbacks: list[Callback] = []
        self.tokens = np.asarray(shards.split("train").tokens)  # mapped, without memmap's slow indexing
        self.validation = np.asarray(shards.split("validation").tokens)
        self.data = TrainingData(
            directory=str(data),
            source=shards.record.source,
            sha256=shards.sha256,
            train=fingerprint(self.tokens),
            validation=fingerprint(self.validation),
        )
        batch, settings = config.train.batch_size * config.train.accumulate, config.train
        if batch < peers.devices:
            raise InputError(
                f"a step of {batch} sequences cannot be shared by {peers.devices} processes",
                "raise train.batch_size or train.accumulate, or use fewer processes",
            )
        if settings.checkpoint == "best" and len(self.validation) <= config.model.context:
            raise InputError(
                f"train.checkpoint is best, but the validation split of {data} has no window of {config.model.context}",
                "make data with more --validation, or set train.checkpoint=last",
            )
        assert settings.order_seed is not None
        self.order = DataOrder(
            len(self.tokens), config.model.context, batch, settings.order, stream(settings.order_seed, "data order")
        )
        self.share, self.held = my_share(config, peers)
        self.progress = RunProgress()
        self.best: dict[str, Tensor] | None = None
        self.started_from: StartedFrom | None = None
        self.start = None if settings.start is None else self._start(Path(settings.start))
        self.stop = StopRequest()

    def go(self, resume: bool) -> RunResult:
        """Start, continue, or notice that nothing is left to do."""
        with ExitStack() as held:
            self.world.on_main(lambda: held.enter_context(locked(self.directory / ".lock", "pretrain run")) and None)
            return self._go(resume)

    def _go(self, resume: bool) -> RunResult:
        todo = self.world.on_main(lambda: prepare(self.directory, self.config, self.data, resume))
        if todo is None:
            return self._result(already_done=True)
        set_matmul_precision(self.config.train.precision)
        self._build()
        if todo:
            self._load(Path(todo))
        self._watch()
        try:
            with resumable_errors(self.directory, self.world), self.stop.on_signals():
                self._steps()
                self._finish()
        finally:
            for callback in self.callbacks:
                callback.close()
        return self._result()

    def _build(self) -> None:
        settings, peers = self.config.train, self.world
        assert settings.init_seed is not None
        model = GPT(self.config.model, dropout=self.config.model.dropout, seed=stream(settings.init_seed, "init"))
        if self.start is not None:
            model.load_state_dict(self.start)
        self.start = None  # its memory is needed
        self.model = model.to(peers.device).train()
        if settings.backend == "jax":
            from pretrain.training.jax_step import JaxStepper

            self.optimizers = Optimizers(self.model, settings)
            self.stepper = JaxStepper(self.model, self.optimizers, self.config, peers)
            return
        wrapped = share(self.model, peers, settings.parallel)
        self.optimizers = Optimizers(self.model, settings)
        forward: Any = torch.compile(wrapped, dynamic=False) if settings.compile else wrapped
        self.stepper = Stepper(self.model, forward, self.optimizers, self.config, peers)

    def _start(self, path: Path) -> dict[str, Tensor]:
        """The weights of the checkpoint that the run begins with, which must be of its shape and vocabulary."""
        loaded = checkpoint.load(path)
        shapes = [shape.model_dump(exclude={"dropout", "init"}) for shape in (loaded.config, self.config.model)]
        if shapes[0] != shapes[1] or tokenizer.sha256(loaded.encoding) != tokenizer.sha256(self.shards.tokenizer):
            raise InputError(
                f"{path}: has another shape or tokenizer than the run",
                "start with the checkpoint's own [model], and data made with its tokenizer",
            )
        self.started_from = StartedFrom(path=str(path), sha256=loaded.sha256, data=loaded.run.data)
        return loaded.model.state_dict()

    def _watch(self) -> None:
        """Set up who watches the run, on the main process."""
        whole = self.world.size == 1 or self.config.train.parallel == "ddp"
        step = self.progress.step
        self.world.on_main(
            lambda: self.callbacks.extend(
                callbacks_of(self.config, self.directory, self.shards.tokenizer, self.validation, step, whole)
            )
        )

    def _load(self, path: Path) -> None:
        tensors = None
        if self.world.main:
            self.progress, tensors = state.load(path, self.model)
            self.best = tensors["best"]
        state.restore(tensors, self.model, self.optimizers, self.world)
        self.progress = self.world.on_main(lambda: self.progress)
        if not self.world.main:
            self.progress.interval = [[0.0, *row[1:]] for row in self.progress.interval]
        if self.stepper.scaler and self.progress.loss_scale is not None:
            self.stepper.scaler.scale = self.progress.loss_scale
            self.stepper.scaler.good_steps = self.progress.good_steps
        if self.world.main:
            self.metrics.touch()  # killed before the first logged step, it is not there yet
            os.truncate(self.metrics, self.progress.metrics_bytes)

    def _steps(self) -> None:
        settings, progress = self.config.train, self.progress
        assert settings.eval_every is not None
        name, first = self.directory.name, progress.step
        display = ProgressBar(name, settings.steps, first, unit="step", kept=True, quiet=not self.world.main)
        self.display = display
        began = time.perf_counter() - progress.elapsed_s
        saved = mark = time.perf_counter()
        mark_step = progress.step
        with display:
            while progress.step < settings.steps:
                step = progress.step
                offsets = self.order.offsets(step)
                lr = lr_at(step, settings)
                result = self.stepper(step, *self._batch(offsets), lr)
                self._check(step, offsets, result.loss, result.skipped)
                if step == 0:
                    self._look_at_first_loss(result.loss)
                progress.step += 1
                progress.interval.append([result.loss, result.grad_norm, result.clipped, result.skipped])
                last = progress.step == settings.steps
                logged = progress.step % settings.log_every == 0 or last
                if logged:
                    now = time.perf_counter()
                    speed = (progress.step - mark_step) * self.config.tokens_per_step / (now - mark)
                    progress.elapsed_s = now - began
                    loss = self._log(lr, speed)
                    display.update(progress.step, *training_figures(loss, lr, speed))
                if progress.step % settings.eval_every == 0 or last:
                    self._evaluate()
                if logged or self.world.size == 1:
                    timely = time.perf_counter() - saved > settings.save_minutes * 60
                    stop, timely = self.world.any([self.stop.asked, timely and self.world.main])
                else:
                    stop = timely = False
                if stop or timely or (settings.save_every and progress.step % settings.save_every == 0 and not last):
                    progress.elapsed_s = time.perf_counter() - began
                    path = self._save()
                    saved = time.perf_counter()
                    if stop:
                        display.line(f"{name}: stopped at step {progress.step}; --resume goes on from {path}")
                        raise KeyboardInterrupt
                if logged:
                    mark, mark_step = time.perf_counter(), progress.step

    def _look_at_first_loss(self, share: float) -> None:
        """Say where a run begins far worse than a uniform guess, as with a tied head and torch's initialisation."""
        (loss,), guess = self.world.sum([share]), math.log(self.shards.tokenizer.n_vocab)
        if loss > 2 * guess:
            self.display.line(
                f"{self.directory.name}: warning: the first loss is {number(loss, 1)} nats, a uniform guess over the "
                f"vocabulary has {number(guess, 1)}: the initialisation (model.init = {self.config.model.init}, "
                f"tie_weights = {str(self.config.model.tie_weights).lower()}) makes large logits"
            )

    def _batch(self, offsets: Offsets) -> tuple[Tensor, Tensor]:
        """This process's ids and targets (b, T) of the windows that start at `offsets`."""
        mine = offsets[self.share]
        windows = torch.from_numpy(gather(self.tokens, mine, self.config.model.context + 1))
        filling = self.held - len(mine)
        if filling:
            windows = torch.cat([windows, windows[:1].expand(filling, -1)])
        ids, targets = windows[:, :-1], windows[:, 1:]
        if self.config.train.mask_induction:
            targets = targets.masked_fill(predicted(windows), IGNORE)
        if filling:
            targets = targets.clone()
            targets[-filling:] = IGNORE
        device = self.world.device
        return ids.to(device, non_blocking=True), targets.to(device, non_blocking=True)

    def _check(self, step: int, offsets: Offsets, loss: float, skipped: bool) -> None:
        """Stop where going on makes no sense: a loss that is no number, or gradients that stay that way."""
        # With several processes a loss that is not finite shows in everyone's gradients: all come here, or none.
        if not skipped and (math.isfinite(loss) or self.world.size > 1):
            self.progress.skipped_in_a_row = 0
            return
        self.progress.skipped += skipped
        self.progress.skipped_in_a_row += skipped
        (loss,) = self.world.sum([loss])
        stuck = self.progress.skipped_in_a_row >= self.config.train.max_skipped
        if math.isfinite(loss) and not stuck:
            return
        good = last_state(self.directory)
        last = f"the last good state is {good}" if good else "no state was written yet"
        what = f"the loss is {loss}"
        if math.isfinite(loss):
            what = f"the gradients of {self.progress.skipped_in_a_row} steps in a row are not finite"
        batch = self.directory / f"nonfinite-step-{step + 1}.json"
        if self.world.main:
            write_json(batch, {"step": step + 1, "loss": str(loss), "window_starts": offsets.tolist()})
        raise EquilossError(
            f"{what} at step {step + 1}; {last}; the batch (window starts in train.bin) is in {batch}",
            "lower train.lr, set train.clip_norm, or use train.precision=fp32, under another --name",
        )

    def _log(self, lr: float, tokens_per_s: float) -> float:
        """Write a line of metrics for the steps since the last; returns their mean loss."""
        progress, rows = self.progress, self.progress.interval
        losses = self.world.sum([row[0] for row in rows])
        norms = [row[1] for row in rows if math.isfinite(row[1])]
        mean = sum(losses) / len(losses)
        self._append(
            TrainingMetrics(
                step=progress.step,
                loss=mean,
                loss_min=min(losses),
                loss_max=max(losses),
                lr=lr,
                grad_norm=sum(norms) / len(norms) if norms else None,
                clipped=sum(row[2] for row in rows) / len(rows),
                skipped=progress.skipped,
                tokens=progress.step * self.config.tokens_per_step,
                epoch=round(self.order.epoch(progress.step), 4),
                tokens_per_s=round(tokens_per_s, 1),
                elapsed_s=round(progress.elapsed_s, 2),
            )
        )
        progress.interval = []
        return mean

    def _append(self, row: Metrics) -> None:
        if self.world.main:
            append_jsonl(self.metrics, row)
            self.progress.metrics_bytes += len(json_line(row).encode())
            for callback in self.callbacks:
                callback.logged(row)

    def _evaluate(self) -> None:
        """The loss on the validation split's fixed windows; the lowest so far makes these weights the best."""
        progress, context = self.progress, self.config.model.context
        if len(self.validation) <= context:
            return
        offsets = evenly_spaced(len(self.validation), context, self.config.train.eval_tokens)
        size, total, count = self.config.train.batch_size, 0.0, 0.0
        rounds = math.ceil(len(offsets) / (size * self.world.size))  # the same number on every process
        for index in range(rounds):
            first = (index * self.world.size + self.world.rank) * size
            part = offsets[first : first + size]
            windows = torch.from_numpy(gather(self.validation, part if len(part) else offsets[:1], context + 1))
            ids, targets = windows[:, :-1], windows[:, 1:]
            if not len(part):
                targets = torch.full_like(targets, IGNORE)
            loss, n = self.stepper.evaluate(ids.to(self.world.device), targets.to(self.world.device))
            total, count = total + loss, count + n
        total, count = self.world.sum([total, count])
        loss = total / count
        self.stepper.hand_back()
        progress.validation_loss = loss if math.isfinite(loss) else None  # an overflow in fp16; JSON has no NaN
        self._append(
            ValidationMetrics(
                step=progress.step, validation_loss=progress.validation_loss, validation_tokens=int(count)
            )
        )
        best = math.inf if progress.best_validation_loss is None else progress.best_validation_loss
        if loss < best:
            progress.best_validation_loss, progress.best_step = loss, progress.step
            if self.config.train.checkpoint == "best":
                self.best = self._weights()
        step = f"step {progress.step}/{self.config.train.steps}"
        self.display.line(f"{self.directory.name}: {step}: validation loss {number(loss, 4)}")
        for callback in self.callbacks:
            callback.evaluated(progress.step, self.model)

    def _weights(self) -> dict[str, Tensor]:
        """A copy of the weights, whole, on the main process."""
        gathered = {name: self.world.gather(value) for name, value in self.model.state_dict().items()}
        return {name: value for name, value in gathered.items() if value is not None}

    def _save(self) -> Path:
        progress, scaler = self.progress, self.stepper.scaler
        self.stepper.hand_back()
        if scaler:
            progress.loss_scale, progress.good_steps = scaler.scale, scaler.good_steps
        # Losses are shares: the main process takes over the others', in whatever number they go on.
        shares = self.world.sum([row[0] for row in progress.interval])
        rows = zip(shares, progress.interval, strict=True)
        progress.interval = [[share if self.world.main else 0.0, *map(float, row[1:])] for share, row in rows]
        if self.world.main and self.metrics.exists():
            with self.metrics.open("rb") as f:
                os.fsync(f.fileno())  # the state refers to it
        path = state.save(
            self.states, progress, self.model, self.optimizers, self.best, self.config, self.data, self.world
        )
        if self.world.main:
            state.prune(self.states, self.config.train.keep)
        return path

    def _finish(self) -> None:
        settings, progress = self.config.train, self.progress
        self.stepper.hand_back()
        last = self._weights()
        if not self.world.main:
            return
        train, validation = read_metrics(self.metrics)
        best = settings.checkpoint == "best" and self.best is not None
        record = CheckpointRun(
            name=self.directory.name,
            config=self.config.model_dump(),
            config_sha256=sha256_of(self.config.model_dump()),
            data=self.data,
            start=self.started_from,
            steps=progress.step,
            tokens=progress.step * self.config.tokens_per_step,
            step_of_weights=progress.best_step if best else progress.step,
            train_loss=train[-1].loss,
            validation_loss=progress.best_validation_loss if best else progress.validation_loss,
            best_validation_loss=progress.best_validation_loss,
            skipped_steps=progress.skipped,
            last_lr=lr_at(progress.step - 1, settings),
            elapsed_s=round(progress.elapsed_s, 2),
            processes=self.world.devices,
            device=self.stepper.device,
            provenance=provenance(),
        )
        if notes := self.stepper.notes:
            record = record.model_copy(update={"notes": notes})
        from pretrain.training.plots import plot_loss

        plot_loss(train, validation, self.directory / "loss.png", self.directory.name)
        weights = self.best if best and self.best is not None else last
        # Last of all: a run is done when its checkpoint is there.
        target = self.directory / "checkpoint.pt"
        checkpoint.save_state(target, self.config.model, weights, self.shards.record.tokenizer, record)
        if progress.skipped:
            warn(f"{progress.skipped} steps were skipped: their gradients were not finite")
        for callback in self.callbacks:
            callback.finished()
        say(f"{target}: {progress.step} steps in {duration(progress.elapsed_s)}")

    def _result(self, already_done: bool = False) -> RunResult:
        path, record = self.directory / "checkpoint.pt", CheckpointRun()
        if self.world.main:
            if already_done:
                say(f"{self.directory} is done already; nothing to do")
            record = checkpoint.load(path).run
        return RunResult(
            directory=self.directory,
            checkpoint=path,
            steps=record.steps or 0,
            train_loss=record.train_loss,
            validation_loss=record.validation_loss,
            skipped=record.skipped_steps,
            already_done=already_done,
            main=self.world.main,
        )
