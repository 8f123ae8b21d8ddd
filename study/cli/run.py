"""The commands `study run` and `study zoo`."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option, Typer

from equiloss import console
from equiloss.cli import JsonFlag, Overwrite, Sets, claim_outputs, output_option, repeatable
from equiloss.errors import InputError

commands = Typer()

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
    _overwrite: Overwrite = False,
) -> None:
    """Run the cells of a study that are not finished, in parallel where they are independent.

    \b
      study run studies/demo.toml -o demo --jobs 2 --set steps=200

    Interrupted or failed, the same command goes on where it stopped. What a cell prints goes to OUTPUT/logs.
    Exit codes: 0 all finished, 2 a mistake in the study, 3 some cells failed, 130 interrupted.
    """
    from dataclasses import replace

    from equiloss.files import child
    from study import graph, runner, spec
    from study.cli.run_output import emit_plan, emit_result
    from study.executors import executor_for

    study = spec.read(file, sets)
    if only:
        study = replace(study, cells=graph.only(study.cells, only))
    directory = output or child(Path(), study.name)
    runner.check_inputs(study, directory)
    if dry_run:
        emit_plan(study, directory, again, as_json=as_json)
        return
    jobs = jobs or runner.default_jobs(study)
    console.say(f"{study.name}: {len(study.cells)} cells in {directory}, {jobs} at a time")
    result = runner.run(study, directory, jobs=jobs, executor=executor_for(engine, address), again=again)
    emit_result(result, as_json=as_json)
    result.require_complete()


@commands.command()
def zoo(
    *,
    pairs: Annotated[list[str], repeatable("--pairs", "NAME", "A pair, a pattern, or a TOML file.")],
    seeds: Annotated[int, Option(min=1, help="Make each pair so often.")] = 1,
    first_seed: Annotated[int, Option(min=0)] = 0,
    counted: Annotated[
        list[str], repeatable("--count", "ZOO.json", "Make nothing; count these zoos (or a folder of them) together.")
    ],
    jobs: Jobs = None,
    output: Annotated[Path, Option("-o", "--output")] = Path("zoo"),
    sets: Annotated[list[str], repeatable("--set", "KEY=VALUE", "Override a parameter; of one pair: PAIR.KEY.")],
    dry_run: DryRun = False,
    as_json: JsonFlag = False,
    _overwrite: Overwrite = False,
) -> None:
    """Make pairs of models with a known cause, diagnose them, and count how often the diagnosis is right.

    \b
      study zoo --pairs knowledge-extraction --pairs 'recipe-*' --seeds 5 --jobs 2
      study zoo --pairs my-pair.toml --set steps=2000
      study zoo --count zoo-100/zoo.json --count zoo-101/zoo.json -o counted
    A pair is a TOML file with its true cause (docs/world.md); without --pairs all that are shipped are made. The same
    command goes on where it stopped. Writes OUTPUT/zoo.json and OUTPUT/zoo.html. Exit codes: 0 all diagnosed, 2 a
    mistake in a pair, 3 some could not be made.
    """
    from study import runner
    from study.cli.run_output import emit_plan
    from study.cli.tables import emit_zoo
    from study.zoo.counting import count, outcome, pool
    from study.zoo.pairs import read_pairs
    from study.zoo.plan import study_of

    if counted:
        if pairs or sets or dry_run:
            raise InputError("--count makes nothing", "leave out --pairs, --set and --dry-run")
        claim_outputs(output / "zoo.json", output / "zoo.html")
        emit_zoo(pool([Path(file) for file in counted]), output, as_json=as_json)
        return
    seeds_of_pairs = range(first_seed, first_seed + seeds)
    chosen = read_pairs(pairs)
    study = study_of(chosen, seeds_of_pairs, sets)
    if dry_run:
        emit_plan(study, output, (), as_json=as_json)
        return
    claim_outputs(output / "zoo.json", output / "zoo.html")
    console.say(f"zoo: {len(chosen)} pairs × {seeds} seeds, {len(study.cells)} cells in {output}")
    result = runner.run(study, output, jobs=jobs or runner.default_jobs(study))
    found = count(chosen, [outcome(pair, seed, output) for pair in chosen for seed in seeds_of_pairs])
    emit_zoo(found, output, as_json=as_json)
    result.require_complete()
