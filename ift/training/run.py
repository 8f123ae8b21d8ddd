"""`ift run`: fine-tune a base model, keep the best epoch, answer the held-out items, record all that could matter."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from equiloss.console import say
from equiloss.errors import EquilossError, InputError
from equiloss.files import sha256_file, sha256_of
from equiloss.numerals import duration, number
from equiloss.progress import ProgressBar, training_figures
from equiloss.provenance import provenance
from equiloss.records.base_run import CheckpointRun, FineTunedFrom, TemplateUsed
from equiloss.records.ift_run import (
    Epoch,
    IftRun,
    LrSweep,
    PretrainingLoss,
    RunBase,
    RunEnvironment,
    RunFiles,
    RunSeeds,
    RunTemplate,
    Settings,
    read_run,
    write_run,
)
from equiloss.records.response import Response, write_responses
from ift.generation import metrics
from ift.generation.checkpoint_answerer import CheckpointAnswerer
from ift.generation.partial_answers import answer_resumably, forget
from ift.paths import RunPaths
from ift.recipe import Recipe
from ift.training.energy import Meter
from ift.training.forgetting import pretraining_sample, sample_loss, weight_distance
from ift.training.loop import Trained, fine_tune, mean_loss
from ift.training.plots import plot_curve
from ift.training.prepared import Prepared
from pretrain.model import checkpoint
from pretrain.model.checkpoint import Checkpoint
from pretrain.model.decoder import GPT
from pretrain.training.distributed import World

SAME_LOSS = 1e-4
"""By how much the recomputed validation loss may differ from the selected epoch's: rounding, not other weights."""


@dataclass(frozen=True)
class FinishedRun:
    """A finished run. `again`: it had been finished before; nothing was done."""

    paths: RunPaths
    record: IftRun
    again: bool = False


def seeds_of(recipe: Recipe, seed: int) -> RunSeeds:
    """The run's named seeds: the recipe's where it gives one, else `seed`."""

    def choose(own: int | None) -> int:
        return seed if own is None else own

    return RunSeeds(
        order=choose(recipe.order_seed),
        dropout=choose(recipe.dropout_seed),
        noise=choose(recipe.noise_seed),
        split=recipe.split.seed,
        decoding=seed,
    )


def run(prepared: Prepared, paths: RunPaths, seed: int, world: World, lr_sweep: LrSweep | None = None) -> FinishedRun:
    """Fine-tune from the base on disk, answer, record. A finished run is left alone; a killed one goes on.

    `lr_sweep`: what picked the recipe's learning rate, for the record. Raises: InputError when the name belongs to
    another run, EquilossError when training fails or the saved model is not the selected one.
    """
    recipe, base = prepared.recipe, prepared.base
    fingerprint = fingerprint_of(prepared, seed)
    if paths.record.exists():
        known = read_run(paths.record)
        if not isinstance(known, IftRun) or known.fingerprint != fingerprint:
            raise InputError(
                f"{paths.record} is of another run (other base, data, recipe or seed)", "choose another --name"
            )
        if _finished(known, paths, prepared, seed, world):
            return FinishedRun(paths, known, again=True)

    start, meter = time.monotonic(), Meter()
    paths.model.mkdir(parents=True, exist_ok=True)
    model = checkpoint.load(base.path, world.device, dropout=recipe.dropout).model
    before = {name: value.detach().clone() for name, value in model.state_dict().items()}
    sample = pretraining_sample(base)
    loss_before = sample_loss(model, sample, world)
    trained = _train(model, prepared, paths, seed, fingerprint, world)
    train_s = time.monotonic() - start
    record = IftRun(
        name=paths.name,
        fingerprint=fingerprint,
        base=RunBase(
            path=str(base.path),
            sha256=base.sha256,
            config=base.config.model_dump(),
            run=base.run,
            tokenizer_sha256=sha256_of(base.tokenizer),
        ),
        data=prepared.about_data,
        template=RunTemplate(name=prepared.template.name, sha256=prepared.template.sha256, text=prepared.template.text),
        recipe=recipe.model_dump(),
        recipe_beside_base=_beside(prepared),
        seed=seed,
        seeds=seeds_of(recipe, seed),
        epochs=tuple(trained.epochs),
        base_validation_loss=trained.base_validation_loss,
        selected_epoch=trained.selected_epoch,
        selected_validation_loss=trained.selected_validation_loss,
        stopped=trained.stopped,
        steps=trained.steps,
        loss_tokens_per_epoch=trained.loss_tokens,
        decoding={**recipe.decoding.model_dump(), "greedy": recipe.decoding.temperature == 0},
        provenance=provenance(),
    )
    if lr_sweep is not None:
        record = record.model_copy(update={"lr_sweep": lr_sweep})
    if world.main:
        checkpoint.save(paths.checkpoint, model, base.tokenizer, _made_by(record, base))
    world.barrier()
    saved = checkpoint.load(paths.checkpoint, world.device)
    recomputed = _prove(saved.model, prepared, trained, world)
    begin = time.monotonic()
    responses = _answers(saved, prepared, paths, seed, fingerprint, world)
    answer_s = time.monotonic() - begin
    if world.main:
        write_responses(paths.responses, responses)
        record = record.model_copy(
            update={
                "recomputed_validation_loss": recomputed,
                "pretraining_loss": PretrainingLoss(
                    tokens=0 if sample is None else sample[:, 1:].numel(),
                    before=loss_before,
                    after=sample_loss(saved.model, sample, world),
                ),
                "weight_distance": weight_distance(before, saved.model),
                "answers": metrics.summary(responses),
                "files": RunFiles(
                    responses=str(paths.responses),
                    model=str(paths.model),
                    model_sha256=saved.sha256,
                    responses_sha256=sha256_file(paths.responses),
                ),
                "environment": RunEnvironment(
                    device=str(world.device),
                    processes=world.size,
                    threads=torch.get_num_threads(),
                    train_s=round(train_s, 2),
                    answer_s=round(answer_s, 2),
                    wall_s=round(time.monotonic() - start, 2),
                    energy_j=meter.joules(),
                ),
            }
        )
        plot_curve(record, paths.model / "curve.png")
        write_run(paths.record, record)
        _forget(paths)
    world.barrier()
    return FinishedRun(paths, record)


def fingerprint_of(prepared: Prepared, seed: int, without: Sequence[str] = ()) -> str:
    """A hash of all that a run's result depends on, but for some fields of the recipe."""
    aside = {"device", "threads", "micro_batch_tokens", *without}
    return sha256_of(
        {
            "base": prepared.base.sha256,
            "data": prepared.about_data.sha256,
            "recipe": prepared.recipe.model_dump(exclude=aside),
            "template": prepared.template.sha256,
            "seed": seed,
        }
    )


def _train(model: GPT, prepared: Prepared, paths: RunPaths, seed: int, fingerprint: str, world: World) -> Trained:
    """Fine-tune the model in place, telling the terminal how it goes."""
    recipe = prepared.recipe
    tokens = recipe.batch_size * sum(len(one.tokens.ids) for one in prepared.train) / len(prepared.train)
    steps = -(-len(prepared.train) // recipe.batch_size) * recipe.epochs
    display = ProgressBar(paths.name, steps, unit="step", kept=True, quiet=not world.main)

    def on_step(step: int, _: int, loss: float, lr: float) -> None:
        speed = tokens * (display.per_s or 0.0)
        display.update(step, *training_figures(loss, lr, speed))

    def on_epoch(epoch: Epoch) -> None:
        losses = f"train {number(epoch.train_loss, 4)}"
        if epoch.validation_loss is not None:
            losses += f", validation {number(epoch.validation_loss, 4)}"
        display.line(f"{paths.name}: epoch {epoch.epoch}: {losses} ({duration(epoch.seconds or 0)})")

    with display:
        return fine_tune(
            model,
            prepared.train,
            prepared.selecting,
            recipe,
            seeds_of(recipe, seed),
            world,
            state_path=paths.state,
            fingerprint=fingerprint,
            on_step=on_step,
            on_epoch=on_epoch,
        )


def _made_by(record: IftRun, base: Checkpoint) -> CheckpointRun:
    """What a fine-tuned checkpoint says of its making."""
    return CheckpointRun(
        kind="ift",
        name=record.name,
        base=FineTunedFrom(path=str(base.path), sha256=base.sha256),
        template=TemplateUsed(name=record.template.name or "", sha256=record.template.sha256),
        recipe=record.recipe,
        seed=record.seed,
        data=base.run.data,
        selected_epoch=record.selected_epoch,
        provenance=record.provenance,
    )


def _finished(record: IftRun, paths: RunPaths, prepared: Prepared, seed: int, world: World) -> bool:
    """Whether nothing is left to do for a run whose record is there; lost answers are written again by its model."""
    if not paths.answered(record):
        known = paths.checkpoint.exists() and sha256_file(paths.checkpoint) == record.files.model_sha256
        world.barrier()  # everybody has looked before anybody writes
        if not known:
            if world.main:
                say(f"{paths.responses} and the model it came from are gone: running again")
            return False
        saved = checkpoint.load(paths.checkpoint, world.device)
        responses = _answers(saved, prepared, paths, seed, fingerprint_of(prepared, seed), world)
        if world.main:
            write_responses(paths.responses, responses)
    if world.main:
        _forget(paths)
    world.barrier()
    return True


def _forget(paths: RunPaths) -> None:
    """Delete what is only there for a killed run to go on, and what a kill left half written."""
    for path in (paths.state, *paths.model.glob(".*.tmp")):
        path.unlink(missing_ok=True)
    forget(paths.answers)


def _prove(model: Any, prepared: Prepared, trained: Trained, world: World) -> float | None:
    """The validation loss of the model as saved: it must be the selected epoch's.

    Raises: EquilossError when it is not.
    """
    loss = mean_loss(model, prepared.selecting, prepared.recipe, world)
    wanted = trained.selected_validation_loss
    if loss is not None and wanted is not None and abs(loss - wanted) > SAME_LOSS * max(1.0, wanted):
        raise EquilossError(
            f"the saved model's validation loss is {number(loss, 6)}, the selected epoch's was {number(wanted, 6)}",
            "this is a bug: the weights saved are not those selected",
        )
    return loss


def _answers(
    saved: Checkpoint, prepared: Prepared, paths: RunPaths, seed: int, fingerprint: str, world: World
) -> list[Response]:
    """Answers to the test items; several processes share them and merge by id."""
    test = prepared.parts["test"]

    answerer = CheckpointAnswerer(saved, prepared.template, prepared.recipe.decoding)
    if world.main:
        say(f"{paths.name}: answering {len(test)} test items")
    return answer_resumably(
        test, paths.answers, fingerprint, lambda items, note: answerer.answer(items, paths.name, seed, note), world
    )


def _beside(prepared: Prepared) -> dict[str, Settings]:
    """Each field of the recipe that the base's training had too, with both values."""
    recipe, base = prepared.recipe, prepared.base
    train = base.run.train_settings
    both = {name: (value, train[name]) for name, value in recipe.model_dump().items() if name in train}
    both |= {"dropout": (recipe.dropout, base.config.dropout), "context": (prepared.context, base.config.context)}
    return {name: {"recipe": own, "base": of_base} for name, (own, of_base) in both.items()}
