"""What an audit measures about a judge: repeats, use of the scale, agreement, control answers, failures, juries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from equiloss.records.verdict import ControlVerdict
from equiloss.statistics import agreement, bootstrap, repeat_noise
from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.estimate import Interval
from judge.auditing.documents import Agreement, Bias, ControlAnswerResult, FailureRate, Jury, Repeatability, ScaleUse
from judge.auditing.effects import ScoreEffects
from judge.data.control_answers import summarise
from judge.data.scores import Scores, panels_of
from judge.data.verdicts import Judged, Panel
from judge.labelling.label import Label, first_ratings, fitting, majorities, retests, two_raters

if TYPE_CHECKING:
    from pandas import DataFrame

REFERENCE = "reference answers (text agreement)"


def bias(measured: ScoreEffects, name: str) -> Bias | None:
    """An effect as the document has it; None where the data do not vary in it."""
    given, behind = measured.as_given.get(name), measured.behind.get(name)
    main = given if given and (behind is None or measured.share_at_ends > 0.5) else behind
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


def repeatability(
    scores: Scores, rows: DataFrame, scale: Interval, place: Bias | None, confidence: float, draws: int, seed: int
) -> Repeatability | None:
    """How the verdicts on one answer differ from repeat to repeat; None where nothing was judged twice."""
    width = scale[1] - scale[0]
    shares, places = (values.reshape(-1, values.shape[2]).T for values in (scores.values, _places(scores, rows)))
    several = (~np.isnan(shares)).sum(axis=0) >= 2  # of all answers (R, answers)
    if not several.any():
        return None
    kept = (shares[:, several] - scale[0]) / width
    freedom = (~np.isnan(kept)).sum(axis=0) - 1
    reliability = agreement.icc_one_way(kept, confidence)
    shifts = np.nan_to_num(places[:, several]) * (place.value if place else 0.0)
    noise = repeat_noise.estimate(kept, shifts, _step(scores) / width, confidence)
    return Repeatability(
        n_answers=int(several.sum()),
        standard_deviation=math.sqrt(float((np.nanvar(kept, axis=0, ddof=1) * freedom).sum() / freedom.sum())),
        noise=noise.value if noise else None,
        noise_interval=noise.interval if noise else None,
        n_away=noise.n_answers if noise else 0,
        icc_one=reliability.value if reliability else None,
        icc_one_interval=reliability.interval if reliability else None,
        icc_mean=reliability.of_mean if reliability else None,
        alpha=agreement.krippendorff_alpha(kept),
        alpha_interval=agreement.alpha_interval(kept, confidence, draws, seed),
    )


def _places(scores: Scores, rows: DataFrame) -> Floats:
    """Where each answer stood, (runs, items, repeats); NaN if not judged, the mean of several prompts of a repeat."""
    stood = rows.pivot_table(index=["run", "unit"], columns="repeat", values="place", observed=True)
    answers = list(product(scores.generators, scores.ids))
    return stood.reindex(index=answers, columns=scores.repeats).to_numpy().reshape(scores.values.shape)


def _step(scores: Scores) -> float:
    """The least distance between two scores that were given, in points: the step in which the judge scores."""
    given = np.unique(np.round(scores.values[~np.isnan(scores.values)], 6))
    return float(np.diff(given).min()) if len(given) > 1 else 0.0


def scale_use(share: Floats) -> ScaleUse:
    """Which scores are given."""
    inner = share[(share > 0) & (share < 1)]
    tens = np.abs(inner * 10 - np.round(inner * 10)) < 1e-6
    return ScaleUse(
        n_values=len(np.unique(np.round(share, 6))),
        at_least=float((share <= 0).mean()) if len(share) else 0.0,
        at_greatest=float((share >= 1).mean()) if len(share) else 0.0,
        round_tens=float(tens.mean()) if len(inner) else 0.0,
    )


def with_reference(rows: DataFrame, confidence: float, draws: int, seed: int) -> list[Agreement]:
    """The judge beside the text agreement with the reference answers."""
    answers = rows.groupby(["item", "run"], observed=True)[["share", "agreement"]].mean()
    n = int(answers["agreement"].count())
    if not n:
        return []
    both = answers["share"].to_numpy(), answers["agreement"].to_numpy()
    interval = agreement.pair_interval(*both, agreement.spearman, confidence, draws, seed)
    return [Agreement(with_=REFERENCE, n=n, spearman=agreement.spearman(*both), spearman_interval=interval)]


def with_people(
    scores: Scores, scale: Interval, labels: Sequence[Label], confidence: float, draws: int, seed: int
) -> list[Agreement]:
    """The judge beside the person, and the person beside themselves where answers were rated twice."""
    given = scores.by_answer()
    mine = fitting(labels, scores.panel.rubric, scale)
    pairs = [(given[answer], rating) for answer, rating in first_ratings(mine).items() if answer in given]
    votes = [(given[key], vote) for key, vote in majorities(mine).items() if key in given]
    again, between = retests(mine), two_raters(mine)
    agreements: list[Agreement] = []
    for name, ratings, outcomes in (
        ("a person's blind ratings", pairs, votes),
        ("the person's own second ratings", again, again),
        ("another person's ratings (person by person)", between, between),
    ):
        if len(ratings) < 3:
            continue
        left, right = np.array(ratings, dtype=np.float64).T
        spearman, kappa = (
            (statistic(left, right), agreement.pair_interval(left, right, statistic, confidence, draws, seed))
            for statistic in (agreement.spearman, agreement.weighted_kappa)
        )
        agreements.append(
            Agreement(
                with_=name,
                n=len(ratings),
                spearman=spearman[0],
                spearman_interval=spearman[1],
                kappa=kappa[0],
                kappa_interval=kappa[1],
                same=fmean(np.sign(one - 0.5) == np.sign(other - 0.5) for one, other in outcomes) if votes else None,
            )
        )
    return agreements


def control_answers(
    planted: Sequence[ControlVerdict], scale: Interval, confidence: float, draws: int, seed: int
) -> dict[str, ControlAnswerResult]:
    """What the judge gave each kind of control answer."""
    results: dict[str, ControlAnswerResult] = {}
    for kind, summary in sorted(summarise(planted, *scale)["kinds"].items()):
        values = np.array([line.value for line in planted if line.kind == kind])
        replicates = bootstrap.resampled_means((values[None] - scale[0]) / (scale[1] - scale[0]), draws, seed)[:, 0]
        results[kind] = ControlAnswerResult(interval=bootstrap.percentile(replicates, confidence), **summary)
    return results


def failures(judged: Sequence[Judged], panel: Panel) -> FailureRate:
    """How often each run's verdicts failed."""
    failed = np.array([len(run.failures_of(panel)) for run in judged])
    given = np.array([len({(line.id, line.request_sha) for line in run.verdicts_of(panel)}) for run in judged])
    p = None
    if len(judged) > 1 and failed.any() and given.any():
        from scipy import stats

        table = np.column_stack([failed, given])
        test = stats.fisher_exact(table) if len(judged) == 2 else stats.chi2_contingency(table)
        p = float(test.pvalue)  # pyright: ignore
    rates = (failed / np.maximum(1, failed + given)).tolist()
    return FailureRate(by_run=dict(zip((run.generator for run in judged), rates, strict=True)), p=p)


def jury(judged: Sequence[Judged], panel: Panel, confidence: float, draws: int, seed: int) -> Jury | None:
    """Agreement of all judges by this rubric that judged every run."""
    import pandas as pd

    judges = [
        one.judge for one in panels_of(judged) if one.rubric == panel.rubric and all(one in j.panels() for j in judged)
    ]
    if len(judges) < 2:
        return None
    given = [Scores.of_units(judged, Panel(panel.rubric, name)) for name in judges]
    answers = [list(product(scores.generators, scores.ids)) for scores in given]
    columns = [pd.Series(scores.by_item().ravel(), ids) for scores, ids in zip(given, answers, strict=True)]
    ratings = pd.concat(columns, axis=1, keys=judges).sort_index().to_numpy(np.float64).T  # (judges, answers)
    w, p = agreement.kendalls_w(ratings) or (None, None)
    return Jury(
        judges=judges,
        n_answers=int((~np.isnan(ratings).any(axis=0)).sum()),
        alpha=agreement.krippendorff_alpha(ratings),
        alpha_interval=agreement.alpha_interval(ratings, confidence, draws, seed),
        icc=agreement.icc_two_way(ratings),
        kendalls_w=w,
        kendalls_w_p=p,
    )
