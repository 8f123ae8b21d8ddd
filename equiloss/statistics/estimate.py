"""A number with its interval: what every statistic of the suite gives."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Estimate(BaseModel):
    """A number with its interval. `low` and `high` are None where no interval can be given, and `note` says why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float | None = None
    high: float | None = None
    unit: str = ""
    confidence: float = 0.95
    p: float | None = None
    method: str = ""
    note: str = ""

    def excludes(self, reference: float) -> bool:
        """Whether the interval is known and leaves `reference` out."""
        return self.low is not None and self.high is not None and not self.low <= reference <= self.high
