"""The decision about B against A at the next look, and its document."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from equiloss.errors import InputError
from equiloss.files import sha256_of
from equiloss.numerals import plain, significant
from equiloss.records.gate import About, GateLook, GateTest
from equiloss.records.noise import Spread
from equiloss.records.verdict import safe_name
from equiloss.statistics.crossed import Crossed
from equiloss.statistics.estimate import Interval
from equiloss.statistics.nested import NestedGap, SideScores, nested_gap
from equiloss.statistics.sequential import Outcome, Wanted, decides, in_all, interval_at_look, look_confidence, outcome
from judge.comparison.assumed import assumed
from judge.comparison.clusters import clusters_of
from judge.comparison.document import ResultDocument
from judge.data.anchors import check_one_judging
from judge.data.verdicts import NOT_AN_LLM
from judge.diagnose import next_steps
from judge.diagnose.case import Case
from judge.gate import log as logs
from judge.gate.log import GateData, LogKey

GATE_SCHEMA = "equiloss.gate.v1"
FEWEST_ITEMS = 20
"""With fewer items Student's interval cannot be trusted, so nothing is decided."""
_SUBJECT = {"answers": "these answers", "bases": "these base models", "recipes": "these recipes"}
_UNIT = {"answers": "items", "bases": "fine-tuning seeds", "recipes": "base runs"}


class GateDocument(ResultDocument):
    """What `judge gate --json` prints. Points are B minus A."""

    schema_: str = Field(default=GATE_SCHEMA, validation_alias="schema", serialization_alias="schema")
    a: str
    b: str
    about: About
    rubric: str
    judge: str
    criterion: str = Field(description='the one that was gated; "overall" for the whole rubric')
    is_llm: bool = Field(description="false for the offline reference judge")
    outcome: Outcome = Field(description="what is decided about B")
    within_margin: bool = Field(description="the interval lies inside the margin, whatever the outcome")
    require: Wanted
    holds: bool = Field(description="what was required is shown: exit code 0, else 5")
    margin: float = Field(description="points within which a difference does not matter")
    points: float | None = Field(description="B minus A, at this look")
    interval: Interval | None = Field(description="what lies in the intervals of all looks; null: nothing decided")
    confidence: float = Field(description="that no interval of this log, at any look, ever leaves out the truth")
    unit: str | None = Field(description="what the interval is over; null where the question's unit did not vary")
    look: int = Field(description="how often these data, growing, were looked at; 0: never, since nothing was tested")
    is_new_look: bool = Field(description="false where the data are those of the last look, which spends nothing")
    look_interval: Interval | None = Field(description="of this look alone, at its own confidence")
    look_confidence: float | None
    place: int | None = Field(description="which comparison of the loop this is; null without --loop")
    n_items: int
    n_runs: tuple[int, int] = Field(description="of A, of B")
    log: str = Field(description="where the looks are kept")
    reason: str = Field(description="why nothing can be told; empty where something is")
    says: str
    warnings: list[str]


def gate(
    case: Case,
    path: Path | None = None,
    *,
    about: About = "answers",
    require: Wanted = "not-worse",
    margin: float | None = None,
    confidence: float = 0.95,
    noise: Spread | None = None,
    loop: bool = False,
) -> GateDocument:
    """Look at B against A once more and decide. The look is kept in `path` (None: A.vs.B.gate.json beside A's files).

    `margin` in points; None: a twentieth of the scale. With `loop` the log is shared by many comparisons.
    Raises: InputError where the answers are not judged by one judge, or data that an earlier look rests on changed.
    """
    if case.scores is None or case.panel is None:
        raise InputError(f"{case.a.name} and {case.b.name} are not judged", f"run `{next_steps.score(case)}` first")
    check_one_judging([*case.a.runs, *case.b.runs], case.panel)
    low, high = case.scale
    margin = (high - low) / 20 if margin is None else margin
    path, names = path or default_log(case), _names(case, about)
    split = _split(case)
    answer, unit = _answer(split, about, noise) if split else (None, "")
    reason = _reason(split, answer, about, noise)
    data, of = GateData.of(case.scores), _subject_hash(case, about)
    known_noise = sha256_of(repr(noise)) if noise is not None and "ledger" in unit else ""
    with logs.opened(path, confidence, loop=loop) as log:
        test = logs.find(log, LogKey(*names, about, case.panel.rubric, case.panel.judge, case.scores.criterion))
        if test.looks and (changed := data.changed_since(test)):
            raise InputError(
                f"{path}: {changed}, and a test goes on with what was looked at",
                "put the earlier verdicts back and judge only what is new, or "
                + ("compare under another name" if loop else "begin another test with --log FILE"),
            )
        fresh = not (test.looks and data.is_that_of(test) and test.looks[-1].noise == known_noise)
        if answer is not None and not reason and fresh:
            whole, number = logs.confidence_of(log, test), len(test.looks) + 1
            ends = interval_at_look(answer, number, whole)
            look = GateLook(
                points=answer.value,
                low=ends[0],
                high=ends[1],
                standard_error=answer.standard_error,
                df=answer.df,
                confidence=look_confidence(number, whole),
                unit=unit,
                of=of,
                noise=known_noise,
                n_items=split.n_items if split else 0,
                n_runs=(len(case.a.runs), len(case.b.runs)),
                created=datetime.now(UTC).isoformat(timespec="seconds"),
            )
            test = logs.write_look(path, log, test, look, data)
    return _document(case, test, path, fresh, reason, of, about, require, margin, confidence, loop=loop)


def default_log(case: Case) -> Path:
    """Where the looks at a pair are kept, one seed or many: beside A's files."""
    file = next((file for run in case.a.runs for file in run.files), Path("."))
    return file.parent / f"{'.vs.'.join(map(safe_name, _names(case)))}.gate.json"


def _names(case: Case, about: About = "bases") -> tuple[str, str]:
    """What A and B are called in a log: by the model, however many of its seeds there are, unless it is about runs."""
    models = case.a.runs[0].model, case.b.runs[0].model
    return (case.a.name, case.b.name) if about == "answers" or models[0] == models[1] else models


def _split(case: Case) -> NestedGap | None:
    """B minus A by question, items of one text together."""
    scores = case.scores
    if scores is None:
        return None
    parts = slice(len(case.a.runs)), slice(len(case.a.runs), None)
    a, b = (
        SideScores(scores.values[part], tuple(run.base for run in arm.runs))
        for part, arm in zip(parts, case.arms, strict=True)
    )
    return nested_gap(b, a, clusters_of([*case.a.runs, *case.b.runs], scores.ids, None))


def _answer(split: NestedGap, about: About, noise: Spread | None) -> tuple[Crossed | None, str]:
    """The gap over the question's unit: as measured, or by the ledger where that knows more of the spread."""
    if about == "answers":
        return split.answers, _UNIT[about]
    measured = split.bases if about == "bases" else split.recipes
    ledger = assumed(split, noise, always=True)[about == "recipes"] if noise else None
    if ledger is not None and (measured is None or measured.df_units < ledger.df_units):
        return ledger, f"{_UNIT[about]}, by the ledger"
    return measured, _UNIT[about]


def _reason(split: NestedGap | None, answer: Crossed | None, about: About, noise: Spread | None) -> str:
    """Why nothing can be tested; empty where something can."""
    if split is None or split.n_items < FEWEST_ITEMS:
        n = split.n_items if split else 0
        return f"{n} items with scores on both sides, and fewer than {FEWEST_ITEMS} decide nothing"
    if answer is not None:
        return ""
    one = {"bases": "one fine-tuning seed a side", "recipes": "one base run a side"}[about]
    lacks = "which the noise ledger does not tell either" if noise else "so give more, or --noise FILE by `study noise`"
    return f"{one}: what other {_UNIT[about]} would do is not measured, {lacks}"


def _subject_hash(case: Case, about: About) -> str:
    """A hash of what a statement is about: looks with the same speak of one quantity."""
    runs: list[Sequence[str]] = []
    if about == "answers":
        runs = [sorted(run.generator for run in arm.runs) for arm in case.arms]
    elif about == "bases":
        runs = [sorted({run.base or "" for run in arm.runs}) for arm in case.arms]
    return sha256_of(runs)[:12]


def _document(
    case: Case,
    test: GateTest,
    path: Path,
    fresh: bool,
    reason: str,
    of: str,
    about: About,
    require: Wanted,
    margin: float,
    confidence: float,
    *,
    loop: bool,
) -> GateDocument:
    looks = () if reason else test.looks
    same = [(look.low, look.high) for look in looks if look.of == of]
    interval = in_all(same) if same else None
    if same and interval is None:
        reason = "the looks contradict each other: the data before and after are not of one kind"
    last = looks[-1] if looks else None
    warnings = [*case.notes]
    alone = [arm.name for arm in case.arms if about != "answers" and len(arm.runs) == 1]
    if last and len(alone) == 1 and "ledger" not in last.unit:
        warnings.append(f"{alone[0]} has one run: its spread is taken to be the other side's, and errs where it is not")
    is_llm = case.panel.is_llm if case.panel else False
    if not is_llm:
        warnings.append(NOT_AN_LLM)
    subject = f"{_SUBJECT[about]}, over {last.unit}" if last else _SUBJECT[about]
    document = GateDocument(
        a=case.a.name,
        b=case.b.name,
        about=about,
        rubric=test.rubric,
        judge=test.judge,
        criterion=test.criterion,
        is_llm=is_llm,
        outcome=outcome(interval, margin),
        within_margin=decides("equivalent", interval, margin),
        require=require,
        holds=decides(require, interval, margin),
        margin=margin,
        points=last.points if last else None,
        interval=interval,
        confidence=confidence,
        unit=last.unit if last else None,
        look=len(looks),
        is_new_look=fresh and last is not None,
        look_interval=(last.low, last.high) if last else None,
        look_confidence=last.confidence if last else None,
        place=test.place if loop and test.looks else None,
        n_items=last.n_items if last else (len(case.scores.ids) if case.scores else 0),
        n_runs=(len(case.a.runs), len(case.b.runs)),
        log=str(path),
        reason=reason,
        says="",
        warnings=warnings,
    )
    return document.model_copy(update={"says": sentence(document, subject)})


def sentence(document: GateDocument, subject: str) -> str:
    """What is decided, in a sentence."""
    a, b, margin = document.a, document.b, plain(document.margin)
    if document.interval is None or document.points is None:
        return f"{b} against {a}: cannot tell about {subject}: {document.reason}."
    heads: dict[Outcome, str] = {
        "better": f"{b} is better than {a}" + (", by less than the margin" if document.within_margin else ""),
        "equivalent": f"{b} is equivalent to {a} within {margin} points",
        "worse": f"{b} is worse than {a}",
        "cannot-tell": f"{b} against {a}: cannot tell",
    }
    low, high = (significant(end) for end in document.interval)
    tail = ""
    if document.outcome == "cannot-tell" and decides("not-worse", document.interval, document.margin):
        tail = f"; it is not worse by {margin} points or more"
    again = "" if document.is_new_look else ", the same data as before"
    return (
        f"{heads[document.outcome]}: B minus A is {significant(document.points)} points "
        f"({low} to {high} at {plain(100 * document.confidence)} % over all looks"
        f"{f' and candidates, candidate {document.place:,}' if document.place else ''}; "
        f"look {document.look:,}{again}){tail}. This is about {subject}."
    )
