"""`study zoo` from its flags to its exit code: run what is missing, count, show, write the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equiloss import console, templates
from equiloss.errors import IncompleteError
from equiloss.files import write_json, write_text
from study import runner
from study.zoo import pairs as zoo

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
    pairs = zoo.read_pairs(wanted)
    study = zoo.study_of(pairs, seeds, sets)
    if dry_run:
        for cell, why in runner.preview(study, directory):
            print(f"{cell.name}  [{'runs: ' + why if why else 'finished'}]\n    {cell.command}")
        return
    console.say(f"zoo: {len(pairs)} pairs × {len(seeds)} seeds, {len(study.cells)} cells in {directory}")
    result = runner.run(study, directory, jobs=jobs or runner.default_jobs(study))
    found = zoo.outcomes(pairs, seeds, directory)
    document = zoo.document(pairs, found)
    write_json(directory / "zoo.json", document)
    page = templates.environment(autoescape=True).from_string(templates.source("report", "zoo.html"))
    write_text(directory / "zoo.html", page.render(zoo=document, columns=columns(document)))
    if as_json:
        console.emit_json(document)
    else:
        _show(document)
        print(directory / "zoo.html")
    if not result.complete:
        missing = [f"{one.pair} (seed {one.seed})" for one in found if one.named is None]
        raise IncompleteError(
            f"{len(missing)} of {len(found)} pairs could not be made or diagnosed: {', '.join(missing[:4])}",
            f"see {directory / 'logs'}; the same command runs what is left",
        )


def columns(document: dict[str, Any]) -> list[str]:
    """The columns of the confusion table: every name given, planted causes first."""
    causes = list(document["confusion"])
    others = sorted({named for row in document["confusion"].values() for named in row} - set(causes))
    return [*causes, *others]


def _show(document: dict[str, Any]) -> None:
    console.emit_table(_pairs(document))
    for title, key in (("named the planted cause", "accuracy"), ("false alarms on null pairs", "false_alarms")):
        rate = document[key]
        if rate["of"]:
            console.out().print(
                f"{title}: {rate['count']} of {rate['of']} = {rate['value']:.0%} "
                f"(exact 95 % interval {rate['low']:.0%} to {rate['high']:.0%})"
            )


def _pairs(document: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table(title="planted causes, and what the diagnosis named")
    for name in ("pair", "planted", "right", "named instead"):
        table.add_column(name, justify="right" if name == "right" else "left")
    for pair in document["pairs"]:
        instead: dict[str, int] = {}
        for one in document["runs"]:
            if one["pair"] == pair["name"] and not one["right"]:
                name = one["named"] or "not made"
                instead[name] = instead.get(name, 0) + 1
        others = ", ".join(f"{name} ({count})" for name, count in sorted(instead.items()))
        table.add_row(pair["name"], pair["cause"], f"{pair['right']}/{pair['of']}", others)
    return table
