"""The `study` program: parses the command line and calls."""

from __future__ import annotations

from pathlib import Path

import click

from pretrain import console


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="equiloss")
def program() -> None:
    """Run whole experiments: many runs, counterfactuals, pairs with a known cause."""


@program.command("run")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", "directory", type=click.Path(path_type=Path), help="Where it works.  [default: name]")
@click.option("-j", "--jobs", type=click.IntRange(1), help="Cells at once.  [default: the study's, or per GPU or core]")
@click.option("--only", multiple=True, metavar="PATTERN", help="These cells and what they need, e.g. --only 'base-*'.")
@click.option("--again", multiple=True, metavar="PATTERN", help="Run these cells even if they are finished.")
@click.option("--dry-run", is_flag=True, help="Show the cells, in order, and why each would run.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Override a parameter of the study.")
@console.option_json
def run_command(
    file: Path,
    directory: Path | None,
    jobs: int | None,
    only: tuple[str, ...],
    again: tuple[str, ...],
    dry_run: bool,
    sets: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run the cells of a study that are not finished, in parallel where they are independent.

    \b
    Example:
      study run studies/demo.toml -o demo --jobs 2 --set steps=200

    Interrupted or failed, the same command goes on where it stopped. What a cell prints goes to OUTPUT/logs.
    Exit codes: 0 all finished, 2 a mistake in the study, 3 some cells failed, 130 interrupted.
    """
    from study.command import execute

    execute(file, directory, jobs, only, again, dry_run, sets, as_json)


def main() -> None:
    """Entry point of `study`."""
    console.run(program, "study")
