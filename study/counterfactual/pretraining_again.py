"""`study explain A B --pretrain`: the lower side's base model pretrained again with one field as the other side has it.

Several pretraining seeds of the change, and as many of the lower side's own configuration as a control; each is
fine-tuned once by the lower side's recipe, answers and is judged. The unit is the base run, so what chance of
pretraining makes is in the interval. It costs what it says: twice as many pretraining runs as seeds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path

from equiloss import console
from equiloss.config import to_toml
from equiloss.errors import InputError
from equiloss.files import write_text
from equiloss.numerals import duration
from equiloss.records.counterfactual import Tried
from equiloss.records.ift_run import Settings
from judge.diagnose.case import Case
from judge.diagnose.differences import Difference, acting, base_differences, by_cause
from judge.diagnose.naming import ACCOUNTS, share_of
from study.counterfactual.continued_pretraining import gains, text_of
from study.counterfactual.reruns import Reruns, gain, times


def fields(case: Case, only: Sequence[str] = ()) -> dict[str, list[Difference]]:
    """What differs in the making of the base models and can act, by cause, most suspected first.

    Raises: InputError where nothing does, it is not recorded, or `only` names something else.
    """
    differences = base_differences(case)
    grouped = by_cause(acting(differences or []))
    if not grouped:
        says = "is not recorded" if differences is None else "does not differ in anything that can act"
        raise InputError(f"how the base models were made {says}", "leave --pretrain out")
    if unknown := [name for name in only if name not in grouped]:
        raise InputError(f"{unknown[0]!r} does not differ between the base models", f"known: {', '.join(grouped)}")
    return {cause: members for cause, members in grouped.items() if not only or cause in only}


def attempt(reruns: Reruns, cause: str, differences: Sequence[Difference]) -> Tried:
    """Pretrain the change and its control, fine-tune and judge both, and measure what the fields make of the gap.

    Raises: InputError when the configuration is not recorded or the text is not there.
    """
    begin = time.monotonic()
    case, high, low = reruns.case, reruns.high, reruns.low
    assert case.gap is not None
    run = low.base.record.run
    if run is None or run.config is None:
        raise InputError(f"{low.name}: its base's configuration is not recorded", "pretrain it with `pretrain run`")
    if run.elapsed_s:
        console.say(f"{2 * reruns.seeds} pretraining runs: about {duration(2 * reruns.seeds * run.elapsed_s)}")
    values = {one.field: one.a if high is case.a else one.b for one in differences}
    changed = with_fields(run.config, values)
    text = text_of(high if "data" in values else low).directory
    raised = _bases(reruns, f"{low.name}.{cause}", changed, text)
    control = _bases(reruns, f"{low.name}.pretrained-again", run.config, text_of(low).directory)
    answers = [one.path for one in high.runs if one.path]
    top, up, bottom = reruns.judged([answers, raised, control], f"{low.name}.{cause}")
    closed = gain(bottom, up)
    share = share_of(closed, abs(case.gap.value))
    return Tried(
        cause=cause,
        fields=tuple(values),
        changed="pretrained again with " + "; ".join(one.values for one in differences),
        side=low.name,
        runs=tuple(path.name.removesuffix(".jsonl") for path in raised),
        share=share,
        points=times(closed, 1.0 if high is case.a else -1.0),
        gap_before=gain(bottom, top),
        gap_after=gain(up, top),
        gains=gains(case, bottom, up),
        settled=share is not None and share.low is not None and max(map(abs, share.interval)) < ACCOUNTS,
        minutes=round((time.monotonic() - begin) / 60, 2),
        cost_usd=reruns.spent_usd or None,
        note=f"held against {reruns.seeds} base models pretrained again unchanged",
    )


def with_fields(config: Mapping[str, Settings], values: Mapping[str, object]) -> dict[str, Settings]:
    """A base run's configuration with some fields (`config.train.lr`, `model.n_layer`) set to other values."""
    changed = deepcopy(dict(config))
    for field, value in values.items():
        section, _, name = field.removeprefix("config.").partition(".")
        if name and section in changed:
            changed[section] = {**changed[section], name: value}  # pyright: ignore[reportArgumentType]
    return changed


def _bases(reruns: Reruns, name: str, config: Mapping[str, Settings], text: Path) -> list[Path]:
    """Answers of one fine-tuning of each of several base models pretrained with other seeds."""
    answers: list[Path] = []
    for number in range(1, reruns.seeds + 1):
        seed = 1000 + number
        seeds = {"seed": seed, "init_seed": seed, "order_seed": seed, "dropout_seed": seed}
        own = f"{name}.p{number}"
        path = reruns.work / f"{own}.base.toml"
        write_text(path, to_toml({**config, "train": {**config["train"], **seeds}}))
        runs = reruns.work / "runs"
        argv = ["pretrain", "run", str(path), "--data", str(text), "--name", own, "-o", str(runs), "--resume"]
        reruns.call(argv, f"pretraining {own}")
        answers += reruns.fine_tune(reruns.low, own, {}, runs / own / "checkpoint.pt", seeds=1)
    return answers
