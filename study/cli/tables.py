"""Effects and the zoo's count in the terminal."""

from __future__ import annotations

from collections import Counter

from equiloss import console
from study.effects import Effects
from study.effects_page import cells, closing
from study.zoo.counting import ZooCount


def emit_effects(effects: Effects) -> None:
    """Print the baseline and every arm, the lowest loss first, and what it comes to."""
    headings = (
        "intervention",
        "seeds",
        "loss",
        "effect",
        "95 % interval",
        "p (Holm)",
        "would have seen",
        "in the noise?",
    )
    deviation = f" ± {effects.sd_nats:.4f}" if effects.sd_nats is not None else ""
    baseline = (
        effects.baseline,
        str(effects.seeds),
        f"{effects.mean_nats:.4f}{deviation}",
        *[""] * 4,
        "(the baseline)",
    )
    rows = [baseline, *((effect.arm, *cells(effect)) for effect in effects.effects)]
    console.emit_table(console.table("", "lrrrrrrl", [*headings, "in the noise?"], rows))
    console.out().print(closing(effects), markup=False, soft_wrap=True)


def emit_count(count: ZooCount) -> None:
    """Print how often each pair's planted cause was named, and what was named instead."""
    rows: list[tuple[str, ...]] = []
    for pair in count.pairs:
        wrong = Counter(run.named or "not made" for run in count.runs if run.pair == pair.name and not run.right)
        instead = ", ".join(f"{name} ({number})" for name, number in sorted(wrong.items()))
        rows.append((pair.name, pair.cause, f"{pair.right}/{pair.of}", instead))
    title = "planted causes, and what the diagnosis named"
    console.emit_table(console.table(title, "llrl", ("pair", "planted", "right", "named instead"), rows))
    rates = {"named the planted cause": count.accuracy, "false alarms on null pairs": count.false_alarms}
    for what, rate in rates.items():
        if rate.of:
            interval = f"exact 95 % interval {rate.low:.0%} to {rate.high:.0%}"
            console.out().print(f"{what}: {rate.count} of {rate.of} = {rate.value:.0%} ({interval})")
