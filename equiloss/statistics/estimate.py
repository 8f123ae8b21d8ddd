"""A number with its interval: what every statistic of the suite gives, and what files of losses hold."""

from __future__ import annotations

from typing import TypeAlias

from pydantic import BaseModel, ConfigDict

Interval: TypeAlias = tuple[float, float]
CONFIDENCE = 0.95


class Estimate(BaseModel):
    """A number with its interval. `low` and `high` are None where no interval can be given, and `note` says why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float | None = None
    high: float | None = None
    unit: str = ""
    confidence: float = CONFIDENCE
    p: float | None = None
    method: str = ""
    note: str = ""

    @property
    def interval(self) -> Interval:
        """The interval's ends. Raises: ValueError where there is no interval."""
        if self.low is None or self.high is None:
            raise ValueError(f"no interval: {self.note}")
        return self.low, self.high

    def excludes(self, reference: float) -> bool:
        """Whether the interval is known and leaves `reference` out."""
        return self.low is not None and self.high is not None and not self.low <= reference <= self.high


def student_interval(value: float, error: float, df: float, confidence: float = CONFIDENCE) -> Interval:
    """Student's interval of an estimate with this standard error on `df` degrees of freedom."""
    from scipy.special import stdtrit

    half = float(stdtrit(df, (1 + confidence) / 2)) * error if error > 0 else 0.0
    return value - half, value + half


def student_p(value: float, error: float, df: float) -> float:
    """Two-sided p of "the true value is 0", by Student's t; certain where nothing varies."""
    from scipy.special import stdtr

    if error == 0:
        return 1.0 if value == 0 else 0.0
    return float(2 * stdtr(df, -abs(value) / error))


def student(
    value: float, error: float, df: float, *, unit: str = "", confidence: float = CONFIDENCE, method: str = ""
) -> Estimate:
    """An estimate with Student's interval and p."""
    low, high = student_interval(value, error, df, confidence)
    p = student_p(value, error, df)
    return Estimate(value=value, low=low, high=high, unit=unit, confidence=confidence, p=p, method=method)


class ClusteredMean(BaseModel):
    """A mean over the tokens of documents as files hold it: standard error and interval, None for a single document."""

    model_config = ConfigDict(frozen=True, extra="allow")

    value: float
    se: float | None = None
    low: float | None = None
    high: float | None = None
    documents: int = 0
