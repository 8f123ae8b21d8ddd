"""A learning-rate sweep for one base: each rate trained from the base, the lowest validation loss wins."""

from __future__ import annotations

import math
from pathlib import Path

from equiloss.console import say
from equiloss.errors import EquilossError, InputError
from equiloss.files import read_json, write_json
from equiloss.numerals import number, plain
from equiloss.records.ift_run import LrSweep, SweptRate
from ift.training.loop import fine_tune
from ift.training.prepared import Prepared
from ift.training.run import fingerprint_of, seeds_of
from pretrain.training.distributed import World


def parse(text: str) -> list[float]:
    """FROM:TO:N as N rates, evenly spaced on a logarithmic scale. Raises: InputError when it is not that."""
    try:
        low, high, count = text.split(":")
        start, stop, number = float(low), float(high), int(count)
        if not (0 < start < stop and number >= 2 and math.isfinite(stop)):
            raise ValueError
    except ValueError:
        raise InputError(f"--lr-sweep {text!r} is not FROM:TO:N", "write for example 1e-5:1e-3:5") from None
    ratio = math.log(stop / start) / (number - 1)
    return [float(f"{start * math.exp(ratio * i):.3g}") for i in range(number)]


def pick(prepared: Prepared, rates: list[float], seed: int, world: World, directory: Path) -> LrSweep:
    """Train at each rate; the one with the lowest validation loss, and the whole curve for the record.

    Finished rates are kept in `directory`/lr_sweep.json, so that a killed sweep goes on. A rate at which the loss
    is no longer a number loses. Raises: InputError without validation items, or when no rate works.
    """
    if not prepared.validation:
        raise InputError("a sweep needs validation items to choose by", "raise split.validation")
    path = directory / "lr_sweep.json"
    fingerprint = fingerprint_of(prepared, seed, without=("lr",))
    done: dict[float, SweptRate] = {}
    if path.exists() and (old := read_json(path)).get("fingerprint") == fingerprint:
        done = {row["lr"]: SweptRate.model_validate(row) for row in old["rates"]}
    for rate in rates:
        if rate in done:
            continue
        done[rate] = _train(prepared, rate, seed, world)
        loss = done[rate].selected_validation_loss
        if world.main:
            say(f"lr {plain(rate)}: validation loss " + ("none: it diverged" if loss is None else f"{number(loss, 4)}"))
            write_json(path, {"fingerprint": fingerprint, "rates": list(done.values())})
    curve = tuple(done[rate] for rate in rates)
    losses = {row.lr: row.selected_validation_loss for row in curve if row.selected_validation_loss is not None}
    if not losses:
        raise InputError("the loss diverged at every rate of the sweep", "sweep lower rates")
    best = min(losses, key=lambda rate: losses[rate])
    at_edge = best in (rates[0], rates[-1])
    if world.main:
        note = "; it is at the edge of the sweep: widen it" if at_edge else ""
        say(f"lr {plain(best)} has the lowest validation loss{note}")
    return LrSweep(picked=best, at_edge=at_edge, seed=seed, rates=curve)


def _train(prepared: Prepared, rate: float, seed: int, world: World) -> SweptRate:
    recipe = prepared.recipe.model_copy(update={"lr": rate})
    model = prepared.model(world.device)
    try:
        trained = fine_tune(model, prepared.train, prepared.selecting, recipe, seeds_of(recipe, seed), world)
    except EquilossError:
        return SweptRate(lr=rate, epochs=(), selected_epoch=None, selected_validation_loss=None)
    return SweptRate(
        lr=rate,
        epochs=tuple(trained.epochs),
        selected_epoch=trained.selected_epoch,
        selected_validation_loss=trained.selected_validation_loss,
    )
