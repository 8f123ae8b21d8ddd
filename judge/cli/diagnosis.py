"""The command `judge diagnose`."""

from pathlib import Path
from typing import Annotated

from typer import Option, Typer

from equiloss import console
from equiloss.cli import JsonFlag, Overwrite, claim_outputs, output_option, positive
from judge.cli.options import A, B, Evidence, Judge, Noise, Results, Rubric, Verdicts

commands = Typer()


@commands.command()
def diagnose(
    a: A,
    b: B,
    results: Results = Path("results"),
    verdicts: Verdicts = None,
    rubric: Rubric = None,
    judge: Judge = None,
    margin: Annotated[float, Option(callback=positive, help="Nats within which losses are equivalent.")] = 0.05,
    smallest_gap: Annotated[
        float | None,
        Option(callback=positive, help="Points below which no gap is of interest.", show_default="1/20 of the scale"),
    ] = None,
    noise: Noise = None,
    explanation: Annotated[
        Path | None, Option(help="`study explain`'s file.", show_default="beside the results")
    ] = None,
    *,
    evidence: Evidence,
    output: Annotated[Path | None, output_option("Also write diagnosis.json there.")] = None,
    as_json: JsonFlag = False,
    _overwrite: Overwrite = False,
) -> None:
    """Say why A and B score differently: six levels of elimination, and a verdict.

    A and B are result files, verdict files, or names of runs (all seeds NAME.s1, NAME.s2, ... of a name together).
    What is beside them is used: verdicts, run records, losses and probes of the base models, `study explain`'s reruns.

    \b
      judge diagnose results/run1.jsonl results/run2.jsonl
      judge diagnose base-a base-b --json
    """
    from equiloss.records.noise import load, spread
    from judge.diagnose import terminal
    from judge.diagnose.case import Options
    from judge.diagnose.case_reader import read_case
    from judge.diagnose.diagnose import diagnose_case, write

    if output:
        claim_outputs(*(output / name for name in ("diagnosis.json", "report.json", "report.html")))
    case = read_case(a, b, results, rubric, judge, verdicts, evidence)
    diagnosis = diagnose_case(case, Options(margin, smallest_gap, spread(load(noise)) if noise else None), explanation)
    if output:
        console.say(*(f"wrote {path}" for path in write(case, diagnosis, output)))
    if as_json:
        console.emit_json(diagnosis.model_dump(mode="json"))
    else:
        terminal.show(diagnosis)
