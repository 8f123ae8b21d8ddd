"""`judge diagnose A B`: read everything about A and B, go through the levels, and give the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from equiloss.files import write_json
from equiloss.provenance import provenance
from equiloss.records import counterfactual
from equiloss.records.diagnosis import Diagnosis
from judge.data.verdicts import Judged
from judge.diagnose import verdict
from judge.diagnose.case import Case
from judge.diagnose.case_reader import arm_of, case_of, read_case
from judge.diagnose.levels import base_model, decoding, noise, premise, recipe
from judge.diagnose.levels import judge as judging
from judge.labelling.label import Label
from judge.report.sections import Report


def diagnose(
    a: str,
    b: str,
    *,
    results_dir: Path = Path("results"),
    rubric: str | None = None,
    judge: str | None = None,
    verdicts_dir: Path | None = None,
    margin_nats: float = premise.MARGIN_NATS,
    explanation: Path | None = None,
) -> Diagnosis:
    """Diagnose the gap between A and B, each a response file, a verdict file or a run's name.

    `explanation`: a file that `study explain` wrote; without it, the one beside the results is used if it is there.
    Raises: InputError for what cannot be read or compared.
    """
    return diagnose_case(read_case(a, b, results_dir, rubric, judge, verdicts_dir), margin_nats, explanation)


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
    case = case_of(arms[0], arms[1], rubric, judge)
    return pages.report(case, diagnose_case(case), title, labels) if case.gap is not None else None


def diagnose_case(case: Case, margin_nats: float = premise.MARGIN_NATS, explanation: Path | None = None) -> Diagnosis:
    """Diagnose what has been read."""
    names, folder = (case.a.name, case.b.name), case.a.folder or case.b.folder
    if explanation is not None:
        explained = counterfactual.read(explanation, names)
    else:
        explained = counterfactual.find(folder, *names) if folder else None
    tried = explained.tried if explained else ()
    levels = (
        premise.level(case, margin_nats),
        noise.level(case),
        judging.level(case),
        decoding.level(case),
        recipe.level(case, tried),
        base_model.level(case, tried),
    )
    decision, causes = verdict.decide(case, levels)
    gap = case.gap
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
        better=better,
        levels=levels,
        causes=causes,
        verdict=decision,
        notes=case.notes,
        provenance=provenance(),
    )
