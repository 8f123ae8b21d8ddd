"""`study explain A B --base`: is it the text of the base models? The lower side's base goes on in the other's text.

A base model cannot be made equal without pretraining it again. What is affordable is continued pretraining: the base of
the side that scores lower goes on for a share of its steps, once in the text of the other side's base (the change) and
once in its own (the control, which gets the same steps, rate and seed), and both are fine-tuned, answer and are judged
like the two sides. Share closed = (change - control) / (higher - control), uncertain over items and fine-tuning seeds:
what more pretraining does by itself is in the control. A change that closes nothing excludes nothing, since the steps
may have been too few.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from equiloss.config import to_toml
from equiloss.errors import InputError
from equiloss.files import write_text
from equiloss.records.counterfactual import Gain, ItemKind, Tried
from equiloss.records.ift_run import Settings
from equiloss.statistics.bootstrap import Floats
from judge.diagnose.case import Arm, Case
from judge.diagnose.causes.item_kinds import copying_items, knowledge_items
from study.counterfactual.reruns import Reruns, base_path, closed, gain
from study.executors.resources import cores

CAUSE = "base-data"
SHARE = 0.15
"""For how much of its steps the base is pretrained further."""
SIDE_BY_SIDE = 2
"""The change and its control run at the same time; threads that fight over a core are slower than fewer."""


@dataclass(frozen=True)
class Text:
    """What a base was trained on: where the shards lie, and what they were made from."""

    directory: Path
    name: str


def attempt(reruns: Reruns, share: float = SHARE) -> Tried:
    """Run the change and its control, and measure how much of the gap closes.

    Raises: InputError when the bases are one, their texts are not there, or their tokenizers differ.
    """
    begin = time.monotonic()
    high, low = reruns.high, reruns.low
    if high.base.sha256 == low.base.sha256:
        raise InputError("both sides started from the same base model", "leave --base out: compare the recipes")
    theirs, own = text_of(high), text_of(low)
    if theirs.name == own.name:
        raise InputError("both base models read the same text", "leave --base out: compare the recipes")
    run = low.base.record.run
    if run is None or run.config is None:
        raise InputError(f"{low.name}: its base's configuration is not recorded", "pretrain it with `pretrain run`")
    steps, config = continued(run.config, base_path(low), share)
    arms = {f"{low.name}.on-other-text": theirs, f"{low.name}.on-own-text": own}
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        running = [pool.submit(_pretrain_and_tune, reruns, name, text, config) for name, text in arms.items()]
    changed, control = (one.result() for one in running)
    answers = [run.path for run in high.runs if run.path]
    higher = answers if len(answers) > 1 else reruns.fine_tune(high, f"{high.name}.unchanged", {})
    top, of_control, of_changed = reruns.judged([higher, control, changed], f"{low.name}.on-other-text")
    share_closed, before, after = closed(top, of_control, of_changed)
    return Tried(
        cause=CAUSE,
        fields=("data",),
        changed=f"pretrained further for {steps} steps in {theirs.name} instead of {own.name}",
        side=low.name,
        runs=tuple(path.name.removesuffix(".jsonl") for path in changed),
        share=share_closed,
        gap_before=before,
        gap_after=after,
        gains=gains(reruns.case, of_control, of_changed),
        minutes=round((time.monotonic() - begin) / 60, 2),
        cost_usd=reruns.spent_usd or None,
        note=f"held against the same base pretrained further for {steps} steps in its own text",
    )


def text_of(arm: Arm) -> Text:
    """The text that an arm's base model read.

    Raises: InputError when the record does not say, or the shards are not there.
    """
    data = arm.base.record.run.data if arm.base.record.run else None
    directory = data.directory if data else ""
    if data is None or not directory or not (Path(directory) / "data.json").is_file():
        raise InputError(
            f"{arm.name}: the text of its base model ({directory or 'not recorded'}) is not there",
            "run where `pretrain run` was run",
        )
    return Text(Path(directory), data.source.name if data.source else directory)


def continued(config: Mapping[str, Settings], checkpoint: Path, share: float) -> tuple[int, dict[str, Settings]]:
    """A base run's configuration changed to go on from its checkpoint for a share of its steps, with another seed."""
    train = dict(config["train"])
    steps = max(1, math.ceil(share * int(str(train["steps"]))))
    seed = int(str(train.get("seed") or 0)) + 1
    train |= {"start": str(checkpoint), "steps": steps, "seed": seed, "eval_every": steps}
    train |= {"init_seed": seed, "order_seed": seed, "dropout_seed": seed}
    return steps, {"model": config["model"], "train": train}


def _pretrain_and_tune(reruns: Reruns, name: str, text: Text, config: Mapping[str, Settings]) -> list[Path]:
    """Answers of fine-tunings of the lower side's base after it has gone on in a text."""
    path = reruns.work / f"{name}.base.toml"
    write_text(path, to_toml(dict(config)))
    runs = reruns.work / "runs"
    argv = ["pretrain", "run", str(path), "--data", str(text.directory), "--name", name, "-o", str(runs), "--resume"]
    reruns.call(argv, f"pretraining on ({name})")
    checkpoint = runs / name / "checkpoint.pt"
    return reruns.fine_tune(reruns.low, name, {}, checkpoint, threads=max(1, cores() // SIDE_BY_SIDE))


def gains(case: Case, control: Floats, changed: Floats) -> tuple[Gain, ...]:
    """What the change gains over the control on items of knowledge, of copying, and on the others."""
    knowledge, copying = knowledge_items(case), copying_items(case)
    chosen = {ItemKind.KNOWLEDGE: knowledge, ItemKind.COPYING: copying, ItemKind.OTHER: ~(knowledge | copying)}
    return tuple(
        Gain(items=kind, count=int(items.sum()), points=gain(control[:, items], changed[:, items]))
        for kind, items in chosen.items()
        if items.any()
    )
