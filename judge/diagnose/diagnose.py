"""`judge diagnose A B`: read everything about A and B, go through the levels, and give the verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from equiloss.files import write_json
from equiloss.provenance import provenance
from equiloss.records import counterfactual
from equiloss.records.diagnosis import Diagnosis, Level
from judge.data.verdicts import Judged
from judge.diagnose import naming, verdict
from judge.diagnose.case import Case, Options
from judge.diagnose.case_reader import arm_of, case_of, read_case
from judge.diagnose.differences import disagreement
from judge.diagnose.levels import base_model, decoding, noise, premise, recipe
from judge.diagnose.levels import judge as judging
from judge.diagnose.questions import questions
from judge.labelling.label import Label
from judge.report.sections import Report

INTEREST = 20
"""The part of the scale, as one over this, that is the smallest gap of interest where none is named."""

LEVELS: tuple[Callable[[Case, Options], Level], ...] = (
    premise.level,
    noise.level,
    judging.level,
    decoding.level,
    recipe.level,
    base_model.level,
)
"""The levels in the order of reading; each looks at the case alone."""


def diagnose(
    a: str,
    b: str,
    *,
    results_dir: Path = Path("results"),
    rubric: str | None = None,
    judge: str | None = None,
    verdicts_dir: Path | None = None,
    options: Options | None = None,
    explanation: Path | None = None,
) -> Diagnosis:
    """Diagnose the gap between A and B, each a response file, a verdict file or a run's name.

    `explanation`: a file that `study explain` wrote; without it, the one beside the results is used if it is there.
    Raises: InputError for what cannot be read or compared.
    """
    return diagnose_case(read_case(a, b, results_dir, rubric, judge, verdicts_dir), options, explanation)


def write(case: Case, diagnosis: Diagnosis, directory: Path) -> list[Path]:
    """Write diagnosis.json and, where the answers are judged, report.json and report.html; their paths.

    Raises: InputError when `directory` is a file.
    """
    from judge.diagnose import page
    from judge.report import build

    path = directory / "diagnosis.json"
    report = page.report(case, diagnosis) if case.gap is not None else None
    written = build.write(report, directory) if report is not None else ()
    write_json(path, diagnosis.model_dump(mode="json"))
    return [path, *written]


def report_of_two(
    judged: Sequence[Judged], rubric: str | None, judge: str | None, title: str, labels: Sequence[Label] = ()
) -> Report | None:
    """The report of exactly two judged models, led by their diagnosis; None for another number of models."""
    from judge.diagnose import page as pages

    names = list(dict.fromkeys(one.model for one in judged))
    if len(names) != 2:
        return None
    arms = [arm_of([one for one in judged if one.model == name]) for name in names]
    if any(disagreement(arm) for arm in arms):
        return None  # a mixture of recipes is compared, and has no verdict
    case = case_of(arms[0], arms[1], rubric, judge)
    return pages.report(case, diagnose_case(case), title, labels) if case.gap is not None else None


def diagnose_case(case: Case, options: Options | None = None, explanation: Path | None = None) -> Diagnosis:
    """Diagnose what has been read (`explanation` as in `diagnose`)."""
    names = (case.a.name, case.b.name)
    if explanation is not None:
        explained = counterfactual.read(explanation, names)
    else:
        folders = dict.fromkeys(folder for folder in (case.b.folder, case.a.folder) if folder)
        explained = next((one for folder in folders if (one := counterfactual.find(folder, *names))), None)
    options = replace(options or Options(), tried=explained.tried if explained else ())
    margin = options.margin_points
    margin = (case.scale[1] - case.scale[0]) / INTEREST if margin is None else margin
    levels = tuple(level(case, options) for level in LEVELS)
    gap = case.gap
    asked = questions(gap, options.noise)
    causes = [cause for level in levels for cause in level.causes]
    if gap is not None:
        levels, causes = naming.settle(gap, levels)
    decision, causes = verdict.decide(case, levels, causes, asked, margin)
    better = None
    if gap is not None and gap.estimate.excludes(0.0):
        better = case.a.name if gap.value > 0 else case.b.name
    return Diagnosis(
        a=case.side(case.a),
        b=case.side(case.b),
        rubric=case.panel.rubric if case.panel else None,
        judge=case.panel.judge if case.panel else None,
        judge_is_llm=case.panel.is_llm if case.panel else None,
        gap=gap.estimate if gap else None,
        margin_points=margin,
        questions=asked,
        contributions=naming.contributions(causes),
        unexplained=naming.unexplained(gap.estimate, causes) if gap else None,
        better=better,
        levels=levels,
        causes=causes,
        verdict=decision,
        notes=case.notes,
        provenance=provenance(),
    )
