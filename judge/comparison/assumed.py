"""A gap with the spread that a noise ledger measured, for the questions whose unit did not vary here."""

from __future__ import annotations

from equiloss.records.noise import Spread
from equiloss.statistics.crossed import Crossed
from equiloss.statistics.nested import NestedGap


def assumed(split: NestedGap, noise: Spread, *, always: bool = False) -> tuple[Crossed | None, Crossed | None]:
    """The gap over fine-tuning seeds, and over base runs; None where the ledger lacks it.

    None too where it was measured here, unless `always`.
    """
    seed, base = noise.seed_sd, noise.base_sd
    wanted = (always or split.bases is None, always or split.recipes is None)
    bases = split.assumed_spread(seed, df=noise.seed_df) if wanted[0] and seed is not None else None
    recipes = None
    if wanted[1] and base is not None:
        inside = 0.0 if noise.with_seeds or seed is None else seed
        recipes = split.assumed_spread(inside, base, min(noise.base_df, noise.seed_df))
    return bases, recipes
