"""The command `judge diagnose`. It parses and calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from equiloss import console


def of_two(command: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments and options that say which two runs are meant, and by whose verdicts."""
    for add in (
        click.option("--judge", help="The judge to use, where there are several."),
        click.option("--rubric", help="The rubric to use, where there are several."),
        click.option(
            "--verdicts",
            "verdicts_dir",
            type=click.Path(path_type=Path, file_okay=False, exists=True),
            help="Where `judge score -o` put the verdicts [beside the answers].",
        ),
        click.option(
            "--results",
            "results_dir",
            type=click.Path(path_type=Path, file_okay=False),
            default=Path("results"),
            show_default=True,
            help="Where runs are looked for by name.",
        ),
        click.argument("b"),
        click.argument("a"),
    ):
        command = add(command)
    return command


@click.command()
@of_two
@click.option(
    "--margin", type=click.FloatRange(min=0, min_open=True), default=0.05, show_default=True, help="Nats per token."
)
@click.option(
    "--explanation",
    type=click.Path(path_type=Path, dir_okay=False),
    help="What `study explain` wrote [found beside the results].",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), help="Also write diagnosis.json there."
)
@console.option_json
def diagnose(
    a: str,
    b: str,
    results_dir: Path,
    verdicts_dir: Path | None,
    rubric: str | None,
    judge: str | None,
    margin: float,
    explanation: Path | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Say why A and B score differently: six levels of elimination, and a verdict.

    A and B are result files, verdict files, or names of runs (all seeds NAME.s1, NAME.s2, ... of a name together).
    What is beside them is used: verdicts, run records, losses and probes of the base models, `study explain`'s reruns.

    \b
    Examples:
      judge diagnose results/run1.jsonl results/run2.jsonl
      judge diagnose base-a base-b --json
    """
    from equiloss.files import write_json
    from judge.diagnose import terminal
    from judge.diagnose.diagnose import diagnose as run
    from judge.diagnose.diagnose import report_on

    options: dict[str, Any] = {"results_dir": results_dir, "rubric": rubric, "judge": judge}
    options |= {"verdicts_dir": verdicts_dir}
    options |= {"margin_nats": margin, "explanation": explanation}
    if output is None:
        diagnosis = run(a, b, **options)
    else:
        from judge.report import build

        diagnosis, report = report_on(a, b, **options)
        write_json(output / "diagnosis.json", diagnosis.model_dump(mode="json"))
        written = build.write(report, output) if report is not None else ()
        for path in (output / "diagnosis.json", *written):
            console.say(f"wrote {path}")
    document = diagnosis.model_dump(mode="json")
    if as_json:
        console.emit_json(document)
        return
    if diagnosis.judge is not None and not diagnosis.judge_is_llm:
        console.warn(f"the judge {diagnosis.judge} is not an LLM: it measures agreement with the reference answer")
    for note in diagnosis.notes:
        console.warn(note)
    console.emit_table(terminal.ladder(diagnosis))
    if diagnosis.causes:
        console.emit_table(terminal.causes(diagnosis))
    for line in terminal.closing(diagnosis):
        console.out().print(line, markup=False, soft_wrap=True)
