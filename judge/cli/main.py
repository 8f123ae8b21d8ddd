"""The `judge` program: parses the command line and calls."""

from __future__ import annotations

from pathlib import Path

import click

from equiloss import console
from judge.cli import diagnose, score

LABELS = click.option(
    "--labels",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A person's ratings, by `judge label`.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="equiloss")
def program() -> None:
    """Let a stronger model judge the answers, and say which differences are real."""


@program.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--rubric", help="The rubric to compare on, where there are several.")
@click.option("--judge", help="The judge to compare on, where there are several.")
@click.option("--criterion", help="One criterion of the rubric; default: the whole.")
@click.option("--confidence", type=click.FloatRange(0.5, 0.999), default=0.95, show_default=True)
@click.option("--draws", type=click.IntRange(100), default=10_000, show_default=True, help="Bootstrap draws.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the draws.")
@click.option(
    "--by",
    type=click.Choice(["model", "run"]),
    default="model",
    show_default=True,
    help="Pool the seeds NAME.s1, NAME.s2, ... into NAME, or keep every run apart.",
)
@click.option("--cluster", metavar="FIELD", help="Items that share this field of the responses go together.")
@click.option("--effect", type=float, help="The gap worth finding, in points; default: a twentieth of the scale.")
@LABELS
@console.option_json
def compare(
    files: tuple[Path, ...],
    rubric: str | None,
    judge: str | None,
    criterion: str | None,
    confidence: float,
    draws: int,
    seed: int,
    by: str,
    cluster: str | None,
    effect: float | None,
    labels: Path | None,
    as_json: bool,
) -> None:
    """Compare judged FILES: means, paired differences, intervals, categories.

    FILES are result files (their verdicts lie beside them) or verdict files. With labels, means and gaps are also
    estimated as the person who labelled some of the answers would see them.

    \b
    Examples:
      judge compare results/run1.jsonl results/run2.jsonl
      judge compare results/run1.jsonl results/run2.jsonl --labels labels.jsonl
    """
    from judge.cli import tables
    from judge.comparison.compare import compare
    from judge.data.verdicts import load_judged
    from judge.labelling.label import read_labels

    comparison = compare(
        load_judged(files),
        rubric=rubric,
        judge=judge,
        criterion=criterion,
        confidence=confidence,
        draws=draws,
        seed=seed,
        pool_seeds=by == "model",
        cluster=cluster,
        effect=effect,
        labels=read_labels(labels) if labels else (),
    )
    if as_json:
        console.emit_json(comparison.model_dump(mode="json"))
        return
    for warning in comparison.warnings:
        console.warn(warning)
    console.emit_table(tables.models(comparison))
    if comparison.differences:
        console.emit_table(tables.differences(comparison))
    if comparison.categories:
        console.emit_table(tables.categories(comparison))
    if line := tables.control_answers(comparison):
        console.say(line)


for _command in score.COMMANDS:
    program.add_command(_command)


@program.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "directory",
    type=click.Path(path_type=Path),
    default=Path("report"),
    show_default=True,
    help="Directory for report.json and report.html.",
)
@click.option("--rubric", help="The rubric to report on, where there are several.")
@click.option("--judge", help="The judge to report on, where there are several.")
@click.option("--title", default="", help="The page's title; default: the models' names.")
@LABELS
@console.option_json
def report(
    files: tuple[Path, ...],
    directory: Path,
    rubric: str | None,
    judge: str | None,
    title: str,
    labels: Path | None,
    as_json: bool,
) -> None:
    """Write report.json and report.html (one self-contained page) about judged FILES; of two models, with a diagnosis.

    \b
    Example:
      judge report results/run1.jsonl results/run2.jsonl -o report
    """
    from judge.data.verdicts import load_judged
    from judge.diagnose.diagnose import report_of_two
    from judge.labelling.label import read_labels
    from judge.report import build

    judged = load_judged(files)
    made = report_of_two(judged, rubric, judge, title) or build.build(judged, rubric=rubric, judge=judge, title=title)
    if labels:
        made = build.with_people(made, judged, read_labels(labels), rubric, judge)
    json_path, html_path = build.write(made, directory)
    if as_json:
        console.emit_json(build.document(made))
        return
    console.say(made.answer)
    console.out().print(f"{html_path}\n{json_path}", markup=False)


program.add_command(diagnose.diagnose)


@program.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--rubric", help="The rubric to audit, where there are several.")
@click.option("--judge", help="The judge to audit, where there are several.")
@click.option("--injection", metavar="MODEL[@URL]", help="Instead, ask this judge about texts that demand a score.")
@LABELS
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Directory for audit.html and audit.json.")
@click.option("--confidence", type=click.FloatRange(0.5, 0.999), default=0.95, show_default=True)
@click.option("--draws", type=click.IntRange(100), default=1000, show_default=True, help="Bootstrap draws.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the draws.")
@console.option_json
def audit(
    files: tuple[Path, ...],
    rubric: str | None,
    judge: str | None,
    injection: str | None,
    labels: Path | None,
    output: Path | None,
    confidence: float,
    draws: int,
    seed: int,
    as_json: bool,
) -> None:
    """Say how far the judge of FILES can be trusted: place, length, drift, repeats, control answers, agreement.

    \b
    Examples:
      judge audit results/run1.jsonl results/run2.jsonl -o audit
      judge audit results/run1.jsonl results/run2.jsonl --labels labels.jsonl
      judge audit results/run1.jsonl results/run2.jsonl --injection gpt-4.1-mini
    """
    if injection is not None:
        from judge.cli.score_output import emit_injection
        from judge.scoring.injection import measure

        emit_injection(measure(files, injection, rubric=rubric or "correctness"), as_json=as_json)
        return
    from judge.auditing import page
    from judge.auditing.audit import audit
    from judge.cli import tables
    from judge.data.verdicts import load_judged
    from judge.labelling.label import read_labels

    rated = read_labels(labels) if labels else []
    judged = load_judged(files)
    found = audit(judged, rubric=rubric, judge=judge, labels=rated, confidence=confidence, draws=draws, seed=seed)
    written = page.write(found, files, output) if output else ()
    if as_json:
        console.emit_json(found.model_dump(mode="json"))
        return
    console.emit_table(tables.audit(found))
    for finding in found.findings:
        console.out().print(finding, markup=False)
    for path in written:
        console.say(f"wrote {path}")


@program.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--to", "to", metavar="KIND", help="Write FILES as csv, parquet, alpaca-eval, diary or inspect.")
@click.option(
    "--from", "origin", metavar="KIND", help="Read FILES as alpaca-eval, lm-eval, inspect, diary, csv, parquet."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="--to: the file. --from: the directory."
)
@click.option("--generator", default="", help="--from: the model's name, where the file gives none [the file's name].")
@click.option("--judge", default="", help="--from: who gave the scores, where the file does not say.")
@click.option(
    "--scores", multiple=True, type=click.Path(path_type=Path), help="--from: a JSON list of a model's scores."
)
def exchange(
    files: tuple[Path, ...],
    to: str | None,
    origin: str | None,
    output: Path,
    generator: str,
    judge: str,
    scores: tuple[Path, ...],
) -> None:
    """Write result FILES, with their verdicts, for other tools; or read other tools' FILES into result files.

    Described in docs/exchange.md. AlpacaEval's model_outputs.json and the diary's file are read by all commands as
    they are.

    \b
    Examples:
      judge exchange results/run1.jsonl results/run2.jsonl --to csv -o verdicts.csv
      judge exchange annotations.json --from alpaca-eval -o results
    """
    from judge.exchange.exchange import read_into, write_as

    if (to is None) == (origin is None):
        raise click.UsageError("give --to KIND or --from KIND")
    if to is not None:
        write_as(files, to, output)
    else:
        read_into(files, str(origin), output, generator, judge, scores)


@program.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("labels.jsonl"), show_default=True)
@click.option("-n", "count", type=click.IntRange(1), default=50, show_default=True, help="Answers to rate.")
@click.option("--retest", type=click.FloatRange(0, 1), default=0.2, show_default=True, help="Share rated twice.")
@click.option("--rubric", default="correctness", show_default=True, help="Whose scale and words to rate by, or a path.")
@click.option("--rater", default="", help="Who rates, where several do.")
@click.option("--web", is_flag=True, help="Rate in a page on 127.0.0.1, by keyboard, instead of in the terminal.")
@click.option("--port", type=int, default=0, show_default=True, help="The page's port; 0 takes a free one.")
@click.option(
    "--idle", type=click.FloatRange(1), default=1800.0, show_default=True, help="Seconds until the page ends."
)
@click.option("--no-browser", is_flag=True, help="Only print the page's address.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the sample.")
def label(
    files: tuple[Path, ...],
    output: Path,
    count: int,
    retest: float,
    rubric: str,
    rater: str,
    web: bool,
    port: int,
    idle: float,
    no_browser: bool,
    seed: int,
) -> None:
    """Rate a blind sample of the answers in FILES yourself, on the rubric's scale; the same command goes on later.

    `judge compare --labels` and `judge audit --labels` use the ratings.

    \b
    Examples:
      judge label results/run1.jsonl results/run2.jsonl -n 50 -o labels.jsonl
      judge label results/run1.jsonl results/run2.jsonl --web
    """
    from judge import rubrics
    from judge.data.verdicts import load_judged
    from judge.labelling.label import LabellingSession, Ruler, rate, sample
    from judge.labelling.terminal import prompt
    from judge.labelling.web import announcing, serve

    session = LabellingSession(
        sample(load_judged(files), count, retest, seed), output, Ruler.of(rubrics.load(rubric)), rater
    )
    made = serve(session, announcing(not no_browser), port, idle) if web else rate(session, prompt(session.ruler))
    console.say(f"{output}: {session.done:,} of {len(session.tasks):,} rated, {made:,} of them now")


def main() -> None:
    """Entry point of `judge`."""
    console.run(program, "judge")
