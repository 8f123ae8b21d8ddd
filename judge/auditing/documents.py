"""The document of `judge audit --json`, with what each key means. Shares are of the rubric's scale."""

from __future__ import annotations

from pydantic import Field

from equiloss.statistics.estimate import Interval
from judge.comparison.document import ResultDocument

AUDIT_SCHEMA = "equiloss.audit.v1"


class Bias(ResultDocument):
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


class Repeatability(ResultDocument):
    """How one answer's scores differ when it is judged again."""

    n_answers: int
    standard_deviation: float = Field(description="of one verdict as given, wherever the answer stood")
    noise: float | None = Field(description="of one verdict in one place, away from the scale's ends")
    noise_interval: Interval | None
    n_away: int = Field(description="answers away from the scale's ends, on which the noise is measured")
    icc_one: float | None = Field(description="reliability of a single verdict, ICC(1,1)")
    icc_one_interval: Interval | None
    icc_mean: float | None = Field(description="reliability of the mean of all repeats, ICC(1,k)")
    alpha: float | None = Field(description="Krippendorff's alpha, interval level")
    alpha_interval: Interval | None


class ScaleUse(ResultDocument):
    """Which scores are given."""

    n_values: int = Field(description="different scores given")
    at_least: float = Field(description="share of verdicts at the least score")
    at_greatest: float
    round_tens: float = Field(description="share of the others that are multiples of a tenth of the scale")


class Agreement(ResultDocument):
    """Agreement with something else that scores the same answers."""

    with_: str = Field(validation_alias="with", serialization_alias="with")
    n: int
    spearman: float | None
    spearman_interval: Interval | None
    kappa: float | None = Field(default=None, description="quadratic weights")
    kappa_interval: Interval | None = None
    same: float | None = Field(
        default=None, description="of comparisons: how often both say the same, a tie being a third outcome"
    )


class ControlAnswerResult(ResultDocument):
    """What the judge gave a kind of control answer, in shares of the scale."""

    n: int
    mean: float
    interval: Interval
    mean_abs_difference: float | None = Field(default=None, description="duplicates: from the answer repeated")


class FailureRate(ResultDocument):
    """Verdicts that failed, by run, and whether the runs differ in it."""

    by_run: dict[str, float]
    p: float | None = Field(description="Fisher's exact (two runs) or chi-square test that all fail equally often")


class PairTrust(ResultDocument):
    """How far the gap between two runs can be the judge's doing, in shares of the scale."""

    a: str
    b: str
    gap: float = Field(description="a minus b, as given")
    adjusted: float | None = Field(description="the gap with place, length and order held fixed")
    adjusted_interval: Interval | None
    survives: bool | None = Field(description="the adjusted gap has the same sign and its interval leaves out zero")
    place_imbalance: float = Field(description="how much nearer to the first place a stood, -1 to 1")
    by_place: Interval | None = Field(description="what place makes of the gap: its effect times the imbalance")
    length_imbalance: float | None = Field(description="by how many doublings a is longer than b, on average")
    by_length: Interval | None = Field(description="what length makes of the gap: its effect times the imbalance")
    by_noise: Interval | None = Field(description="what the judge's own noise makes of the gap, at this confidence")
    trusted_beyond: float | None = Field(
        description="place, length and noise together cannot make a gap as large as this; null when all are unknown"
    )
    unknown: list[str] = Field(description="of place, length, noise: what could not be measured")


class Jury(ResultDocument):
    """Agreement between several judges by one rubric on the same answers."""

    judges: list[str]
    n_answers: int
    alpha: float | None
    alpha_interval: Interval | None
    icc: float | None = Field(description="ICC(2,1): one judge stands for another, absolute agreement")
    kendalls_w: float | None
    kendalls_w_p: float | None


class Audit(ResultDocument):
    """What `judge audit --json` prints."""

    schema_: str = Field(default=AUDIT_SCHEMA, validation_alias="schema", serialization_alias="schema")
    rubric: str
    judge: str
    is_llm: bool
    confidence: float
    scale: Interval
    n_verdicts: int
    n_items: int
    share_at_ends: float
    position: Bias | None
    length: Bias | None = Field(description="per doubling of the length, at equal agreement with any reference")
    drift: Bias | None = Field(description="per 1,000 prompts, in the order of the verdict files")
    repeatability: Repeatability | None
    scale_use: ScaleUse
    agreement: list[Agreement]
    control_answers: dict[str, ControlAnswerResult] = Field(validation_alias="canaries", serialization_alias="canaries")
    failures: FailureRate
    pairs: list[PairTrust]
    jury: Jury | None
    warnings: list[str] = Field(description="why this judge should not be trusted as it is")
    findings: list[str]
