"""How far a judge can be trusted: what its scores follow besides the answers, how repeatable and how right they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from equiloss import templates
from equiloss.numerals import number
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
    scale = scale_of(judged, panel)
    scores = Scores.of(judged, panel)
    data = effects.rows(judged, panel, scale)
    found = effects.estimate(data, confidence)
    shares = (scores.values - scale[0]) / (scale[1] - scale[0])  # (runs, items, repeats)
    step = checks.step(scores) / (scale[1] - scale[0])
    place, length = checks.bias(found, "place"), checks.bias(found, "length")
    places = checks.places(judged, scores)
    again = checks.repeatability(shares, places, step, found, confidence, draws, seed)
    planted = [one for run in judged for one in run.control_answers_of(panel)]
    values: dict[str, Any] = {
        "rubric": panel.rubric,
        "judge": panel.judge,
        "is_llm": panel.is_llm,
        "confidence": confidence,
        "scale": scale,
        "n_verdicts": len(data),
        "n_items": len(scores.ids),
        "share_at_ends": float(((data.share <= 0) | (data.share >= 1)).mean()) if len(data) else 0.0,
        "position": place,
        "length": length,
        "drift": checks.bias(found, "order"),
        "repeatability": again,
        "scale_use": checks.scale_use(data.share),
        "agreement": [
            *checks.with_reference(data, confidence, draws, seed),
            *checks.with_people(scores, scale, labels, confidence, draws, seed),
        ],
        "canaries": checks.control_answers(planted, scale, confidence, draws, seed),
        "failures": checks.failures(judged, panel),
        "pairs": trust.pairs(data, place, length, again, confidence),
        "jury": checks.jury(judged, panel, confidence, draws, seed),
        "warnings": summarise(planted, *scale)["warnings"],
    }
    text = templates.render(templates.source("report", "audit"), "report/audit", **_readable(values))
    values["findings"] = [" ".join(line.split()) for line in text.split("\n") if line.strip()]
    return Audit.model_validate(values)


def _readable(values: dict[str, Any]) -> dict[str, Any]:
    """What the sentences are made of: the numbers, and the ways to print them."""
    level = 1 - float(values["confidence"])

    def points(share: float) -> str:
        return number(share * 100, 1)

    def span(interval: Interval) -> str:
        return f"{points(interval[0])} to {points(interval[1])}"

    def shown(bias: Bias | None) -> bool:
        return bias is not None and bias.p is not None and bias.p < level

    beyond = trust.trusted_beyond(values["pairs"])
    return {**values, "points": points, "span": span, "shown": shown, "level": level, "beyond": beyond}
