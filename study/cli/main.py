"""The `study` program: parses the command line and calls."""

from __future__ import annotations

from pathlib import Path

import click

from equiloss import console
from judge.cli.diagnose import of_two


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="equiloss")
def program() -> None:
    """Run whole experiments: many runs, counterfactuals, pairs with a known cause."""


@program.command("run")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", "directory", type=click.Path(path_type=Path), help="Where it works.  [default: name]")
@click.option("-j", "--jobs", type=click.IntRange(1), help="Cells at once.  [default: the study's, or per GPU or core]")
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True)
@click.option("--address", metavar="ADDRESS", help="The Ray cluster, e.g. auto or HOST:6379.  [default: this machine]")
@click.option("--only", multiple=True, metavar="PATTERN", help="These cells and what they need, e.g. --only 'base-*'.")
@click.option("--again", multiple=True, metavar="PATTERN", help="Run these cells even if they are finished.")
@click.option("--dry-run", is_flag=True, help="Show the cells, in order, and why each would run.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Override a parameter of the study.")
@console.option_json
def run_command(
    file: Path,
    directory: Path | None,
    jobs: int | None,
    engine: str,
    address: str | None,
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
    from study.cli.run import execute

    execute(file, directory, jobs, (engine, address), only, again, dry_run, sets, as_json)


@program.command("explain")
@of_two
@click.option("--seeds", type=click.IntRange(2), default=3, show_default=True, help="Fine-tunings of each change.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Stop after so long (exit code 4).")
@click.option("--max-usd", type=click.FloatRange(min=0), help="Stop before the judge costs more (exit code 4).")
@click.option("--only", multiple=True, metavar="CAUSE", help="Try this factor, e.g. recipe-rate; may be repeated.")
@click.option("--everything", is_flag=True, help="Go on when a factor explains the gap.")
@click.option(
    "--base",
    "base_share",
    type=click.FloatRange(0, 1, min_open=True),
    is_flag=False,
    flag_value=0.15,
    metavar="[SHARE]",
    help="Try the base models' text: the lower side's base reads on for this share of its steps.  [0.15]",
)
@click.option("--ask", metavar="MODEL@URL", help="Who judges the reruns  [who judged before, at the same place].")
@console.option_json
def explain_command(
    a: str,
    b: str,
    results_dir: Path,
    verdicts_dir: Path | None,
    seeds: int,
    minutes: float | None,
    max_usd: float | None,
    only: tuple[str, ...],
    everything: bool,
    base_share: float | None,
    ask: str | None,
    rubric: str | None,
    judge: str | None,
    as_json: bool,
) -> None:
    """Make one factor equal, fine-tune and judge again, and measure how much of the gap between A and B closes.

    The factors are the recipe's fields that differ, the most suspected first. It stops when one explains the gap.
    With --base, the base model of the side that scores lower reads on in the other's text, and in its own as a control.
    What was tried is in RESULTS/A.vs.B.explain.json, which `judge diagnose A B` reads; the same command goes on.

    \b
    Example:
      study explain base-a base-b --seeds 3 --minutes 30 --max-usd 1
      study explain base-a base-b --base 0.15 --seeds 3
    """
    from study.counterfactual import tables
    from study.counterfactual.explain import explain
    from study.counterfactual.session import Budget

    tried, path = explain(
        a,
        b,
        results_dir=results_dir,
        verdicts_dir=verdicts_dir,
        seeds=seeds,
        budget=Budget(minutes, max_usd),
        only=only,
        rubric=rubric,
        judge=judge,
        everything=everything,
        base_share=base_share,
        ask=ask,
    )
    if as_json:
        console.emit_json({"file": str(path), "tried": [one.model_dump(mode="json") for one in tried]})
        return
    console.emit_table(tables.table(tried))
    console.out().print(tables.closing(tried), markup=False, soft_wrap=True)
    console.out().print(f"Next: judge diagnose {a} {b}", markup=False, soft_wrap=True)


@program.command("zoo")
@click.option(
    "--pairs", "pairs", multiple=True, metavar="NAME", help="A pair, a pattern, or a TOML file.  [default: all]"
)
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Make each pair so often.")
@click.option("--first-seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("-j", "--jobs", type=click.IntRange(1), help="Cells at once.  [default: one per GPU or core]")
@click.option("-o", "--output", "directory", type=click.Path(path_type=Path), default=Path("zoo"), show_default=True)
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Override a parameter; of one pair: PAIR.KEY.")
@click.option("--dry-run", is_flag=True, help="Show the cells, in order, and why each would run.")
@console.option_json
def zoo_command(
    pairs: tuple[str, ...],
    seeds: int,
    first_seed: int,
    jobs: int | None,
    directory: Path,
    sets: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make pairs of models with a known cause, diagnose them, and count how often the diagnosis is right.

    \b
    Examples:
      study zoo --pairs knowledge-extraction --pairs 'recipe-*' --seeds 5 --jobs 2
      study zoo --pairs my-pair.toml --set steps=2000
    A pair is a TOML file with its true cause (docs/world.md). The same command goes on where it stopped. Writes
    OUTPUT/zoo.json and OUTPUT/zoo.html. Exit codes: 0 all diagnosed, 2 a mistake in a pair, 3 some could not be made.
    """
    from study.cli.zoo import execute

    execute(pairs, range(first_seed, first_seed + seeds), jobs, directory, sets, dry_run, as_json)


@program.command("effects")
@click.argument("evaluations", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--baseline", default="baseline", show_default=True, help="The arm that the others are held against.")
@click.option("-o", "--output", "page", type=click.Path(path_type=Path), help="Write a page with the picture.")
@click.option("--document", type=click.Path(path_type=Path), help="Write the JSON document to this file too.")
@console.option_json
def effects_command(
    evaluations: tuple[Path, ...], baseline: str, page: Path | None, document: Path | None, as_json: bool
) -> None:
    """What each intervention does to the loss, and what is in the noise between seeds.

    EVALUATIONS are .eval.json files of `pretrain eval`, or directories of them. A run ARM-SEED belongs to the arm ARM.

    \b
    Example:
      study effects evals/ --baseline baseline -o effects.html
    """
    from study.cli.effects import execute

    execute(evaluations, baseline, page, document, as_json)


def main() -> None:
    """Entry point of `study`."""
    console.run(program, "study")
