"""`ift run` over one seed or several: the base opened, the data prepared, the learning rate picked, the runs made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from equiloss.console import say, warn
from equiloss.files import child
from equiloss.numerals import number, percent, plain
from ift import recipe as recipes
from ift.paths import RunPaths, name_of
from ift.training import lr_sweep as sweep
from ift.training.prepared import Prepared, default_data, prepare, take_over
from ift.training.run import FineTuning, FinishedRun
from pretrain.model.language_model import LanguageModel
from pretrain.model.opening import open_model
from pretrain.training.distributed import world

FAST, LARGE = 5e-4, 20_000_000
"""A learning rate and a number of parameters that together deserve a warning."""


def fine_tune(
    base: Path,
    *,
    data: str | None,
    name: str | None,
    results: Path,
    models: Path,
    seed: int,
    seeds: int | None,
    recipe: str,
    sets: Sequence[str] = (),
    lr_sweep: str | None = None,
    overlap: Path | None = None,
    skip_bad: bool = False,
    drop_model: bool = False,
) -> list[FinishedRun]:
    """`ift run` (see its help): the runs, one for each seed; none in all processes of torchrun but the first.

    Raises: InputError and EquilossError as `prepare` and `run` do.
    """
    chosen = recipes.load(recipe, sets)
    rates = None if lr_sweep is None else sweep.parse(lr_sweep)
    with world(chosen.device) as peers:
        if chosen.threads is not None:
            torch.set_num_threads(chosen.threads)
        name = name or name_of(base)
        child(models, name)  # raises for a name that leaves the folder, before anything is read or written
        loaded = open_model(peers.on_main(lambda: take_over(base, name, models)))
        source, why = (data, "") if data is not None else default_data(loaded)
        if peers.main:
            say(*([why] if why else ()), *(f"note: {note}" for note in loaded.notes))
        prepared = prepare(loaded, source, chosen, overlap, skip_bad=skip_bad)
        if peers.main:
            doubts = [too_fast(prepared.recipe.lr, loaded.model)] if rates is None else []
            for line in [*_remarks(prepared), *doubts]:
                if line:
                    warn(line)
        names = [(name, seed)] if seeds is None else [(f"{name}.s{k}", seed + k) for k in range(1, seeds + 1)]
        swept = None
        if rates is not None:
            swept = sweep.pick(prepared, rates, names[0][1], peers, models / name)
            prepared = replace(prepared, recipe=prepared.recipe.model_copy(update={"lr": swept.picked}))
        runs = [
            FineTuning(prepared, RunPaths(one, results, models), number, peers, drop_model) for one, number in names
        ]
        return [done for one in runs if (done := one.run(swept)) is not None and peers.main]


def too_fast(lr: float, model: LanguageModel) -> str:
    """A remark where a rate that suits a base of a million parameters meets one many times larger; else ""."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if lr <= FAST or parameters <= LARGE:
        return ""
    return (
        f"a learning rate of {plain(lr)} was measured on a base of a million parameters, and this one has "
        f"{number(parameters / 1e6, 0)} million: --lr-sweep 1e-5:3e-3:6 finds its own"
    )


def _remarks(prepared: Prepared) -> list[str]:
    """What of the data a person should know: items that do not fit, and test items that training has seen."""
    data = prepared.about_data
    lines = [
        f"{count} {part} items are longer than the context: {action}"
        for part, items in data.too_long.items()
        for action, count in sorted(Counter(one.action for one in items).items())
    ]
    if (overlap := data.overlap) is not None:
        for found, what in (
            (overlap.exact, "ask exactly what a training item asks"),
            (overlap.near, "nearly repeat a training item"),
            (overlap.corpus, "share 8 words in a row with the shards"),
        ):
            if found is not None and found.items:
                lines.append(f"{found.items} test items ({percent(found.share, 1)}) {what}")
    return lines
