"""The `study` program."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option, Typer

from equiloss import cli, console
from equiloss.cli import JsonFlag, Sets, output_option, positive, repeatable
from judge.cli.options import A, B, Judge, Results, Rubric, Verdicts

commands = Typer()
program = cli.program("Run whole experiments: many runs, counterfactuals, pairs with a known cause.", commands)

Jobs = Annotated[
    int | None, Option("-j", "--jobs", min=1, help="Cells at once.", show_default="the study's, or one per GPU or core")
]
DryRun = Annotated[bool, Option("--dry-run", help="Show the cells, in order, and why each would run.")]


@commands.command()
def run(
    file: Annotated[Path, Argument(metavar="FILE")],
    *,
    output: Annotated[Path | None, output_option("Where it works.", "the study's name")] = None,
    jobs: Jobs = None,
    engine: Literal["local", "ray"] = "local",
    address: Annotated[str | None, Option(help="The Ray cluster: auto or HOST:PORT.", show_default="local")] = None,
    only: Annotated[list[str], repeatable("--only", "PATTERN", "These cells and what they need, e.g. 'base-*'.")],
    again: Annotated[list[str], repeatable("--again", "PATTERN", "Run these cells even if they are finished.")],
    dry_run: DryRun = False,
    sets: Sets,
    as_json: JsonFlag = False,
) -> None:
    """Run the cells of a study that are not finished, in parallel where they are independent.

    \b
    Example:
      study run studies/demo.toml -o demo --jobs 2 --set steps=200

    Interrupted or failed, the same command goes on where it stopped. What a cell prints goes to OUTPUT/logs.
    Exit codes: 0 all finished, 2 a mistake in the study, 3 some cells failed, 130 interrupted.
    """
    from study.cli.run import execute

    execute(file, output, jobs, (engine, address), only, again, dry_run, sets, as_json)


@commands.command()
def explain(
    a: A,
    b: B,
    *,
    results: Results = Path("results"),
    verdicts: Verdicts = None,
    rubric: Rubric = None,
    judge: Judge = None,
    seeds: Annotated[int, Option(min=2, help="Fine-tunings of each change.")] = 3,
    minutes: Annotated[float | None, Option(callback=positive, help="Stop after so long (exit code 4).")] = None,
    max_usd: Annotated[float | None, Option(min=0, help="Stop before the judge costs more (exit code 4).")] = None,
    only: Annotated[list[str], repeatable("--only", "CAUSE", "Try this factor, e.g. recipe-rate; may be repeated.")],
    everything: Annotated[bool, Option("--everything", help="Go on when a factor explains the gap.")] = False,
    base: Annotated[bool, Option("--base", help="Try the base models' text: the lower side's base reads on.")] = False,
    base_share: Annotated[float | None, Option(max=1, callback=positive, help="Like --base, for this share.")] = None,
    ask: Annotated[str | None, Option(metavar="MODEL@URL", help="Who judges.", show_default="as before")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make one factor equal, fine-tune and judge again, and measure how much of the gap between A and B closes.

    The factors are the recipe's fields that differ, the most suspected first. It stops when one explains the gap.
    With --base, the base model of the side that scores lower reads on in the other's text, and in its own as a control.
    What was tried is in RESULTS/A.vs.B.explain.json, which `judge diagnose A B` reads; the same command goes on.

    \b
    Example:
      study explain base-a base-b --seeds 3 --minutes 30 --max-usd 1
      study explain base-a base-b --base --seeds 3
    """
    from equiloss.commands import judge_diagnose
    from study.counterfactual import tables
    from study.counterfactual.continued_pretraining import SHARE
    from study.counterfactual.explain import explain
    from study.counterfactual.session import Budget

    tried, path = explain(
        a,
        b,
        results_dir=results,
        verdicts_dir=verdicts,
        seeds=seeds,
        budget=Budget(minutes, max_usd),
        only=only,
        rubric=rubric,
        judge=judge,
        everything=everything,
        base_share=base_share or (SHARE if base else None),
        ask=ask,
    )
    if as_json:
        console.emit_json({"file": str(path), "tried": [attempt.model_dump(mode="json") for attempt in tried]})
        return
    console.emit_table(tables.table(tried))
    console.out().print(tables.closing(tried), markup=False, soft_wrap=True)
    again = judge_diagnose(a, b, results=results, verdicts=verdicts, rubric=rubric, judge=judge)
    console.out().print(f"Next: {again}", markup=False, soft_wrap=True)


@commands.command()
def zoo(
    *,
    pairs: Annotated[list[str], repeatable("--pairs", "NAME", "A pair, a pattern, or a TOML file.")],
    seeds: Annotated[int, Option(min=1, help="Make each pair so often.")] = 1,
    first_seed: Annotated[int, Option(min=0)] = 0,
    jobs: Jobs = None,
    output: Annotated[Path, Option("-o", "--output")] = Path("zoo"),
    sets: Annotated[list[str], repeatable("--set", "KEY=VALUE", "Override a parameter; of one pair: PAIR.KEY.")],
    dry_run: DryRun = False,
    as_json: JsonFlag = False,
) -> None:
    """Make pairs of models with a known cause, diagnose them, and count how often the diagnosis is right.

    \b
    Examples:
      study zoo --pairs knowledge-extraction --pairs 'recipe-*' --seeds 5 --jobs 2
      study zoo --pairs my-pair.toml --set steps=2000
    A pair is a TOML file with its true cause (docs/world.md); without --pairs all that are shipped are made. The same
    command goes on where it stopped. Writes OUTPUT/zoo.json and OUTPUT/zoo.html. Exit codes: 0 all diagnosed, 2 a
    mistake in a pair, 3 some could not be made.
    """
    from study.cli.zoo import execute

    execute(pairs, range(first_seed, first_seed + seeds), jobs, output, sets, dry_run, as_json)


@commands.command()
def effects(
    evaluations: Annotated[list[Path], Argument(metavar="EVALUATIONS")],
    baseline: Annotated[str, Option(help="The arm that the others are held against.")] = "baseline",
    output: Annotated[Path | None, output_option("Write a page with the picture.")] = None,
    document: Annotated[Path | None, Option(help="Write the JSON document to this file too.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """What each intervention does to the loss, and what is in the noise between seeds.

    EVALUATIONS are .eval.json files of `pretrain eval`, or directories of them. A run ARM-SEED belongs to the arm ARM.

    \b
    Example:
      study effects evals/ --baseline baseline -o effects.html
    """
    from study.cli.effects import execute

    execute(evaluations, baseline, output, document, as_json)


def main() -> None:
    """Entry point of `study`."""
    cli.run(program, "study")
