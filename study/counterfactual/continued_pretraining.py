"""`study explain A B --base`: is it the text of the base models? The lower side's base reads on, in the other's text.

A base model cannot be made equal without making it anew. What is affordable is to let the base of the side that scores
lower read on for a share of its steps, once in the text of the other side's base (the change) and once in its own (the
control, which gets the same steps, rate and seed), and to fine-tune, answer and judge both like the two sides. Share
closed = (change - control) / (higher - control), bootstrap over items and fine-tuning seeds: what reading on does by
itself is in the control. A change that closes nothing excludes nothing, since the steps may have been too few.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from equiloss.config import to_toml
from equiloss.errors import InputError
from equiloss.files import write_text
from equiloss.records.counterfactual import Gain, Tried
from equiloss.statistics.bootstrap import Floats
from judge.diagnose.case import Arm
from judge.diagnose.causes import item_kinds
from study.counterfactual.session import Session, base_path, closed, interval_of_gain
from study.executors.resources import cores

CAUSE = "base-data"
SHARE = 0.15
"""How much of its steps the base reads on."""
SIDE_BY_SIDE = 2
"""The change and its control run at the same time; threads that fight over a core are slower than fewer."""


@dataclass(frozen=True)
class Text:
    """What a base was trained on: where the shards lie, and what they were made from."""

    directory: Path
    name: str


def attempt(session: Session, share: float = SHARE) -> Tried:
    """Run the change and its control, and measure how much of the gap closes.

    Raises: InputError when the bases are one, their texts are not there, or their tokenizers differ.
    """
    begin = time.monotonic()
    high, low = session.high, session.low
    if high.base.sha256 == low.base.sha256:
        raise InputError("both sides started from the same base model", "leave --base out: compare the recipes")
    theirs, own = text_of(high), text_of(low)
    if theirs.name == own.name:
        raise InputError("both base models read the same text", "leave --base out: compare the recipes")
    run = cast("dict[str, Any]", low.base.run)
    config = reading_on(cast("dict[str, Any]", run["config"]), base_path(low), share)
    arms = {f"{low.name}.on-other-text": theirs, f"{low.name}.on-own-text": own}
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        running = [pool.submit(_read_on, session, name, text, config) for name, text in arms.items()]
    changed, control = (one.result() for one in running)
    scores = session.judged(session.several(high), control, changed)
    steps = config["train"]["steps"]
    measured = closed(*scores)
    return Tried(
        cause=CAUSE,
        fields=("data",),
        changed=f"read on for {steps} steps in {theirs.name} instead of {own.name}",
        side=low.name,
        runs=tuple(path.name.removesuffix(".jsonl") for path in changed),
        share=measured[0],
        gap_before=measured[1],
        gap_after=measured[2],
        gains=gains(session, scores[1], scores[2]),
        minutes=round((time.monotonic() - begin) / 60, 2),
        cost_usd=session.spent_usd or None,
        note=f"held against the same base read on for {steps} steps in its own text",
    )


def text_of(arm: Arm) -> Text:
    """The text that an arm's base model read.

    Raises: InputError when the record does not say, or the shards are not there.
    """
    data = cast("dict[str, Any]", (arm.base.run or {}).get("data") or {})
    directory = data.get("directory")
    if not directory or not (Path(directory) / "data.json").is_file():
        raise InputError(
            f"{arm.name}: the text of its base model ({directory or 'not recorded'}) is not there",
            "run where `pretrain run` was run",
        )
    source = data.get("source")
    name = cast("dict[str, Any]", source).get("name") if isinstance(source, dict) else source
    return Text(Path(directory), str(name or directory))


def reading_on(config: Mapping[str, Any], checkpoint: Path, share: float) -> dict[str, Any]:
    """A base run's configuration changed to read on from its checkpoint for a share of its steps, with another seed."""
    train = dict(cast("dict[str, Any]", config["train"]))
    steps = max(1, math.ceil(share * int(train["steps"])))
    seed = int(train.get("seed") or 0) + 1
    train |= {"start": str(checkpoint), "steps": steps, "seed": seed, "eval_every": steps}
    train |= {"init_seed": seed, "order_seed": seed, "dropout_seed": seed}
    return {"model": dict(cast("dict[str, Any]", config["model"])), "train": train}


def _read_on(session: Session, name: str, text: Text, config: Mapping[str, Any]) -> list[Path]:
    """Answers of fine-tunings of the lower side's base after it has read on in a text."""
    path = session.work / f"{name}.base.toml"
    write_text(path, to_toml(dict(config)))
    runs = session.work / "runs"
    argv = ["pretrain", "run", str(path), "--data", str(text.directory), "--name", name, "-o", str(runs), "--resume"]
    session.call(argv, f"reading on ({name})")
    checkpoint = runs / name / "checkpoint.pt"
    return session.fine_tune(session.low, name, {}, checkpoint, threads=max(1, cores() // SIDE_BY_SIDE))


def gains(session: Session, control: Floats, changed: Floats) -> tuple[Gain, ...]:
    """What the change gains over the control on items of knowledge, of copying, and on the others."""
    knowledge, copying = item_kinds.knowledge_items(session.case), item_kinds.copying_items(session.case)
    copying &= ~knowledge
    named = (
        ("items that ask for knowledge", knowledge),
        ("items that ask to copy", copying),
        ("other items", ~(knowledge | copying)),
    )
    return tuple(
        Gain(items=title, count=int(chosen.sum()), points=interval_of_gain(control[:, chosen], changed[:, chosen]))
        for title, chosen in cast("Sequence[tuple[str, Any]]", named)
        if np.count_nonzero(chosen)
    )
