"""Effects as people read them: the cells of their table, the words under it, and the page with the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

from equiloss import templates
from equiloss.numerals import number, p_value, plain, span
from study.effects import Effect, Effects, Measured

HEADINGS = ("intervention", "seeds", "loss", "effect", "95 % interval", "p (Holm)", "would have seen", "in the noise?")


def mean_of(arm: Effects | Effect) -> str:
    """An arm's mean loss and the standard deviation between its seeds."""
    return number(arm.mean_nats, 4) + ("" if arm.sd_nats is None else f" ± {number(arm.sd_nats, 4)}")


def cells(effect: Effect) -> list[str]:
    """An effect's row after its name."""
    low, high = effect.low_nats, effect.high_nats
    interval = None if low is None or high is None else (low, high)
    return [
        str(effect.seeds),
        mean_of(effect),
        number(effect.effect_nats, 4, sign=True),
        span(interval, 4, sign=True),
        p_value(effect.p_holm),
        number(effect.detectable_nats, 4),
        {"better": "no: better", "worse": "no: worse", "in the noise": "yes"}.get(effect.verdict, effect.verdict),
    ]


def closing(effects: Effects) -> str:
    """What was found, in a sentence per kind of verdict."""
    by: dict[str, list[str]] = {}
    for effect in effects.effects:
        by.setdefault(effect.verdict, []).append(f"{effect.arm} ({number(effect.effect_nats, 4, sign=True)})")
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
    if others := [effect.arm for effect in effects.effects if "data" in effect.changed]:
        lines.append(f"Trained on other data than the baseline, so that its effect is in theirs: {', '.join(others)}.")
    if effects.contaminated:
        seen = ", ".join(f"{arm} ({n:,} documents)" for arm, n in effects.contaminated.items())
        lines.append(f"Test documents stand in the training text, so that the loss is lower for it: {seen}.")
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
    ticks = [(x(value), f"{'+' if value > 0 else ''}{plain(value)}") for value in _ticks(low, high)]
    return templates.report_page(
        "effects.html",
        effects=effects,
        headings=HEADINGS,
        mean=mean_of(effects),
        rows=rows,
        base=base,
        zero=x(0.0),
        ticks=ticks,
        closing=closing(effects).split("\n"),
    )


def _ticks(low: float, high: float, about: int = 7) -> list[float]:
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
    return [round(k * step, 10) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
