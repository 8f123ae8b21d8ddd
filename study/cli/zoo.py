"""`study zoo` from its flags to its exit code: run what is missing, count, show, write the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from equiloss import console, templates
from equiloss.errors import IncompleteError
from equiloss.files import write_json, write_text
from study import runner
from study.zoo.counting import ZooCount, count, outcome
from study.zoo.pairs import read_pairs
from study.zoo.plan import study_of

if TYPE_CHECKING:
    from rich.table import Table


def execute(
    wanted: Sequence[str],
    seeds: Sequence[int],
    jobs: int | None,
    directory: Path,
    sets: Sequence[str],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make and diagnose the pairs, and count how often the diagnosis is right.

    Raises: InputError for a mistake in a pair; IncompleteError when some could not be made.
    """
    pairs = read_pairs(wanted)
    study = study_of(pairs, seeds, sets)
    if dry_run:
        for cell, why in runner.preview(study, directory):
            print(f"{cell.name}  [{'runs: ' + why if why else 'finished'}]\n    {cell.command}")
        return
    console.say(f"zoo: {len(pairs)} pairs × {len(seeds)} seeds, {len(study.cells)} cells in {directory}")
    result = runner.run(study, directory, jobs=jobs or runner.default_jobs(study))
    counted = count(pairs, [outcome(pair, seed, directory) for pair in pairs for seed in seeds])
    document = counted.model_dump(mode="json")
    write_json(directory / "zoo.json", document)
    page = templates.environment(autoescape=True).from_string(templates.source("report", "zoo.html"))
    write_text(directory / "zoo.html", page.render(zoo=counted))
    if as_json:
        console.emit_json(document)
    else:
        _show(counted)
        print(directory / "zoo.html")
    if not result.complete:
        missing = [f"{run.pair} (seed {run.seed})" for run in counted.runs if run.named is None]
        raise IncompleteError(
            f"{len(missing)} of {len(counted.runs)} pairs could not be made or diagnosed: {', '.join(missing[:4])}",
            f"see {directory / 'logs'}; the same command runs what is left",
        )


def _show(counted: ZooCount) -> None:
    console.emit_table(_pairs(counted))
    for title, rate in (
        ("named the planted cause", counted.accuracy),
        ("false alarms on null pairs", counted.false_alarms),
    ):
        if rate.of:
            console.out().print(
                f"{title}: {rate.count} of {rate.of} = {rate.value:.0%} "
                f"(exact 95 % interval {rate.low:.0%} to {rate.high:.0%})"
            )


def _pairs(counted: ZooCount) -> Table:
    from rich.table import Table

    table = Table(title="planted causes, and what the diagnosis named")
    for name in ("pair", "planted", "right", "named instead"):
        table.add_column(name, justify="right" if name == "right" else "left")
    for pair in counted.pairs:
        wrong = Counter(run.named or "not made" for run in counted.runs if run.pair == pair.name and not run.right)
        instead = ", ".join(f"{name} ({number})" for name, number in sorted(wrong.items()))
        table.add_row(pair.name, pair.cause, f"{pair.right}/{pair.of}", instead)
    return table
