"""What an audit measures about a judge: repeats, use of the scale, agreement, control answers, failures, juries."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from equiloss.records.verdict import ControlVerdict
from equiloss.statistics import agreement, bootstrap, repeat_noise
from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.estimate import Interval
from judge.auditing import effects
from judge.auditing.documents import Agreement, Bias, ControlAnswerResult, FailureRate, Jury, Repeatability, ScaleUse
from judge.auditing.effects import Rows
from judge.data.scores import Scores, panels_of
from judge.data.verdicts import Judged, Panel
from judge.labelling.label import Label, first_ratings, fitting, retests


def bias(found: effects.Estimates, name: str) -> Bias | None:
    """An effect as the document has it; None where the data do not vary in it."""
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


def repeatability(
    shares: Floats, places: Floats, step: float, found: effects.Estimates, confidence: float, draws: int, seed: int
) -> Repeatability | None:
    """How repeats differ, from shares and places (runs, items, repeats); None where nothing was judged twice."""
    flat, stood = (one.reshape(-1, one.shape[2]).T for one in (shares, places))  # (R, answers)
    several = (~np.isnan(flat)).sum(axis=0) >= 2
    if flat.shape[0] < 2 or not several.any():
        return None
    kept = flat[:, several]
    count = (~np.isnan(kept)).sum(axis=0)
    spread = np.nanvar(kept, axis=0, ddof=1)
    one = agreement.icc(kept, "1,1", confidence)
    mean = agreement.icc(kept, "1,k", confidence)
    by_place = bias(found, "place")
    shifts = np.nan_to_num(stood[:, several]) * (by_place.value if by_place else 0.0)
    alone = repeat_noise.estimate(kept, shifts, step, confidence)
    return Repeatability(
        n_answers=int(several.sum()),
        standard_deviation=math.sqrt(float((spread * (count - 1)).sum() / (count - 1).sum())),
        noise=alone.value if alone else None,
        noise_interval=alone.interval if alone else None,
        n_away=alone.n_answers if alone else 0,
        icc_one=one.value if one else None,
        icc_one_interval=one.interval if one else None,
        icc_mean=mean.value if mean else None,
        alpha=agreement.krippendorff_alpha(kept),
        alpha_interval=agreement.alpha_interval(kept, confidence, draws, seed),
    )


def places(judged: Sequence[Judged], scores: Scores) -> Floats:
    """Where each answer stood, (runs, items, repeats): 0.5 first in its prompt, -0.5 last, 0 alone; NaN if not judged.

    An answer that stood in several prompts of a repeat has the mean of its places.
    """
    total, count = np.zeros(scores.values.shape), np.zeros(scores.values.shape)
    column = {key: index for index, key in enumerate(scores.ids)}
    panel = scores.panel
    rounds = sorted({one.repeat for run in judged for one in (*run.verdicts_of(panel), *run.failures_of(panel))})
    turn = {repeat: index for index, repeat in enumerate(rounds)}
    for row, run in enumerate(judged):
        for one in run.verdicts_of(panel):
            where = (row, column[one.id], turn[one.repeat])
            total[where] += 0.5 - one.position / (len(one.group) - 1) if len(one.group) > 1 else 0.0
            count[where] += 1
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def step(scores: Scores) -> float:
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


def with_reference(data: Rows, confidence: float, draws: int, seed: int) -> list[Agreement]:
    """The judge beside the text agreement with the reference answers."""
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


def with_people(
    scores: Scores, scale: Interval, labels: Sequence[Label], confidence: float, draws: int, seed: int
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


def control_answers(
    planted: Sequence[ControlVerdict], scale: Interval, confidence: float, draws: int, seed: int
) -> dict[str, ControlAnswerResult]:
    """What the judge gave each kind of control answer."""
    width = scale[1] - scale[0]
    found: dict[str, ControlAnswerResult] = {}
    for kind in sorted({one.kind for one in planted}):
        mine = [one for one in planted if one.kind == kind]
        values = np.array([(one.value - scale[0]) / width for one in mine])
        replicates = bootstrap.resampled_means(values[None], draws, seed)[:, 0]
        twins = [abs(one.value - one.host_value) / width for one in mine if one.host_value is not None]
        found[kind] = ControlAnswerResult(
            n=len(mine),
            mean=float(values.mean()),
            interval=bootstrap.percentile(replicates, confidence),
            mean_abs_difference=sum(twins) / len(twins) if twins and kind == "duplicate" else None,
        )
    return found


def failures(judged: Sequence[Judged], panel: Panel) -> FailureRate:
    """How often each run's verdicts failed."""
    counts: list[tuple[int, int]] = []
    for run in judged:
        given = len({(one.id, one.request_sha) for one in run.verdicts_of(panel)})
        counts.append((len(run.failures_of(panel)), given))
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


def jury(judged: Sequence[Judged], panel: Panel, confidence: float, draws: int, seed: int) -> Jury | None:
    """Agreement of all judges by this rubric that judged every run."""
    judges = [
        one.judge for one in panels_of(judged) if one.rubric == panel.rubric and all(one in j.panels() for j in judged)
    ]
    if len(judges) < 2:
        return None
    tables: list[dict[tuple[str, str], float]] = []
    for name in judges:
        one = Scores.of(judged, Panel(panel.rubric, name))
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
        alpha_interval=agreement.alpha_interval(ratings, confidence, draws, seed),
        icc=together.value if together else None,
        kendalls_w=w.w if w else None,
        kendalls_w_p=w.p if w else None,
    )
