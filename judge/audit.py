"""How far a judge can be trusted: what its scores follow besides the answers, how repeatable and how right they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from pydantic import Field
from scipy import stats

from judge import results
from judge.labelling.label import Label, first_ratings, fitting, retests
from judge.numerals import number
from judge.results import Judged, Panel
from judge.statistics import agreement, bootstrap, effects
from judge.statistics.bootstrap import Floats, Interval
from judge.statistics.comparison import Document
from judge.statistics.effects import Effect, Rows
from pretrain import templates

AUDIT_SCHEMA = "equiloss.audit.v1"


class Bias(Document):
    """An effect on scores, in shares of the scale: on the scores as given, and behind the ends of the scale.

    `value` is the one to go by: behind the ends, unless most scores lie at the ends, where that is guesswork.
    """

    value: float
    interval: Interval
    as_given: float | None
    as_given_interval: Interval | None
    behind: float | None = Field(description="what it would be if the scale did not end (Tobit)")
    behind_interval: Interval | None
    p: float | None


class Repeatability(Document):
    """How one answer's scores differ when it is judged again."""

    n_answers: int
    standard_deviation: float = Field(description="of one verdict, in shares of the scale")
    icc_one: float | None = Field(description="reliability of a single verdict, ICC(1,1)")
    icc_one_interval: Interval | None
    icc_mean: float | None = Field(description="reliability of the mean of all repeats, ICC(1,k)")
    alpha: float | None = Field(description="Krippendorff's alpha, interval level")
    alpha_interval: Interval | None


class ScaleUse(Document):
    """Which scores are given."""

    n_values: int = Field(description="different scores given")
    at_least: float = Field(description="share of verdicts at the least score")
    at_greatest: float
    round_tens: float = Field(description="share of the others that are multiples of a tenth of the scale")


class Agreement(Document):
    """Agreement with something else that scores the same answers."""

    with_: str = Field(alias="with")
    n: int
    spearman: float | None
    spearman_interval: Interval | None
    kappa: float | None = Field(default=None, description="quadratic weights")
    kappa_interval: Interval | None = None


class CanaryResult(Document):
    """What the judge gave a kind of planted answer, in shares of the scale."""

    n: int
    mean: float
    interval: Interval
    mean_abs_difference: float | None = Field(default=None, description="duplicates: from the answer repeated")


class FailureRate(Document):
    """Verdicts that failed, by run, and whether the runs differ in it."""

    by_run: dict[str, float]
    p: float | None = Field(description="Fisher's exact (two runs) or chi-square test that all fail equally often")


class PairTrust(Document):
    """A gap between two runs, in shares of the scale, as given and with place, length and order held fixed."""

    a: str
    b: str
    gap: float
    adjusted: float | None
    adjusted_interval: Interval | None
    place_imbalance: float = Field(description="how much nearer to the first place a stood, -1 to 1")
    survives: bool | None = Field(description="the adjusted gap has the same sign and its interval leaves out zero")


class Jury(Document):
    """Agreement between several judges by one rubric on the same answers."""

    judges: list[str]
    n_answers: int
    alpha: float | None
    alpha_interval: Interval | None
    icc: float | None = Field(description="ICC(2,1): one judge stands for another, absolute agreement")
    kendalls_w: float | None
    kendalls_w_p: float | None


class Audit(Document):
    """What `judge audit --json` prints."""

    schema_: str = Field(default=AUDIT_SCHEMA, alias="schema")
    rubric: str
    judge: str
    is_llm: bool
    confidence: float
    scale: Interval
    n_verdicts: int
    n_items: int
    share_at_ends: float
    position: Bias | None
    length: Bias | None = Field(description="per doubling of the length, at equal agreement with the reference")
    drift: Bias | None = Field(description="per 1,000 prompts, in the order of the verdict files")
    repeatability: Repeatability | None
    scale_use: ScaleUse
    agreement: list[Agreement]
    canaries: dict[str, CanaryResult]
    failures: FailureRate
    pairs: list[PairTrust]
    jury: Jury | None
    findings: list[str]


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
    panel = results.choose_panel(judged, rubric, judge)
    scale = results.scale(judged, panel)
    scores = results.scores(judged, panel)
    data = effects.rows(judged, panel, scale)
    found = effects.estimate(data, confidence)
    width = scale[1] - scale[0]
    shares = (scores.values - scale[0]) / width  # (G, I, R)
    values: dict[str, Any] = {
        "rubric": panel.rubric,
        "judge": panel.judge,
        "is_llm": panel.is_llm,
        "confidence": confidence,
        "scale": scale,
        "n_verdicts": len(data),
        "n_items": len(scores.ids),
        "share_at_ends": float(((data.share <= 0) | (data.share >= 1)).mean()) if len(data) else 0.0,
        "position": _bias(found, "place"),
        "length": _bias(found, "length"),
        "drift": _bias(found, "order"),
        "repeatability": _repeatability(shares, confidence, draws, seed),
        "scale_use": _scale_use(data.share),
        "agreement": [
            *_with_reference(data, confidence, draws, seed),
            *_with_people(scores, scale, labels, confidence, draws, seed),
        ],
        "canaries": _canaries(judged, panel, scale, confidence, draws, seed),
        "failures": _failures(judged, panel),
        "pairs": _pairs(data, confidence),
        "jury": _jury(judged, panel, confidence, draws, seed),
    }
    text = templates.render(templates.source("report", "audit"), "report/audit", **_readable(values))
    values["findings"] = [" ".join(line.split()) for line in text.split("\n") if line.strip()]
    return Audit.model_validate(values)


def _bias(found: effects.Estimates, name: str) -> Bias | None:
    given, behind = found.as_given.get(name), found.behind.get(name)
    main = given if given and (behind is None or found.share_at_ends > 0.5) else behind
    if main is None:
        return None
    return Bias(
        value=main.value,
        interval=main.interval,
        as_given=given.value if given else None,
        as_given_interval=given.interval if given else None,
        behind=behind.value if behind else None,
        behind_interval=behind.interval if behind else None,
        p=main.p,
    )


def _repeatability(shares: Floats, confidence: float, draws: int, seed: int) -> Repeatability | None:
    flat = shares.reshape(-1, shares.shape[2]).T  # (R, answers)
    several = (~np.isnan(flat)).sum(axis=0) >= 2
    if flat.shape[0] < 2 or not several.any():
        return None
    kept = flat[:, several]
    count = (~np.isnan(kept)).sum(axis=0)
    spread = np.nanvar(kept, axis=0, ddof=1)
    one = agreement.icc(kept, "1,1", confidence)
    mean = agreement.icc(kept, "1,k", confidence)
    return Repeatability(
        n_answers=int(several.sum()),
        standard_deviation=math.sqrt(float((spread * (count - 1)).sum() / (count - 1).sum())),
        icc_one=one.value if one else None,
        icc_one_interval=one.interval if one else None,
        icc_mean=mean.value if mean else None,
        alpha=agreement.krippendorff_alpha(kept),
        alpha_interval=agreement.alpha_interval(kept, "interval", confidence, draws, seed),
    )


def _scale_use(share: Floats) -> ScaleUse:
    inner = share[(share > 0) & (share < 1)]
    tens = np.abs(inner * 10 - np.round(inner * 10)) < 1e-6
    return ScaleUse(
        n_values=len(np.unique(np.round(share, 6))),
        at_least=float((share <= 0).mean()) if len(share) else 0.0,
        at_greatest=float((share >= 1).mean()) if len(share) else 0.0,
        round_tens=float(tens.mean()) if len(inner) else 0.0,
    )


def _with_reference(data: Rows, confidence: float, draws: int, seed: int) -> list[Agreement]:
    keys = data.item * len(data.runs) + data.run
    if np.isnan(data.agreement).all() or not len(keys):
        return []
    _, index = np.unique(keys, return_inverse=True)
    counts = np.bincount(index)
    score = np.bincount(index, weights=data.share) / counts
    truth = np.bincount(index, weights=np.nan_to_num(data.agreement)) / counts
    absent = np.bincount(index, weights=np.isnan(data.agreement).astype(np.float64)) > 0
    truth[absent] = np.nan
    interval = agreement.pair_interval(score, truth, agreement.spearman, confidence, draws, seed)
    return [
        Agreement.model_validate(
            {
                "with": "reference answers (text agreement)",
                "n": int((~absent).sum()),
                "spearman": agreement.spearman(score, truth),
                "spearman_interval": interval,
            }
        )
    ]


def _with_people(
    scores: results.Scores, scale: Interval, labels: Sequence[Label], confidence: float, draws: int, seed: int
) -> list[Agreement]:
    """The judge beside the person, and the person beside themselves where answers were rated twice."""
    rows = {name: index for index, name in enumerate(scores.generators)}
    columns = {key: index for index, key in enumerate(scores.ids)}
    by_item = scores.by_item()
    mine = fitting(labels, scores.panel.rubric, scale)
    pairs = [
        (by_item[rows[g], columns[i]], value)
        for (g, i), value in first_ratings(mine).items()
        if g in rows and i in columns
    ]
    again = retests(mine)
    found: list[Agreement] = []
    for name, both in (("a person's blind ratings", pairs), ("the person's own second ratings", again)):
        if len(both) >= 3:
            left, right = (np.array(side, dtype=np.float64) for side in zip(*both, strict=True))
            found.append(
                Agreement.model_validate(
                    {
                        "with": name,
                        "n": len(both),
                        "spearman": agreement.spearman(left, right),
                        "spearman_interval": agreement.pair_interval(
                            left, right, agreement.spearman, confidence, draws, seed
                        ),
                        "kappa": agreement.weighted_kappa(left, right),
                        "kappa_interval": agreement.pair_interval(
                            left, right, agreement.weighted_kappa, confidence, draws, seed
                        ),
                    }
                )
            )
    return found


def _canaries(
    judged: Sequence[Judged], panel: Panel, scale: Interval, confidence: float, draws: int, seed: int
) -> dict[str, CanaryResult]:
    width = scale[1] - scale[0]
    planted = [one for run in judged for one in run.canaries if Panel(one.rubric, one.judge) == panel]
    found: dict[str, CanaryResult] = {}
    for kind in sorted({one.canary for one in planted}):
        mine = [one for one in planted if one.canary == kind]
        values = np.array([(one.value - scale[0]) / width for one in mine])
        replicates = bootstrap.resampled_means(values[None], draws, seed)[:, 0]
        twins = [abs(one.value - one.host_value) / width for one in mine if one.host_value is not None]
        found[kind] = CanaryResult(
            n=len(mine),
            mean=float(values.mean()),
            interval=bootstrap.percentile(replicates, confidence),
            mean_abs_difference=sum(twins) / len(twins) if twins and kind == "duplicate" else None,
        )
    return found


def _failures(judged: Sequence[Judged], panel: Panel) -> FailureRate:
    counts: list[tuple[int, int]] = []
    for run in judged:
        failed = sum(Panel(one.rubric, one.judge) == panel for one in run.failures)
        given = len({(one.id, one.request_sha) for one in run.verdicts if Panel(one.rubric, one.judge) == panel})
        counts.append((failed, given))
    p = None
    if len(counts) > 1 and any(failed for failed, _ in counts) and any(given for _, given in counts):
        table = np.array(counts)
        p = float(
            stats.fisher_exact(table).pvalue if len(counts) == 2 else stats.chi2_contingency(table).pvalue  # pyright: ignore
        )
    rates = {
        run.generator: failed / max(1, failed + given) for run, (failed, given) in zip(judged, counts, strict=True)
    }
    return FailureRate(by_run=rates, p=p)


def _pairs(data: Rows, confidence: float) -> list[PairTrust]:
    found: list[PairTrust] = []
    for a, b in combinations(range(len(data.runs)), 2):
        both = (data.run == a) | (data.run == b)
        if not ((data.run == a).any() and (data.run == b).any()):
            continue
        part = Rows(
            *(
                getattr(data, name)[both]
                for name in ("share", "place", "doublings", "agreement", "order", "prompt", "item")
            ),
            run=(data.run[both] == b).astype(np.intp),
            runs=(data.runs[a], data.runs[b]),
        )
        first, second = part.run == 0, part.run == 1
        gap = float(part.share[first].mean() - part.share[second].mean())
        adjusted = _adjusted(part, confidence)
        survives = None
        if adjusted is not None:
            away = adjusted.interval[0] > 0 or adjusted.interval[1] < 0
            survives = away and (adjusted.value > 0) == (gap > 0)
        found.append(
            PairTrust(
                a=data.runs[a],
                b=data.runs[b],
                gap=gap,
                adjusted=adjusted.value if adjusted else None,
                adjusted_interval=adjusted.interval if adjusted else None,
                place_imbalance=float(part.place[first].mean() - part.place[second].mean()),
                survives=survives,
            )
        )
    return found


def _adjusted(part: Rows, confidence: float) -> Effect | None:
    """The gap between two runs with place, length and order held fixed, but not the agreement with the reference."""
    blind = Rows(
        part.share,
        part.place,
        part.doublings,
        np.where(np.isnan(part.agreement), np.nan, 0.0),
        part.order,
        part.prompt,
        part.item,
        part.run,
        part.runs,
    )
    found = effects.estimate(blind, confidence)
    return found.as_given.get(f"adjusted:{part.runs[0]}")


def _jury(judged: Sequence[Judged], panel: Panel, confidence: float, draws: int, seed: int) -> Jury | None:
    """Agreement of all judges by this rubric that judged every run."""
    judges = [
        one.judge
        for one in results.panels(judged)
        if one.rubric == panel.rubric and all(one in j.panels() for j in judged)
    ]
    if len(judges) < 2:
        return None
    tables: list[dict[tuple[str, str], float]] = []
    for name in judges:
        one = results.scores(judged, Panel(panel.rubric, name))
        means = one.by_item()
        tables.append(
            {
                (generator, key): float(means[g, i])
                for g, generator in enumerate(one.generators)
                for i, key in enumerate(one.ids)
            }
        )
    keys = sorted({key for table in tables for key in table})
    ratings = np.array([[table.get(key, math.nan) for key in keys] for table in tables])
    together = agreement.icc(ratings, "2,1", confidence)
    w = agreement.kendalls_w(ratings)
    return Jury(
        judges=judges,
        n_answers=int((~np.isnan(ratings).any(axis=0)).sum()),
        alpha=agreement.krippendorff_alpha(ratings),
        alpha_interval=agreement.alpha_interval(ratings, "interval", confidence, draws, seed),
        icc=together.value if together else None,
        kendalls_w=w.w if w else None,
        kendalls_w_p=w.p if w else None,
    )


def _readable(values: dict[str, Any]) -> dict[str, Any]:
    """What the sentences are made of: the numbers, and the ways to print them."""
    level = 1 - float(values["confidence"])

    def points(share: float) -> str:
        return number(share * 100, 1)

    def span(interval: Interval) -> str:
        return f"{points(interval[0])} to {points(interval[1])}"

    def shown(bias: Bias | None) -> bool:
        return bias is not None and bias.p is not None and bias.p < level

    return {**values, "points": points, "span": span, "shown": shown, "level": level}
