"""`ift run`: fine-tune a base model, keep the best epoch, answer the held-out items, record all that could matter."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from equiloss.console import say
from equiloss.errors import EquilossError, InputError
from equiloss.files import read_json, sha256_file, sha256_of, write_json
from equiloss.numerals import duration
from equiloss.progress import ProgressBar
from equiloss.provenance import provenance
from equiloss.records.response import Example, Response, write_responses
from ift.generation import metrics
from ift.generation.checkpoint_answerer import OnAnswer, answer
from ift.generation.partial_answers import answer_resumably, forget
from ift.recipe import Recipe
from ift.training.energy import Meter
from ift.training.forgetting import pretraining_sample, sample_loss, weight_distance
from ift.training.loop import Epoch, Seeds, Trained, fine_tune, mean_loss
from ift.training.plots import plot_curve
from ift.training.prepared import Prepared
from pretrain.model import checkpoint
from pretrain.model.checkpoint import Checkpoint
from pretrain.training.distributed import World

RUN_FORMAT = "equiloss.ift-run.v1"
SAME_LOSS = 1e-4
"""By how much the recomputed validation loss may differ from the selected epoch's: rounding, not other weights."""


@dataclass(frozen=True)
class Paths:
    """Where a run's files are."""

    name: str
    results: Path
    models: Path

    @property
    def responses(self) -> Path:
        """The file of answers: results/NAME.jsonl."""
        return self.results / f"{self.name}.jsonl"

    @property
    def record(self) -> Path:
        """results/NAME.run.json, written last: a run is done when it is there."""
        return self.results / f"{self.name}.run.json"

    @property
    def model(self) -> Path:
        """The fine-tuned model's directory."""
        return self.models / self.name

    @property
    def checkpoint(self) -> Path:
        """The fine-tuned model."""
        return self.model / "checkpoint.pt"

    @property
    def state(self) -> Path:
        """The last finished epoch, while the run is under way."""
        return self.model / "state.pt"

    @property
    def answers(self) -> Path:
        """The finished answers, while the run is under way."""
        return self.model / "answers.jsonl"


@dataclass
class Outcome:
    """A finished run."""

    paths: Paths
    record: dict[str, Any]
    again: bool = False
    """It had been finished before; nothing was done."""
    notes: list[str] = field(default_factory=list)


def seeds_of(recipe: Recipe, seed: int) -> Seeds:
    """The run's named seeds: the recipe's where it gives one, else `seed`."""

    def choose(own: int | None) -> int:
        return seed if own is None else own

    return Seeds(choose(recipe.order_seed), choose(recipe.dropout_seed), choose(recipe.noise_seed))


def run(prepared: Prepared, paths: Paths, seed: int, world: World, extra: dict[str, Any] | None = None) -> Outcome:
    """Fine-tune from the base on disk, answer, record. A finished run is left alone; a killed one goes on.

    `extra` joins the record. Raises: InputError when the name belongs to another run, EquilossError when training
    fails or the saved model is not the selected one.
    """
    recipe, base = prepared.recipe, prepared.base
    seeds = seeds_of(recipe, seed)
    print_of = {
        "base": base.sha256,
        "data": prepared.data_sha256,
        "recipe": recipe.model_dump(exclude={"device", "threads", "micro_batch_tokens"}),
        "template": prepared.template.sha256,
        "seed": seed,
    }
    fingerprint = sha256_of(print_of)
    if paths.record.exists():
        record = read_json(paths.record)
        if record.get("fingerprint") != fingerprint:
            raise InputError(
                f"{paths.record} is of another run (other base, data, recipe or seed)", "choose another --name"
            )
        if _finished(record, paths, prepared, seed, world):
            return Outcome(paths, record, again=True)

    start, meter = time.monotonic(), Meter()
    paths.model.mkdir(parents=True, exist_ok=True)
    model = checkpoint.load(base.path, world.device, dropout=recipe.dropout).model
    before = {name: value.detach().clone() for name, value in model.state_dict().items()}
    sample = pretraining_sample(base)
    forgetting = {
        "tokens": 0 if sample is None else sample[:, 1:].numel(),
        "before": sample_loss(model, sample, world),
    }
    steps = -(-len(prepared.train) // recipe.batch_size) * recipe.epochs
    display = ProgressBar(paths.name, steps, unit="step", kept=True, quiet=not world.main)
    tokens = recipe.batch_size * sum(len(one.tokens.ids) for one in prepared.train) / len(prepared.train)

    def on_step(step: int, _: int, loss: float, lr: float) -> None:
        speed = tokens * (display.per_s or 0.0)
        display.update(step, f"loss {loss:.4f}", f"lr {lr:.2e}", f"{speed:,.0f} tokens/s")

    def on_epoch(epoch: Epoch) -> None:
        losses = f"train {epoch.train_loss:.4f}"
        if epoch.validation_loss is not None:
            losses += f", validation {epoch.validation_loss:.4f}"
        display.line(f"{paths.name}: epoch {epoch.epoch}: {losses} ({duration(epoch.seconds)})")

    with display:
        trained = fine_tune(
            model,
            prepared.train,
            prepared.selecting,
            recipe,
            seeds,
            world,
            state_path=paths.state,
            fingerprint=fingerprint,
            on_step=on_step,
            on_epoch=on_epoch,
        )
    train_s = time.monotonic() - start
    made_by = {
        "kind": "ift",
        "name": paths.name,
        "base": {"path": str(base.path), "sha256": base.sha256},
        "template": {"name": prepared.template.name, "sha256": prepared.template.sha256},
        "recipe": recipe.model_dump(),
        "seed": seed,
        "data": base.run.get("data"),
        "selected_epoch": trained.selected_epoch,
        "provenance": provenance().model_dump(),
    }
    if world.main:
        checkpoint.save(paths.checkpoint, model, base.tokenizer, made_by)
    world.barrier()
    saved = checkpoint.load(paths.checkpoint, world.device)
    recomputed = _prove(saved.model, prepared, trained, world)

    begin = time.monotonic()
    responses = _answers(saved, prepared, paths, seed, fingerprint, world)
    answer_s = time.monotonic() - begin
    record = {
        "format": RUN_FORMAT,
        "name": paths.name,
        "fingerprint": fingerprint,
        "base": {
            "path": str(base.path),
            "sha256": base.sha256,
            "config": base.config.model_dump(),
            "run": base.run,
            "tokenizer_sha256": sha256_of(base.tokenizer),
        },
        "data": {
            "source": prepared.source,
            "sha256": prepared.data_sha256,
            "items": {part: len(items) for part, items in prepared.parts.items()},
            "split": {part: [one.id for one in items] for part, items in prepared.parts.items()},
            "too_long": {part: [asdict(one) for one in found] for part, found in prepared.too_long.items()},
            "overlap": prepared.overlap,
        },
        "template": {
            "name": prepared.template.name,
            "sha256": prepared.template.sha256,
            "text": prepared.template.text,
        },
        "recipe": recipe.model_dump(),
        "recipe_beside_base": _beside(recipe, base, prepared.context),
        "seed": seed,
        "seeds": {**asdict(seeds), "split": recipe.split.seed, "decoding": seed},
        "epochs": [asdict(epoch) for epoch in trained.epochs],
        "base_validation_loss": trained.base_validation_loss,
        "selected_epoch": trained.selected_epoch,
        "selected_validation_loss": trained.selected_validation_loss,
        "recomputed_validation_loss": recomputed,
        "stopped": trained.stopped,
        "steps": trained.steps,
        "loss_tokens_per_epoch": trained.loss_tokens,
        "pretraining_loss": {**forgetting, "after": sample_loss(saved.model, sample, world)},
        "weight_distance": weight_distance(before, saved.model),
        "decoding": {**recipe.decoding.model_dump(), "greedy": recipe.decoding.temperature == 0},
        "answers": metrics.summary(responses),
        "files": {"responses": str(paths.responses), "model": str(paths.model), "model_sha256": saved.sha256},
        "environment": {
            "device": str(world.device),
            "processes": world.size,
            "threads": torch.get_num_threads(),
            "train_s": round(train_s, 2),
            "answer_s": round(answer_s, 2),
            "wall_s": round(time.monotonic() - start, 2),
            "energy_j": meter.joules(),
        },
        "provenance": provenance(),
        **(extra or {}),
    }
    if world.main:
        plot_curve(record, paths.model / "curve.png")
        write_responses(paths.responses, responses)
        record["files"]["responses_sha256"] = sha256_file(paths.responses)
        write_json(paths.record, record)
        paths.state.unlink(missing_ok=True)
        forget(paths.answers)
    world.barrier()
    return Outcome(paths, record)


def written(record: dict[str, Any], paths: Paths) -> bool:
    """Whether the answers that a record is about are there.

    Raises: InputError when other answers are there.
    """
    if not paths.responses.exists():
        return False
    wanted = record["files"].get("responses_sha256")
    if wanted is not None and sha256_file(paths.responses) != wanted:
        raise InputError(
            f"{paths.responses} was changed since {paths.record} was written",
            "delete it to have it written again, or choose another --name",
        )
    return True


def _finished(record: dict[str, Any], paths: Paths, prepared: Prepared, seed: int, world: World) -> bool:
    """Whether nothing is left to do for a run whose record is there; lost answers are written again by its model."""
    if written(record, paths):
        if world.main:  # what a kill right after the record may have left
            paths.state.unlink(missing_ok=True)
            forget(paths.answers)
        return True
    known = paths.checkpoint.exists() and sha256_file(paths.checkpoint) == record["files"]["model_sha256"]
    world.barrier()  # everybody has looked before anybody writes
    if not known:
        if world.main:
            say(f"{paths.responses} and the model it came from are gone: running again")
        return False
    saved = checkpoint.load(paths.checkpoint, world.device)
    responses = _answers(saved, prepared, paths, seed, record["fingerprint"], world)
    if world.main:
        write_responses(paths.responses, responses)
        forget(paths.answers)
    world.barrier()
    return True


def _prove(model: Any, prepared: Prepared, trained: Trained, world: World) -> float | None:
    """The validation loss of the model as saved: it must be the selected epoch's.

    Raises: EquilossError when it is not.
    """
    loss = mean_loss(model, prepared.selecting, prepared.recipe, world)
    wanted = trained.selected_validation_loss
    if loss is not None and wanted is not None and abs(loss - wanted) > SAME_LOSS * max(1.0, wanted):
        raise EquilossError(
            f"the saved model's validation loss is {loss:.6f}, the selected epoch's was {wanted:.6f}",
            "this is a bug: the weights saved are not those selected",
        )
    return loss


def _answers(
    saved: Checkpoint, prepared: Prepared, paths: Paths, seed: int, fingerprint: str, world: World
) -> list[Response]:
    """Answers to the test items; several processes share them and merge by id."""
    test = prepared.parts["test"]

    def answers(examples: Sequence[Example], on_answer: OnAnswer) -> list[Response]:
        return answer(
            saved.model,
            saved.encoding,
            prepared.template,
            examples,
            prepared.recipe.decoding,
            generator=paths.name,
            seed=seed,
            on_answer=on_answer,
        )

    if world.main:
        say(f"{paths.name}: answering {len(test)} test items")
    return answer_resumably(test, paths.answers, fingerprint, answers, world)


def _beside(recipe: Recipe, base: Checkpoint, context: int) -> dict[str, dict[str, Any]]:
    """Each field of the recipe that the base's training had too, with both values."""
    config = base.run.get("config") or {}
    train = config.get("train") or {}
    beside = {
        name: {"recipe": value, "base": train[name]} for name, value in recipe.model_dump().items() if name in train
    }
    beside["dropout"] = {"recipe": recipe.dropout, "base": base.config.dropout}
    beside["context"] = {"recipe": context, "base": base.config.context}
    return beside
