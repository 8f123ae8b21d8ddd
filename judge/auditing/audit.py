"""How far a judge can be trusted: what its scores follow besides the answers, how repeatable and how right they are."""

from __future__ import annotations

from collections.abc import Sequence

from equiloss import templates
from equiloss.numerals import number, span
from equiloss.statistics.estimate import Interval
from judge.auditing import checks, effects, trust
from judge.auditing.documents import Audit, Bias
from judge.data.control_answers import summarise
from judge.data.scores import Scores, choose_panel, scale_of
from judge.data.verdicts import Judged
from judge.labelling.label import Label


def audit(
    judged: Sequence[Judged],
    *,
    rubric: str | None = None,
    judge: str | None = None,
    labels: Sequence[Label] = (),
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Audit:
    """Audit the judge of these runs. `labels` are a person's ratings, from `judge label`.

    Raises: InputError when the runs share no panel.
    """
    panel = choose_panel(judged, rubric, judge)
    scale, scores = scale_of(judged, panel), Scores.of_units(judged, panel)
    rows = effects.verdict_rows(judged, panel, scale)
    measured = effects.estimate(rows, confidence)
    place, length, drift = (checks.bias(measured, name) for name in ("place", "length", "order"))
    repeats = checks.repeatability(scores, rows, scale, place, confidence, draws, seed)
    share = rows["share"].to_numpy()
    control = [line for run in judged for line in run.control_answers_of(panel)]
    report = Audit(
        rubric=panel.rubric,
        judge=panel.judge,
        is_llm=panel.is_llm,
        confidence=confidence,
        scale=scale,
        n_verdicts=len(rows),
        n_items=len(set(scores.items)),
        share_at_ends=float(((share <= 0) | (share >= 1)).mean()) if len(rows) else 0.0,
        position=place,
        length=length,
        drift=drift,
        repeatability=repeats,
        scale_use=checks.scale_use(share),
        agreement=[
            *checks.with_reference(rows, confidence, draws, seed),
            *checks.with_people(scores, scale, labels, confidence, draws, seed),
        ],
        control_answers=checks.control_answers(control, scale, confidence, draws, seed),
        failures=checks.failures(judged, panel),
        pairs=trust.pairs(rows, place, length, repeats, confidence),
        jury=checks.jury(judged, panel, confidence, draws, seed),
        warnings=summarise(control, *scale)["warnings"],
        findings=[],
    )
    return report.model_copy(update={"findings": _findings(report)})


def _findings(report: Audit) -> list[str]:
    """What the numbers say, a sentence each."""
    level = 1 - report.confidence

    def points(shares: float | Interval) -> str:
        """A share of the scale, or an interval of it, in per cent."""
        return span((100 * shares[0], 100 * shares[1]), 1) if isinstance(shares, tuple) else number(100 * shares, 1)

    def shown(bias: Bias | None) -> bool:
        return bias is not None and bias.p is not None and bias.p < level

    text = templates.report_text(
        "audit",
        **dict(report),
        points=points,
        shown=shown,
        level=level,
        beyond=trust.trusted_beyond(report.pairs),
        at_equal_agreement=any(one.with_ == checks.REFERENCE for one in report.agreement),
    )
    return [" ".join(line.split()) for line in text.split("\n") if line.strip()]
