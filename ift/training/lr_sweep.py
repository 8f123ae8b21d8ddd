"""A learning-rate sweep for one base: each rate trained from the base, the lowest validation loss wins."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from equiloss.console import say
from equiloss.errors import InputError
from equiloss.files import read_json, sha256_of, write_json
from ift.training.loop import fine_tune
from ift.training.prepared import Prepared
from ift.training.run import seeds_of
from pretrain.model import checkpoint
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


def pick(
    prepared: Prepared, rates: list[float], seed: int, world: World, directory: Path
) -> tuple[Prepared, dict[str, Any]]:
    """Train at each rate; the same job with the best rate in its recipe, and the whole curve for the record.

    Finished rates are kept in `directory`/lr_sweep.json, so that a killed sweep goes on. A rate at which the loss
    is no longer a number loses. Raises: InputError without validation items, or when no rate works.
    """
    if not prepared.validation:
        raise InputError("a sweep needs validation items to choose by", "raise split.validation")
    path = directory / "lr_sweep.json"
    fingerprint = sha256_of(
        {
            "base": prepared.base.sha256,
            "data": prepared.data_sha256,
            "recipe": prepared.recipe.model_dump(exclude={"lr", "device", "threads", "micro_batch_tokens"}),
            "template": prepared.template.sha256,
            "seed": seed,
        }
    )
    done: dict[float, dict[str, Any]] = {}
    if path.exists() and (old := read_json(path)).get("fingerprint") == fingerprint:
        done = {row["lr"]: row for row in old["rates"]}
    for rate in rates:
        if rate in done:
            continue
        done[rate] = _train(prepared, rate, seed, world)
        loss = done[rate]["selected_validation_loss"]
        if world.main:
            say(f"lr {rate:g}: validation loss " + ("none: it diverged" if loss is None else f"{loss:.4f}"))
            write_json(path, {"fingerprint": fingerprint, "rates": list(done.values())})
    curve = [done[rate] for rate in rates]
    finite = [row for row in curve if row["selected_validation_loss"] is not None]
    if not finite:
        raise InputError("the loss diverged at every rate of the sweep", "sweep lower rates")
    best = min(finite, key=lambda row: row["selected_validation_loss"])
    at_edge = best["lr"] in (rates[0], rates[-1])
    if world.main:
        note = "; it is at the edge of the sweep: widen it" if at_edge else ""
        say(f"lr {best['lr']:g} has the lowest validation loss{note}")
    recipe = prepared.recipe.model_copy(update={"lr": best["lr"]})
    return replace(prepared, recipe=recipe), {"picked": best["lr"], "at_edge": at_edge, "seed": seed, "rates": curve}


def _train(prepared: Prepared, rate: float, seed: int, world: World) -> dict[str, Any]:
    from equiloss.errors import EquilossError

    recipe = prepared.recipe.model_copy(update={"lr": rate})
    model = checkpoint.load(prepared.base.path, world.device, dropout=recipe.dropout).model
    try:
        trained = fine_tune(model, prepared.train, prepared.selecting, recipe, seeds_of(recipe, seed), world)
    except EquilossError:
        return {"lr": rate, "epochs": [], "selected_epoch": None, "selected_validation_loss": None}
    return {
        "lr": rate,
        "epochs": [asdict(epoch) for epoch in trained.epochs],
        "selected_epoch": trained.selected_epoch,
        "selected_validation_loss": trained.selected_validation_loss,
    }
