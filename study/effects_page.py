"""Effects as people read them: the cells of their table, the words under it, and the page with the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

from equiloss.templates import environment, source
from study.effects import Effect, Effects, Measured


def cells(effect: Effect) -> list[str]:
    """An effect's row after its name."""
    deviation = f" ± {effect.sd_nats:.4f}" if effect.sd_nats is not None else ""
    known = effect.low_nats is not None and effect.high_nats is not None
    return [
        str(effect.seeds),
        f"{effect.mean_nats:.4f}{deviation}",
        f"{effect.effect_nats:+.4f}",
        f"{effect.low_nats:+.4f} to {effect.high_nats:+.4f}" if known else "–",
        "–" if effect.p_holm is None else "< 0.0001" if effect.p_holm < 1e-4 else f"{effect.p_holm:.4f}",
        "–" if effect.detectable_nats is None else f"{effect.detectable_nats:.4f}",
        {"better": "no: better", "worse": "no: worse", "in the noise": "yes"}.get(effect.verdict, effect.verdict),
    ]


def closing(effects: Effects) -> str:
    """What was found, in a sentence per kind of verdict."""
    by: dict[str, list[str]] = {}
    for effect in effects.effects:
        by.setdefault(effect.verdict, []).append(f"{effect.arm} ({effect.effect_nats:+.4f})")
    lines = [
        f"Loss in nats per token on the {effects.split} split ({effects.tokens:,} tokens); ± is the standard deviation "
        "between seeds. Effects are against the baseline, with Welch's interval and Holm's correction."
    ]
    says = {
        "better": "Lower than noise explains",
        "worse": "Higher than noise explains",
        "in the noise": "In the noise",
    }
    lines += [f"{text}: {', '.join(by[key])}." for key, text in says.items() if key in by]
    if "one seed: cannot tell" in by:
        lines.append(f"Too few seeds to tell: {', '.join(by['one seed: cannot tell'])}.")
    return "\n".join(lines)


def html(effects: Effects, runs: Sequence[Measured]) -> str:
    """The page: the closing words, every effect with its interval and its single runs, and the table."""
    spread = [run.loss_nats - effects.mean_nats for run in runs]
    bounds = [x for e in effects.effects for x in (e.low_nats, e.high_nats) if x is not None]
    low, high = min([*spread, *bounds, 0.0]), max([*spread, *bounds, 0.0])
    room = (high - low) * 0.04 or 0.01
    low, high = low - room, high + room

    def x(value: float) -> float:
        return round(160 + (value - low) / (high - low) * 720, 1)

    rows = [
        {
            "arm": effect.arm,
            "changed": ", ".join(f"{key}={value}" for key, value in effect.changed.items()),
            "x": x(effect.effect_nats),
            "low": None if effect.low_nats is None else x(effect.low_nats),
            "high": None if effect.high_nats is None else x(effect.high_nats),
            "runs": [x(run.loss_nats - effects.mean_nats) for run in runs if run.arm == effect.arm],
            "cells": cells(effect),
            "verdict": effect.verdict,
        }
        for effect in effects.effects
    ]
    base = [x(run.loss_nats - effects.mean_nats) for run in runs if run.arm == effects.baseline]
    ticks = [(x(value), f"{value:+.2g}" if value else "0") for value in _ticks(low, high)]
    return (
        environment(autoescape=True)
        .from_string(source("report", "effects.html"))
        .render(effects=effects, rows=rows, base=base, zero=x(0.0), ticks=ticks, closing=closing(effects).split("\n"))
    )


def _ticks(low: float, high: float, about: int = 7) -> list[float]:
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
    return [round(k * step, 10) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
