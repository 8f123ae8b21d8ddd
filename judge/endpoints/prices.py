"""What a judge costs: a dated price table that a TOML file overrides."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field

from equiloss.config import Config, read_toml, validate
from equiloss.errors import InputError

_DATED = re.compile(r"-\d{4}-?\d{2}-?\d{2}$|-\d{4}$|-latest$")


class Price(Config):
    """US dollars per million tokens; `cached_input` for input that a provider's prompt cache held."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached_input: float | None = Field(default=None, ge=0)

    def cost_usd(self, prompt_tokens: int, completion_tokens: float, cached_tokens: int = 0) -> float:
        """The price of one answer; `cached_tokens` are part of `prompt_tokens`."""
        cached = self.input if self.cached_input is None else self.cached_input
        plain = prompt_tokens - cached_tokens
        return (plain * self.input + cached_tokens * cached + completion_tokens * self.output) / 1e6


class PriceTable(Config):
    """Prices by model name, and the date on which they held."""

    models: dict[str, Price]
    as_of: str = "unknown"
    source: str = ""
    batch_discount: float = Field(0.5, gt=0, le=1)

    def find(self, model: str) -> Price | None:
        """The price of a model, dated snapshots (gpt-4.1-2025-04-14) as their model; None when it is not known.

        A name with a provider before it (openai/gpt-4.1) is looked for whole, then without it.
        """
        bare = model.rpartition("/")[2]
        names = (model, _DATED.sub("", model), bare, _DATED.sub("", bare))
        return next((self.models[name] for name in names if name in self.models), None)


def parse_price(text: str) -> Price:
    """A price from `IN,OUT` or `IN,OUT,CACHED`: dollars per million tokens. Raises: InputError when it is none."""
    try:
        given, output, *rest = map(float, text.split(","))
        return Price(input=given, output=output, cached_input=rest[0] if rest else None)
    except (ValueError, IndexError):
        raise InputError(
            f"--price {text!r} is not IN,OUT", "dollars per million tokens, e.g. --price 0.4,1.6"
        ) from None


def load(override: Path | None = None) -> PriceTable:
    """The shipped table, with the models of an override in the same layout added or replaced.

    Raises: InputError when the override is no price table.
    """
    shipped = Path(__file__).with_name("prices.toml")
    table = validate(PriceTable, read_toml(shipped), "prices.toml")
    if override is None:
        return table
    own = validate(PriceTable, read_toml(override), str(override))
    as_of = own.as_of if own.as_of != "unknown" else f"{table.as_of}, and {override.name}"
    return own.model_copy(update={"models": {**table.models, **own.models}, "as_of": as_of})
