"""Effects and the zoo's count in the terminal."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from equiloss import console
from equiloss.numerals import percent
from equiloss.records.noise import NoiseLedger
from study.effects import Effects
from study.effects_page import HEADINGS, cells, closing, mean_of
from study.noise.page import COMPONENTS, PURCHASES, component_cells, purchase_cells
from study.noise.page import closing as noise_closing
from study.zoo.counting import ZooCount


def emit_effects(effects: Effects) -> None:
    """Print the baseline and every arm, the lowest loss first, and what it comes to."""
    baseline = (effects.baseline, str(effects.seeds), mean_of(effects), "", "", "", "", "(the baseline)")
    rows = [baseline, *((effect.arm, *cells(effect)) for effect in effects.effects)]
    console.emit_table(console.table("", "lrrrrrrl", HEADINGS, rows))
    console.out().print(closing(effects), markup=False, soft_wrap=True)


def emit_zoo(count: ZooCount, output: Path, *, as_json: bool) -> None:
    """Write a zoo's count and print it. Raises: IncompleteError when a pair could not be made or diagnosed."""
    page = count.write(output)
    if as_json:
        console.emit_json(count.model_dump(mode="json"))
    else:
        emit_count(count)
        console.write(str(page))
    count.require_complete(output)


def emit_count(count: ZooCount) -> None:
    """Print how often each pair's planted cause was named, and what was named instead."""
    rows: list[tuple[str, ...]] = []
    for pair in count.pairs:
        wrong = Counter(run.named or "not made" for run in count.runs if run.pair == pair.name and not run.right)
        instead = ", ".join(f"{name} ({number})" for name, number in sorted(wrong.items()))
        rows.append((pair.name, pair.cause, f"{pair.right}/{pair.of}", instead))
    title = "planted causes, and what the diagnosis named"
    console.emit_table(console.table(title, "llrl", ("pair", "planted", "right", "named instead"), rows))
    for one in count.counts:
        if (rate := one.rate).of:
            interval = f"exact 95 % interval {percent(rate.low)} to {percent(rate.high)}"
            always = f"always in {one.pairs.count} of {one.pairs.of} kinds of pairs"
            console.out().print(f"{one.says}: {rate.count} of {rate.of} = {percent(rate.value)} ({interval}; {always})")


def emit_noise(ledger: NoiseLedger) -> None:
    """Print what scores vary by, what one more of each would do, and what it comes to."""
    console.emit_table(console.table("what scores vary by", "lrrrll", COMPONENTS, component_cells(ledger)))
    if ledger.purchases:
        title = "what one more on both sides would do to the contrast of two recipes"
        console.emit_table(console.table(title, "lrrrrrr", PURCHASES, purchase_cells(ledger)))
    console.out().print("\n".join(noise_closing(ledger)), markup=False, soft_wrap=True)
