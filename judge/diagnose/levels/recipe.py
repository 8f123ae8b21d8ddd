"""Level 4: the fine-tuning recipe. Which recorded fields differ, the classic traps, and what reruns have shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from equiloss.numerals import estimated_share, percent, significant
from equiloss.records.counterfactual import Tried
from equiloss.records.diagnosis import Cause, Evidence, Level, not_tested, tested
from equiloss.statistics.estimate import Estimate
from judge.diagnose import next_steps, prose
from judge.diagnose.case import Case
from judge.diagnose.differences import RECIPE, Differing, differing, seeds_differ
from judge.diagnose.levels.decoding import different_settings

SECTIONS = ("recipe", "template", "data")


def level(case: Case, tried: Sequence[Tried] = ()) -> Level:
    """Compare the two runs' records field by field, and look for traps in each."""
    a, b = case.a.record, case.b.record
    if a is None or b is None:
        without = [arm.name for arm in case.arms if arm.record is None]
        return not_tested(
            4,
            f"the run record beside the answers of {prose.names(without)}",
            next_steps.fine_tune(case),
        )
    fields = recipe_differences(a, b)
    seeds = seeds_differ(settings(a), settings(b))
    traps = [
        *find_traps(a, case.a.name),
        *find_traps(b, case.b.name),
        *traps_between(a, b, case.a.name, case.b.name),
    ]
    evidence: list[Evidence] = [_same_base(case)]
    if fields:
        says = f"The recipes differ in {prose.names([one.says for one in fields])}."
        evidence.append(Evidence(name="differences", says=says, bearing="for"))
    else:
        more = f" but the seeds ({prose.names(seeds)})" if seeds else ""
        evidence.append(
            Evidence(name="differences", says=f"The two recipes differ in no recorded field{more}.", bearing="against")
        )
    evidence += [Evidence(name="trap", says=one, bearing="neutral") for one in traps]
    causes = _causes(case, fields, tried)
    best = next((one for one in causes if one.status == "supported"), None)
    if not fields:
        status, says = "clear", "Both sides were fine-tuned by the same recipe."
    elif best is not None:
        status, says = "accounts", best.says
    elif causes and all(one.status == "excluded" for one in causes):
        status, says = "clear", "Every recorded difference was made equal and run again; none closes the gap."
    else:
        suspects = prose.names([one.key for one in fields])
        status, says = "undetermined", f"The recipes differ in {suspects}; which of it matters is not measured."
    return tested(
        4,
        status,
        says,
        effect=best.share if best else None,
        share=best.share if best else None,
        evidence=tuple(evidence),
        causes=tuple(causes),
        missing=() if not fields or best else ("a rerun with the suspected field made equal",),
        command=next_steps.explain(case) if fields else None,
        tables={
            "differences": [one.row() for one in fields],
            "curve": _curves(case),
        },
    )


def settings(record: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a run's record that were chosen, not measured."""
    kept = {key: record[key] for key in SECTIONS if key in record}
    recipe = kept.get("recipe")
    if isinstance(recipe, dict):  # the base's own value beside a field describes the base, not the recipe
        aside = ("base", "base_values", "decoding")
        kept["recipe"] = {k: v for k, v in cast("dict[str, Any]", recipe).items() if k not in aside}
    return kept


def recipe_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Differing]:
    """The chosen fields in which two runs' records differ, most suspected first."""
    return differing(settings(a), settings(b), RECIPE, "recipe")


def _same_base(case: Case) -> Evidence:
    if case.a.base.sha256 is None or case.b.base.sha256 is None:
        return Evidence(name="base", says="The records do not say which base model each side started from.")
    same = case.a.base.sha256 == case.b.base.sha256
    says = "Both sides started from the same base model." if same else "The sides started from different base models."
    return Evidence(name="base", says=says, bearing="for" if same else "neutral")


def _causes(case: Case, fields: Sequence[Differing], tried: Sequence[Tried]) -> list[Cause]:
    """One cause per group of fields, most suspected first, with the reruns' shares where there are some."""
    grouped: dict[str, list[Differing]] = {}
    for one in fields:
        grouped.setdefault(one.field.cause, []).append(one)
    only = len(grouped) == 1 and same_base(case) and not different_settings(case)
    causes: list[Cause] = []
    for cause, members in grouped.items():
        rerun = next((one for one in tried if one.cause == cause), None)
        share, method, says = None, "", f"The recipes differ in {prose.names([one.says for one in members])}."
        status = "possible"
        against: tuple[str, ...] = ()
        if rerun is not None:
            share, method = rerun.share, "made equal and run again"
            closes = share is not None and share.low is not None and share.low > 0
            status = "supported" if closes else "excluded" if rerun.settled else "possible"
            told = estimated_share(share) if share else "an unknown share"
            if closes:
                says = f"{says[:-1]}; made equal and run again, {told} of the gap closes."
            else:
                against = (f"made equal and run again, {told} of the gap closes",)
        elif only and case.gap is not None and case.gap.estimate.excludes(0.0):
            share, method = whole_gap(case), "by elimination: nothing else that is recorded differs"
            status = "supported"
            says = f"The only recorded difference between the two runs is {prose.names([one.says for one in members])}."
        causes.append(
            Cause(
                id=cause,
                level=4,
                title=members[0].field.title,
                status=status,
                share=share,
                share_method=method,
                prior=members[0].field.weight,
                says=says,
                evidence_for=(says,) if status != "excluded" else (),
                evidence_against=against,
                source=members[0].field.source,
                command=_further(case, cause, rerun),
            )
        )
    return causes


def _further(case: Case, cause: str, rerun: Tried | None) -> str:
    """What would test a cause further: making it equal, and where that was done, with twice as many seeds."""
    return next_steps.explain(case, cause, 2 * len(rerun.runs) if rerun is not None and rerun.runs else None)


def same_base(case: Case) -> bool:
    """Whether both sides are known to have started from one checkpoint."""
    return case.a.base.sha256 is not None and case.a.base.sha256 == case.b.base.sha256


def whole_gap(case: Case) -> Estimate | None:
    """The share that the only difference explains: all of the true gap, known as well as the gap itself."""
    if case.gap is None or case.gap.value == 0:
        return None
    gap = case.gap.estimate
    if gap.low is None or gap.high is None:
        return None
    low, high = sorted((gap.low / gap.value, gap.high / gap.value))
    return Estimate(value=1.0, low=low, high=high, unit="share", method="the only recorded difference")


def find_traps(record: Mapping[str, Any], name: str) -> list[str]:
    """What in one run's record has misled people before, as sentences."""
    found: list[str] = []
    epochs = [cast("dict[str, Any]", one) for one in _list(record.get("epochs")) if isinstance(one, dict)]
    losses = {
        int(one["epoch"]): float(one["validation_loss"]) for one in epochs if one.get("validation_loss") is not None
    }
    selected = record.get("selected_epoch")
    if losses and isinstance(selected, int):
        best = min(losses, key=lambda epoch: losses[epoch])
        if selected != best:
            found.append(
                f"{name}: the evaluated weights are those of epoch {selected}, "
                f"but the validation loss is lowest in epoch {best}."
            )
    stated, measured = record.get("selected_validation_loss"), _verified(record)
    if (
        isinstance(stated, (int, float))
        and measured is not None
        and abs(stated - measured) > 1e-3 * max(1.0, abs(stated))
    ):
        found.append(
            f"{name}: the evaluated weights have validation loss {significant(measured)}, the selected epoch had "
            f"{significant(float(stated))}: they are not the same weights."
        )
    used, size = _validation_used(record)
    if used is not None and size is not None and used < size:
        found.append(f"{name}: the epoch was selected on {used} of {size} validation items.")
    decoding = _dict(record.get("decoding"))
    if float(decoding.get("temperature") or 0.0) > 0 and _dict(record.get("seeds")).get("decoding") is None:
        found.append(f"{name}: answers were sampled without a recorded seed.")
    base_model = _dict(_dict(record.get("base")).get("config"))
    recipe = _dict(record.get("recipe"))
    if recipe and recipe.get("dropout") is None and float(base_model.get("dropout") or 0) > 0:
        found.append(f"{name}: dropout was inherited from the base model's config ({base_model.get('dropout')}).")
    overlap = _dict(_dict(record.get("data")).get("overlap"))
    for key, what in (
        ("exact", "test items are asked in training too"),
        ("near", "test items nearly repeat a training item"),
        ("corpus", "test items stand in the pretraining text"),
    ):
        share = float(_dict(overlap.get(key)).get("share") or 0.0)
        if share > 0:
            found.append(f"{name}: {percent(share)} of the {what}.")
    return found


def traps_between(a: Mapping[str, Any], b: Mapping[str, Any], name_a: str, name_b: str) -> list[str]:
    """Traps that only show when the two records are laid side by side."""
    found: list[str] = []
    epochs = [one.get("selected_epoch") for one in (a, b)]
    if None not in epochs and epochs[0] != epochs[1]:
        found.append(f"{name_a} was selected at epoch {epochs[0]}, {name_b} at epoch {epochs[1]}.")
    swept = [bool(one.get("lr_sweep") or one.get("sweep")) for one in (a, b)]
    if swept[0] != swept[1]:
        found.append(f"The learning rate was tuned on {name_a if swept[0] else name_b} only.")
    elif not any(swept) and _sha(a) != _sha(b):
        found.append(
            "One learning rate was used for two base models and tuned on neither: it may suit one of them better."
        )
    items = [_dict(_dict(one.get("data")).get("split")).get("test") for one in (a, b)]
    if items[0] is not None and items[1] is not None and items[0] != items[1]:
        found.append("The two runs were tested on different items.")
    return found


def _sha(record: Mapping[str, Any]) -> Any:
    return _dict(record.get("base")).get("sha256")


def _verified(record: Mapping[str, Any]) -> float | None:
    value = record.get("recomputed_validation_loss")
    return float(value) if isinstance(value, (int, float)) else None


def _validation_used(record: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """How many validation items select the epoch, where the recipe limits them, and how many there are."""
    size = _dict(_dict(record.get("data")).get("items")).get("validation")
    used = _dict(record.get("recipe")).get("validation_items")
    return (used if isinstance(used, int) else None), (size if isinstance(size, int) else None)


def _curves(case: Case) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for side, arm in zip("ab", case.arms, strict=True):
        for run in arm.runs:
            for one in _list((run.run or {}).get("epochs")):
                if isinstance(one, dict):
                    point = cast("dict[str, Any]", one)
                    rows.append(
                        {
                            "side": side,
                            "run": run.generator,
                            "epoch": point.get("epoch"),
                            "train_loss": point.get("train_loss"),
                            "validation_loss": point.get("validation_loss"),
                            "selected": point.get("epoch") == (run.run or {}).get("selected_epoch"),
                        }
                    )
    return rows


def _dict(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
