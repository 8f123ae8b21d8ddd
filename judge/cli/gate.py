"""The command `judge gate`."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Exit, Option, Typer

from equiloss import console
from equiloss.cli import JsonFlag, Overwrite, claim_outputs, positive
from judge.cli.options import A, B, Confidence, Criterion, Evidence, Judge, Noise, Results, Rubric, Verdicts

commands = Typer()
NOT_PASSED = 5


@commands.command()
def gate(
    a: A,
    b: B,
    require: Annotated[Literal["better", "not-worse", "equivalent"], Option(help="What B must be.")] = "not-worse",
    margin: Annotated[
        float | None,
        Option(callback=positive, help="Points that do not matter.", show_default="1/20 of the scale"),
    ] = None,
    about: Annotated[
        Literal["answers", "bases", "recipes"] | None,
        Option(help="These answers, other fine-tunings, or other base runs.", show_default="answers; in a loop bases"),
    ] = None,
    noise: Noise = None,
    loop: Annotated[
        Path | None, Option(help="A log that many candidates share, with one error rate for all of them.")
    ] = None,
    log: Annotated[Path | None, Option(help="The log of this pair.", show_default="A.vs.B.gate.json")] = None,
    results: Results = Path("results"),
    verdicts: Verdicts = None,
    rubric: Rubric = None,
    judge: Judge = None,
    criterion: Criterion = None,
    confidence: Confidence = 0.95,
    *,
    evidence: Evidence,
    junit: Annotated[Path | None, Option(help="Also write JUnit XML there.")] = None,
    summary: Annotated[Path | None, Option(help="Also append Markdown there ($GITHUB_STEP_SUMMARY).")] = None,
    as_json: JsonFlag = False,
    _overwrite: Overwrite = False,
) -> None:
    """Decide whether B is better than A, worse, equivalent, or cannot be told; exit code 5 where it is not as required.

    A, the baseline, and B are result files, verdict files, or names of runs (all seeds NAME.s1, NAME.s2, ... together).
    Look as often as you like while data come in: every look is kept in the log, and the error rate holds over all.

    \b
      judge gate results/base.jsonl results/new.jsonl --require not-worse --margin 2
      judge gate base new --about bases --require better
      judge gate base new-17 --loop results/loop.json --require better --noise noise.json
    """
    from equiloss.errors import InputError
    from equiloss.records.noise import load, spread
    from judge.diagnose.case_reader import read_case
    from judge.gate import gate as gates
    from judge.gate.results import append_summary, write_junit

    if loop and log:
        raise InputError("--loop and --log exclude each other", "a loop's file is its log")
    if junit:
        claim_outputs(junit)
    document = gates.gate(
        read_case(a, b, results, rubric, judge, verdicts, evidence, criterion),
        loop or log,
        about=about or ("bases" if loop else "answers"),
        require=require,
        margin=margin,
        confidence=confidence,
        noise=spread(load(noise)) if noise else None,
        loop=loop is not None,
    )
    if junit:
        write_junit(junit, document)
    if summary:
        append_summary(summary, document)
    if as_json:
        console.emit_json(document.model_dump(mode="json"))
    else:
        for warning in document.warnings:
            console.warn(warning)
        console.out().print(document.says, markup=False, soft_wrap=True)
        console.say(f"{document.require}: {'yes' if document.holds else 'no'}")
    if not document.holds:
        raise Exit(NOT_PASSED)
