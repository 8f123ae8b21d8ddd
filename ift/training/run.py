"""`ift run`: fine-tune a base model, keep the best epoch, answer the held-out items, record all that could matter."""

from __future__ import annotations

import time
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import torch

from equiloss.console import say
from equiloss.errors import EquilossError, InputError
from equiloss.files import TEMPORARY, claim, overwriting, sha256_file, sha256_of
from equiloss.numerals import duration, number
from equiloss.progress import ProgressBar, training_figures
from equiloss.provenance import provenance
from equiloss.records import ift_run
from equiloss.records.base_run import CheckpointRun, FineTunedFrom, TemplateUsed
from equiloss.records.ift_run import Epoch, IftRun, LrSweep, RunSeeds, Settings, read_run, write_run
from equiloss.records.response import Response, write_responses
from ift.generation import metrics
from ift.generation.model_answerer import ModelAnswerer
from ift.generation.partial_answers import answer_resumably, begun, forget
from ift.paths import RunPaths
from ift.recipe import Recipe
from ift.training.energy import Meter
from ift.training.forgetting import pretraining_sample, weight_distance
from ift.training.loop import Trained, fine_tune, fingerprint_in, mean_loss
from ift.training.plots import plot_curve
from ift.training.prepared import Prepared
from pretrain.model.language_model import LanguageModel, LoadedModel
from pretrain.model.opening import open_model
from pretrain.probes.windows import mean_loss as text_loss
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
    order, dropout, noise = (
        seed if own is None else own for own in (recipe.order_seed, recipe.dropout_seed, recipe.noise_seed)
    )
    return RunSeeds(order=order, dropout=dropout, noise=noise, split=recipe.split.seed, decoding=seed)


def fingerprint_of(prepared: Prepared, seed: int, without: Sequence[str] = ()) -> str:
    """A hash of all that a run's result depends on, but for some fields of the recipe."""
    aside = {"device", "threads", "micro_batch_tokens", *without}
    aside |= set() if prepared.recipe.answer_every_epoch else {"answer_every_epoch"}  # as before there was the field
    return sha256_of(
        {
            "base": prepared.base.sha256,
            "data": prepared.about_data.sha256,
            "recipe": prepared.recipe.model_dump(exclude=aside),
            "template": prepared.template.sha256,
            "seed": seed,
        }
    )


@dataclass(frozen=True)
class FineTuning:
    """One run: what is trained on what, with which seed, and where its files go.

    `drop_model`: whether the fine-tuned model goes once its answers are recorded.
    """

    prepared: Prepared
    paths: RunPaths
    seed: int
    world: World
    drop_model: bool = False

    @property
    def fingerprint(self) -> str:
        """The hash that a finished run of the same name must have."""
        return fingerprint_of(self.prepared, self.seed)

    @property
    def weights(self) -> Path:
        """The file of the fine-tuned model's weights."""
        return self.prepared.base.weights_in(self.paths.model)

    def run(self, lr_sweep: LrSweep | None = None) -> FinishedRun | None:
        """Fine-tune a copy of the base, answer, record; None in all processes but the first.

        A finished run is left alone; a killed one goes on. `lr_sweep`: what picked the learning rate, for the record.
        Raises: InputError when the name belongs to another run, EquilossError when training fails or the saved model
        is not the selected one.
        """
        recipe, base, paths, world = self.prepared.recipe, self.prepared.base, self.paths, self.world
        template = self.prepared.template
        known = read_run(paths.record) if paths.record.exists() else None
        if known is not None:
            same = isinstance(known, IftRun) and known.fingerprint == self.fingerprint
            if not same and not overwriting():
                raise InputError(
                    f"{paths.record} is of another run (other base, data, recipe or seed)",
                    "choose another --name, or add --overwrite",
                )
            known = known if isinstance(known, IftRun) and same else None
            if known is not None and self._finished(known):
                return FinishedRun(paths, known, again=True)
        self._claim(known)
        start, meter = time.monotonic(), Meter()
        paths.model.mkdir(parents=True, exist_ok=True)
        model = self.prepared.model(world.device)
        sample = pretraining_sample(base, world.device)
        loss_before = None if sample is None else text_loss(model, sample)
        trained = self._train(model)
        train_s = time.monotonic() - start
        if world.main:
            base.save(paths.model, model, self._made_by(trained))
        world.barrier()
        saved = open_model(paths.model, world.device)
        recomputed = self._prove(saved, trained)
        begin = time.monotonic()
        responses = self._answers(saved)
        answer_s = time.monotonic() - begin
        if not world.main:
            world.barrier()
            return None
        write_responses(paths.responses, responses)
        record = IftRun(
            name=paths.name,
            fingerprint=self.fingerprint,
            base=ift_run.RunBase(
                path=str(base.path),
                sha256=base.sha256,
                config=base.settings,
                run=base.run,
                tokenizer_sha256=base.tokenizer_sha256,
            ),
            data=self.prepared.about_data,
            template=ift_run.RunTemplate(name=template.name, sha256=template.sha256, text=template.text),
            recipe=recipe.model_dump(),
            recipe_beside_base=self._beside_base(),
            seed=self.seed,
            seeds=seeds_of(recipe, self.seed),
            epochs=tuple(trained.epochs),
            base_validation_loss=trained.base_validation_loss,
            selected_epoch=trained.selected_epoch,
            selected_validation_loss=trained.selected_validation_loss,
            recomputed_validation_loss=recomputed,
            stopped=trained.stopped,
            steps=trained.steps,
            loss_tokens_per_epoch=trained.loss_tokens,
            pretraining_loss=ift_run.PretrainingLoss(
                tokens=0 if sample is None else sample[:, 1:].numel(),
                before=loss_before,
                after=None if sample is None else text_loss(saved.model, sample),
            ),
            weight_distance=weight_distance(base.model, saved.model),
            decoding={**recipe.decoding.model_dump(), "greedy": recipe.decoding.temperature == 0},
            answers=metrics.summary(responses),
            files=ift_run.RunFiles(
                responses=str(paths.responses),
                responses_sha256=sha256_file(paths.responses),
                model=None if self.drop_model else str(paths.model),
                model_sha256=None if self.drop_model else saved.sha256,
            ),
            environment=ift_run.RunEnvironment(
                device=str(world.device),
                processes=world.size,
                threads=torch.get_num_threads(),
                train_s=round(train_s, 2),
                answer_s=round(answer_s, 2),
                wall_s=round(time.monotonic() - start, 2),
                energy_j=meter.joules(),
            ),
            provenance=provenance(),
        )
        if lr_sweep is not None:
            record = record.model_copy(update={"lr_sweep": lr_sweep})
        plot_curve(record, paths.model / "curve.png")
        write_run(paths.record, record)
        if self.drop_model:
            self.weights.unlink()
        self._forget()
        world.barrier()
        return FinishedRun(paths, record)

    def _train(self, model: LanguageModel) -> Trained:
        """Fine-tune the model in place, telling the terminal how it goes."""
        train, recipe, name = self.prepared.train, self.prepared.recipe, self.paths.name
        tokens = recipe.batch_size * sum(len(one.tokens.ids) for one in train) / len(train)
        steps = -(-len(train) // recipe.batch_size) * recipe.epochs
        display = ProgressBar(name, steps, unit="step", kept=True, quiet=not self.world.main)

        def on_step(step: int, _: int, loss: float, lr: float) -> None:
            speed = tokens * (display.per_s or 0.0)
            display.update(step, *training_figures(loss, lr, speed))

        def on_epoch(epoch: Epoch) -> Epoch:
            losses = f"train {number(epoch.train_loss, 4)}"
            if epoch.validation_loss is not None:
                losses += f", validation {number(epoch.validation_loss, 4)}"
            display.line(f"{name}: epoch {epoch.epoch}: {losses} ({duration(epoch.seconds or 0)})")
            return self._answered(epoch, model) if recipe.answer_every_epoch else epoch

        with display:
            return fine_tune(
                model,
                train,
                self.prepared.selecting,
                recipe,
                seeds_of(recipe, self.seed),
                self.world,
                state_path=self.paths.state,
                fingerprint=self.fingerprint,
                on_step=on_step,
                on_epoch=on_epoch,
            )

    def _made_by(self, trained: Trained) -> CheckpointRun:
        """What the fine-tuned checkpoint says of its making."""
        base, template = self.prepared.base, self.prepared.template
        return CheckpointRun(
            kind="ift",
            name=self.paths.name,
            base=FineTunedFrom(path=str(base.path), sha256=base.sha256),
            template=TemplateUsed(name=template.name, sha256=template.sha256, text=template.text),
            recipe=self.prepared.recipe.model_dump(),
            seed=self.seed,
            data=base.run.data,
            selected_epoch=trained.selected_epoch,
            provenance=provenance(),
        )

    def _claim(self, known: IftRun | None) -> None:
        """Refuse to train where the model or the answers of anything else stand under this name.

        What a killed run of the very same left is its own: a state with this fingerprint lies beside it.
        Raises: InputError naming the file.
        """
        paths, hint = self.paths, "choose another --name or --models, or move it away"
        started = fingerprint_in(paths.state)
        claim(paths.state, started in (None, self.fingerprint), hint)
        mine, weights = started == self.fingerprint, self.weights
        if weights.resolve() == self.prepared.base.path.resolve():
            raise InputError(f"{weights}: is the base itself", "choose another --name or --models")
        recorded = None if known is None else known.files.model_sha256
        if weights.exists():
            claim(weights, mine or sha256_file(weights) == recorded, hint)
        paths.claim(known, mine)
        for epoch in range(1, self.prepared.recipe.epochs + 1) if self.prepared.recipe.answer_every_epoch else ():
            path = paths.epoch(epoch)
            claim(path, mine or known is not None or begun(self._partial(path.stem), self.fingerprint), hint)

    def _finished(self, record: IftRun) -> bool:
        """Whether nothing is left to do for a run whose record is there; its model writes lost answers again."""
        paths, world = self.paths, self.world
        if not paths.answered(record):
            known = self.weights.exists() and sha256_file(self.weights) == record.files.model_sha256
            world.barrier()  # everybody has looked before anybody writes
            if not known:
                if world.main:
                    say(f"{paths.responses} and the model it came from are gone: running again")
                return False
            responses = self._answers(open_model(paths.model, world.device))
            if world.main:
                write_responses(paths.responses, responses)
        if world.main:
            self._forget()
        world.barrier()
        return True

    def _forget(self) -> None:
        """Delete what is only there for a killed run to go on, and what a kill left half written."""
        folder = self.paths.model
        for path in (self.paths.state, *folder.glob(f".*{TEMPORARY}"), *folder.glob("*.answers.jsonl")):
            path.unlink(missing_ok=True)
        forget(self.paths.answers)

    def _prove(self, saved: LoadedModel, trained: Trained) -> float | None:
        """The validation loss of the model as saved: it must be the selected epoch's.

        Raises: EquilossError when it is not.
        """
        loss = mean_loss(saved.model, self.prepared.selecting, self.prepared.recipe, self.world)
        wanted = trained.selected_validation_loss
        if loss is not None and wanted is not None and abs(loss - wanted) > SAME_LOSS * max(1.0, wanted):
            raise EquilossError(
                f"the saved model's validation loss is {number(loss, 6)}, the selected epoch's was {number(wanted, 6)}",
                "this is a bug: the weights saved are not those selected",
            )
        return loss

    def _answered(self, epoch: Epoch, model: LanguageModel) -> Epoch:
        """An epoch with the answers of its weights, written to a file of their own."""
        path = self.paths.epoch(epoch.epoch)
        model.eval()
        now = copy(self.prepared.base)
        now.model = model
        answers = self._answers(now, path.stem)
        model.train()
        if self.world.main:
            write_responses(path, answers)
        self.world.barrier()
        return epoch.model_copy(update={"responses": str(path), "answers": metrics.summary(answers)["all"]})

    def _partial(self, name: str) -> Path:
        """Where answers are kept until all are there."""
        return self.paths.model / f"{name}.answers.jsonl" if name else self.paths.answers

    def _answers(self, saved: LoadedModel, name: str = "") -> list[Response]:
        """Answers to the test items; several processes share them and merge by id."""
        test, partial = self.prepared.parts["test"], self._partial(name)
        name = name or self.paths.name
        answerer = ModelAnswerer(saved, self.prepared.template, self.prepared.recipe.decoding)
        if self.world.main:
            say(f"{name}: answering {len(test)} test items")
        return answer_resumably(answerer, test, name, self.seed, partial, self.fingerprint, self.world)

    def _beside_base(self) -> dict[str, Settings]:
        """Each field of the recipe that the base's training had too, with both values."""
        recipe, base, context = self.prepared.recipe, self.prepared.base, self.prepared.context
        train = base.run.train_settings
        both = {name: (value, train[name]) for name, value in recipe.model_dump().items() if name in train}
        both |= {"dropout": (recipe.dropout, base.settings.get("dropout")), "context": (context, base.model.context)}
        return {name: {"recipe": own, "base": of_base} for name, (own, of_base) in both.items()}
