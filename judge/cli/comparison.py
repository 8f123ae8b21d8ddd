"""The commands `judge compare`, `report` and `audit`."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option, Typer

from equiloss import console
from equiloss.cli import JsonFlag, Overwrite, claim_outputs, output_option, positive, repeatable
from judge.cli.options import (
    Confidence,
    Criterion,
    Draws,
    DrawsSeed,
    Evidence,
    Files,
    Judge,
    Labels,
    Noise,
    Rubric,
    Verdicts,
)

commands = Typer()


@commands.command()
def compare(
    files: Annotated[list[Path] | None, Argument(metavar="FILES")] = None,
    *,
    table: Annotated[Path | None, Option(metavar="CSV", help="A table of models x judgings instead.")] = None,
    rubric: Rubric = None,
    judge: Judge = None,
    verdicts: Verdicts = None,
    criterion: Criterion = None,
    confidence: Confidence = 0.95,
    draws: Draws = 10_000,
    seed: DrawsSeed = 0,
    by: Annotated[Literal["model", "run"], Option(help="Pool NAME.s1, NAME.s2, ... into NAME, or not.")] = "model",
    cluster: Annotated[str | None, Option(metavar="FIELD", help="Items that share this field go together.")] = None,
    effect: Annotated[float | None, Option(help="The gap worth finding.", show_default="1/20 of the scale")] = None,
    labels: Labels = None,
    noise: Noise = None,
    evidence: Evidence,
    as_json: JsonFlag = False,
) -> None:
    """Compare judged FILES: means, paired differences, intervals, categories.

    FILES are result files (their verdicts lie beside them) or verdict files. With labels, means and gaps are also
    estimated as the person who labelled some of the answers would see them. A table has a row a model, a column `model`
    and columns run1, run2, ... of judgings of the same answers: intervals are then over judgings.

    \b
      judge compare results/run1.jsonl results/run2.jsonl
      judge compare results/run1.jsonl results/run2.jsonl --labels labels.jsonl
      judge compare --table judgings.csv
    """
    from equiloss.errors import InputError
    from equiloss.records.noise import load, spread
    from judge.cli import tables
    from judge.comparison.compare import compare
    from judge.data.anchors import pooled
    from judge.data.judgings import judged_of_table
    from judge.data.verdicts import load_judged
    from judge.diagnose.case_reader import with_verdicts
    from judge.labelling.label import read_labels

    if bool(files) == (table is not None):
        raise InputError("name judged results, or a table with --table", "not both, not neither")
    comparison = compare(
        judged_of_table(table) if table else pooled(load_judged(with_verdicts(files or [], verdicts)), evidence),
        unit="judgings" if table else "items",
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
        noise=spread(load(noise)) if noise else None,
    )
    if as_json:
        console.emit_json(comparison.model_dump(mode="json"))
    else:
        tables.emit_comparison(comparison)


@commands.command()
def report(
    files: Files,
    output: Annotated[Path, output_option("Directory for report.json and report.html.")] = Path("report"),
    rubric: Rubric = None,
    judge: Judge = None,
    verdicts: Verdicts = None,
    title: Annotated[str, Option(help="The page's title.", show_default="the models' names")] = "",
    labels: Labels = None,
    *,
    evidence: Evidence,
    as_json: JsonFlag = False,
    _overwrite: Overwrite = False,
) -> None:
    """Write report.json and report.html (one self-contained page) about judged FILES; of two models, with a diagnosis.

    \b
      judge report results/run1.jsonl results/run2.jsonl -o report
    """
    from judge.data.anchors import pooled
    from judge.data.verdicts import load_judged
    from judge.diagnose.case_reader import with_verdicts
    from judge.diagnose.diagnose import report_of_two
    from judge.labelling.label import read_labels
    from judge.report import build

    claim_outputs(output / "report.json", output / "report.html")
    judged = pooled(load_judged(with_verdicts(files, verdicts)), evidence)
    rated = read_labels(labels) if labels else []
    whole = report_of_two(judged, rubric, judge, title, rated) or build.build(
        judged, rubric=rubric, judge=judge, title=title, labels=rated
    )
    json_path, html_path = build.write(whole, output)
    if as_json:
        console.emit_json(whole.document)
        return
    console.say(whole.document.answer)
    console.out().print(f"{html_path}\n{json_path}", markup=False)


@commands.command()
def audit(
    files: Files,
    rubric: Rubric = None,
    judge: Judge = None,
    verdicts: Verdicts = None,
    injection: Annotated[str | None, Option(metavar="MODEL[@URL]", help="Try to talk this judge into a score.")] = None,
    labels: Labels = None,
    perturb: Annotated[
        str | None, Option(metavar="MODEL[@URL]", help="Ask this judge in other words, labels and forms.")
    ] = None,
    items: Annotated[int, Option(min=2, help="How many items --perturb asks about.")] = 50,
    *,
    against: Annotated[list[Path], repeatable("--against", "FILE|DIR", "Another judging of the same answers.")],
    margin: Annotated[
        float | None,
        Option(callback=positive, help="Points that do not matter (--against).", show_default="1/20 of the scale"),
    ] = None,
    output: Annotated[Path | None, output_option("Directory for audit.html and audit.json, or against.json.")] = None,
    confidence: Confidence = 0.95,
    draws: Draws = 1000,
    seed: DrawsSeed = 0,
    as_json: JsonFlag = False,
    _overwrite: Overwrite = False,
) -> None:
    """Say how far the judge of FILES can be trusted: place, length, drift, repeats, control answers, agreement.

    \b
      judge audit results/run1.jsonl results/run2.jsonl -o audit
      judge audit results/run1.jsonl results/run2.jsonl --labels labels.jsonl
      judge audit results/run1.jsonl results/run2.jsonl --injection gpt-4.1-mini
      judge audit results/run1.jsonl results/run2.jsonl --perturb gpt-4.1-mini
      judge audit results/run1.jsonl --against results/anchor -o results/anchor
    """
    from judge.auditing import against as judge_against
    from judge.auditing import page
    from judge.auditing.audit import audit
    from judge.cli import listings, tables
    from judge.data.verdicts import load_judged
    from judge.diagnose.case_reader import with_verdicts
    from judge.labelling.label import read_labels
    from judge.scoring import perturbations
    from judge.scoring.injection import measure

    if output:
        claim_outputs(*(output / name for name in (["against.json"] if against else ["audit.json", "audit.html"])))
    if perturb is not None:
        moved = perturbations.measure(files, perturb, rubric=rubric or "correctness", n_items=items)
        listings.emit_perturbations(moved, as_json=as_json)
        return
    if injection is not None:
        listings.emit_injection(measure(files, injection, rubric=rubric or "correctness"), as_json=as_json)
        return
    if against:
        evidence = judge_against.against(
            load_judged(with_verdicts(files, verdicts)),
            load_judged(judge_against.verdict_files(against)),
            rubric=rubric,
            judge=judge,
            margin=margin,
            confidence=confidence,
        )
        tables.emit_against(evidence, judge_against.write(evidence, output) if output else None, as_json=as_json)
        return
    judged, rated = load_judged(with_verdicts(files, verdicts)), read_labels(labels) if labels else []
    found = audit(judged, rubric=rubric, judge=judge, labels=rated, confidence=confidence, draws=draws, seed=seed)
    written = page.write(found, files, output) if output else ()
    if as_json:
        console.emit_json(found.model_dump(mode="json"))
    else:
        tables.emit_audit(found)
        console.say(*(f"wrote {path}" for path in written))
