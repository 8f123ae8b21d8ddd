"""The documents of `judge compare --json`, with what each key means."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from equiloss.statistics.estimate import Interval
from equiloss.statistics.length_adjustment import LengthAdjusted
from equiloss.statistics.prediction_powered import PredictionPoweredGap

COMPARISON_SCHEMA = "equiloss.comparison.v1"


class ResultDocument(BaseModel):
    """A part of a comparison: immutable, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)

    @classmethod
    def of(cls, statistic: object | None) -> Self | None:
        """The part that holds what a statistic computed, field by field; None where there is nothing."""
        return None if statistic is None else cls.model_validate(statistic, from_attributes=True)


class Strength(ResultDocument):
    """A Bradley–Terry strength: natural log odds against an average model of the table."""

    value: float
    interval: Interval = Field(description="over items, and over seeds where there are several")


class HumanEstimate(ResultDocument):
    """The mean that the person who labelled some items would give (prediction-powered inference)."""

    mean: float
    standard_error: float
    interval: Interval
    judge_bias: float = Field(description="judge minus person, on the labelled items")
    judge_weight: float = Field(description="0: the labels alone count; 1: the judge counts fully, corrected")
    n_labelled: int
    labels_only_standard_error: float


class ModelScore(ResultDocument):
    """One model's mean score."""

    name: str = Field(description="the model: a generator, or NAME for the seeds NAME.s1, NAME.s2, ...")
    runs: list[str] = Field(description="the generators that it is made of")
    mean: float | None = Field(description="mean score over the items in common; null when there are none")
    standard_error: float | None = Field(description="of the mean, over items (clusters), and seeds where several")
    interval: Interval | None = Field(description="Student's, by the standard error; null for a single item")
    n_scored: int = Field(description="items with a score in every run of this model")
    mean_scored: float | None = Field(description="mean over all those items, in common or not")
    n_missing: int = Field(description="items judged in some file but without a score in some run of this model")
    bounds: Interval = Field(description="mean over all items if missing scores were the least, or the greatest")
    failures: dict[str, int] = Field(description="the judge's failures on this model's answers, by reason")
    strength: Strength | None = Field(default=None, description="Bradley–Terry; null where wins do not determine it")
    human: HumanEstimate | None = Field(default=None, description="null without human labels")


class VarianceSplit(ResultDocument):
    """Where the noise of a gap comes from: variance components in squared points; null where not estimable."""

    seed: float | None
    model_item: float
    seed_item: float
    residual: float | None
    shares: dict[str, float] = Field(description="of Var(gap), by source")
    standard_error: float
    df: float = Field(description="Satterthwaite's degrees of freedom")
    n_seeds: tuple[int, int]
    n_items: int
    n_repeats: int


class Needed(ResultDocument):
    """What would make `effect` detectable with 80 % power, changing one number alone; null: none, or unknown."""

    effect: float
    items: int | None
    seeds: int | None
    repeats: int | None


class WithNoise(ResultDocument):
    """The gap's interval with a spread that a noise ledger measured, where the seeds at hand do not tell it."""

    bases: Interval | None = Field(description="would other fine-tunings differ likewise? null: not told")
    recipes: Interval | None = Field(description="would other pretraining runs differ likewise? null: not told")
    seed_sd: float | None = Field(description="points between fine-tuning seeds of a base, as the ledger has it")
    base_sd: float | None = Field(description="points between base runs of a recipe, as the ledger has it")


class Difference(ResultDocument):
    """Two models on the same items: a minus b."""

    a: str
    b: str
    n_items: int = Field(description="items with a score for both")
    difference: float | None = Field(default=None, description="mean of a's score minus b's, over those items")
    standard_error: float | None = Field(default=None, description="over items (clusters), or seeds, items and repeats")
    interval: Interval | None = Field(default=None, description="of the difference, by the method named")
    p: float | None = Field(default=None, description="two-sided p of no difference, by the method named")
    method: Literal["items", "seeds and items"] = Field(
        default="items",
        description="items: over items alone, for these very answers; "
        "seeds and items: over fine-tuning seeds (or base runs where several) too, Welch's variances by side",
    )
    interval_items: Interval | None = Field(default=None, description="over items alone: of these very answers")
    p_holm: float | None = Field(
        default=None, description="p after Holm's correction for all differences over seeds; null for one seed a side"
    )
    significant: bool = Field(default=False, description="p_holm is below 1 - confidence; never for one seed a side")
    interval_percentile: Interval | None = Field(default=None, description="percentile bootstrap, items (and seeds)")
    wins: int = Field(default=0, description="items on which a's score is higher")
    ties: int = 0
    losses: int = 0
    win_rate: float | None = Field(default=None, description="wins plus half the ties, over items; 0 to 1")
    win_rate_standard_error: float | None = None
    bounds: Interval | None = Field(default=None, description="over all items, missing scores at worst and at best")
    length_adjusted: LengthAdjusted | None = None
    variance: VarianceSplit | None = None
    chance_seed_sd: float | None = Field(
        default=None, description="one seed a side: the SD between seeds at which the interval would just reach 0"
    )
    with_noise: WithNoise | None = Field(default=None, description="null without --noise")
    minimum_detectable: float | None = Field(
        default=None, description="the gap that this design finds with 80 % power; null for one seed a side"
    )
    needed: Needed | None = Field(default=None, description="null for one seed a side")
    human: PredictionPoweredGap | None = Field(default=None, description="null without human labels for both")


class ControlAnswerScore(ResultDocument):
    """What the judge gave one kind of control answer, in shares of the scale."""

    n: int
    mean: float
    mean_abs_difference: float | None = Field(default=None, description="duplicates: from the answer repeated")


class CategoryScore(ResultDocument):
    """Every model's mean in one category of items, over the items in common."""

    category: str
    n_items: int
    means: dict[str, float]
    intervals: dict[str, Interval | None]


class EqualModels(ResultDocument):
    """What as many models of equal quality would spread over: the largest mean minus the smallest."""

    n_models: int
    observed: float
    expected: float = Field(description="the median of equal models' range")
    largest: float = Field(description="the range that equal models stay below with the comparison's confidence")
    chance: float = Field(description="how often equal models spread over as much as observed, or more")
    unit: Literal["items", "seeds and items"] = Field(description="what the noise of a mean was taken over")


class Comparison(ResultDocument):
    """What `judge compare --json` prints."""

    schema_: str = Field(COMPARISON_SCHEMA, alias="schema")
    rubric: str
    judge: str
    is_llm: bool = Field(description="false for the offline reference judge")
    criterion: str = Field(description='"overall", or the criterion asked for')
    unit: Literal["items", "judgings"] = Field(default="items", description="what `n_items` and intervals count")
    confidence: float
    draws: int = Field(description="bootstrap and permutation draws")
    seed: int
    n_items: int = Field(description="items in common: a score for every model")
    n_items_any: int = Field(description="items that the judge was asked about for any model")
    n_clusters: int = Field(default=0, description="groups of items that go together, among the items in common")
    n_repeats: int
    models: list[ModelScore] = Field(description="in the order of the files")
    differences: list[Difference] = Field(description="all pairs")
    equal_models: EqualModels | None = Field(default=None, description="null for fewer than three models")
    categories: list[CategoryScore]
    control_answers: dict[str, ControlAnswerScore] = Field(
        default_factory=dict[str, ControlAnswerScore], alias="canaries", description="by kind"
    )
    warnings: list[str]
