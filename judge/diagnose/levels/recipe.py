"""Level 4: the fine-tuning recipe. Which recorded fields differ, the classic traps, and what reruns have shown."""

from __future__ import annotations

from collections.abc import Sequence

from equiloss.numerals import percent, significant
from equiloss.records.counterfactual import Tried
from equiloss.records.diagnosis import Cause, Evidence, Level, Row, not_tested, tested
from equiloss.records.ift_run import RunRecord
from judge.diagnose import next_steps, prose
from judge.diagnose.case import Case, Options
from judge.diagnose.differences import (
    Difference,
    acting,
    by_cause,
    circumstances,
    in_words,
    recipe_differences,
    recipe_seeds,
    same_base,
    suspicion,
)
from judge.diagnose.naming import by_rerun


def level(case: Case, options: Options) -> Level:
    """Compare the two runs' records field by field, and look for traps in each."""
    a, b = case.a.record, case.b.record
    if a is None or b is None:
        without = [arm.name for arm in case.arms if arm.record is None]
        return not_tested(
            4,
            f"the run record beside the answers of {prose.names(without)}",
            next_steps.fine_tune(case),
        )
    differences = recipe_differences(case)
    evidence = [_base_evidence(case), _difference_evidence(case, differences)]
    traps = [
        *find_traps(a, case.a.name),
        *find_traps(b, case.b.name),
        *traps_between(a, b, case.a.name, case.b.name),
    ]
    evidence += [Evidence(name="trap", says=one) for one in traps]
    if beside := circumstances(case):
        says = f"Recorded beside the recipes, and different: {prose.names(beside)}."
        evidence.append(Evidence(name="circumstances", says=says))
    causes = _causes(case, acting(differences), options.tried)
    suspects = [one for one in causes if one.open]
    if not differences:
        status, says = "clear", "Both sides were fine-tuned by the same recipe."
    elif not causes:
        status, says = "clear", f"The recipes differ only in what cannot act: {in_words(differences)}."
    elif not suspects:
        status, says = "clear", "Every recorded difference was made equal and run again; none closes half of the gap."
    else:
        fields = prose.names(
            [one.field for one in acting(differences) if one.suspect.cause in {s.id for s in suspects}]
        )
        status, says = "undetermined", f"The recipes differ in {fields}; what of the gap that makes is not measured."
    return tested(
        4,
        status,
        says,
        evidence=tuple(evidence),
        causes=tuple(causes),
        missing=("a rerun with the suspected field made equal",) if suspects else (),
        command=next_steps.explain(case) if causes else None,
        tables={"differences": [one.row() for one in differences], "curve": _curves(case)},
    )


def _base_evidence(case: Case) -> Evidence:
    if case.a.base.sha256 is None or case.b.base.sha256 is None:
        return Evidence(name="base", says="The records do not say which base model each side started from.")
    if same_base(case):
        return Evidence(name="base", says="Both sides started from the same base model.", bearing="for")
    return Evidence(name="base", says="The sides started from different base models.")


def _difference_evidence(case: Case, differences: Sequence[Difference]) -> Evidence:
    if differences:
        bearing = "for" if acting(differences) else "neutral"
        return Evidence(name="differences", says=f"The recipes differ in {in_words(differences)}.", bearing=bearing)
    seeds = recipe_seeds(case)
    more = f" but the seeds ({prose.names(seeds)})" if seeds else ""
    says = f"The two recipes differ in no recorded field{more}."
    return Evidence(name="differences", says=says, bearing="against")


def _causes(case: Case, differences: Sequence[Difference], tried: Sequence[Tried]) -> list[Cause]:
    """One cause per group of fields, most suspected first, with the reruns' points where there are some."""
    reruns = {one.cause: one for one in tried}
    causes: list[Cause] = []
    for id, members in by_cause(differences).items():
        rerun = reruns.get(id)
        command = next_steps.explain(case, id, 2 * len(rerun.runs) if rerun is not None and rerun.runs else None)
        cause = suspicion(4, members, f"The recipes differ in {in_words(members)}.", command)
        causes.append(by_rerun(cause, rerun, case.gap.value) if rerun is not None and case.gap is not None else cause)
    return causes


def find_traps(record: RunRecord, name: str) -> list[str]:
    """What in one run's record has misled people before, as sentences."""
    traps: list[str] = []
    losses = {one.epoch: one.validation_loss for one in record.epochs if one.validation_loss is not None}
    if losses and record.selected_epoch is not None:
        best = min(losses, key=lambda epoch: losses[epoch])
        if record.selected_epoch != best:
            traps.append(
                f"{name}: the evaluated weights are those of epoch {record.selected_epoch}, "
                f"but the validation loss is lowest in epoch {best}."
            )
    stated, measured = record.selected_validation_loss, record.recomputed_validation_loss
    if stated is not None and measured is not None and abs(stated - measured) > 1e-3 * max(1.0, abs(stated)):
        traps.append(
            f"{name}: the evaluated weights have validation loss {significant(measured)}, the selected epoch had "
            f"{significant(stated)}: they are not the same weights."
        )
    used, size = record.recipe.get("validation_items"), record.data.items.get("validation")
    if isinstance(used, int) and size is not None and used < size:
        traps.append(f"{name}: the epoch was selected on {used} of {size} validation items.")
    if record.decoding.get("temperature") and (record.seeds is None or record.seeds.decoding is None):
        traps.append(f"{name}: answers were sampled without a recorded seed.")
    inherited = (record.base.config or {}).get("dropout")
    if record.recipe and record.recipe.get("dropout") is None and inherited:
        traps.append(f"{name}: dropout was inherited from the base model's config ({inherited}).")
    if overlap := record.data.overlap:
        for part, what in (
            (overlap.exact, "test items are asked in training too"),
            (overlap.near, "test items nearly repeat a training item"),
            (overlap.corpus, "test items stand in the pretraining text"),
        ):
            if part is not None and part.share > 0:
                traps.append(f"{name}: {percent(part.share)} of the {what}.")
    return traps


def traps_between(a: RunRecord, b: RunRecord, name_a: str, name_b: str) -> list[str]:
    """Traps that only show when the two records are laid side by side."""
    traps: list[str] = []
    epochs = (a.selected_epoch, b.selected_epoch)
    if None not in epochs and epochs[0] != epochs[1]:
        traps.append(f"{name_a} was selected at epoch {epochs[0]}, {name_b} at epoch {epochs[1]}.")
    swept = (a.lr_sweep is not None, b.lr_sweep is not None)
    if swept[0] != swept[1]:
        traps.append(f"The learning rate was tuned on {name_a if swept[0] else name_b} only.")
    elif not any(swept) and a.base.sha256 != b.base.sha256:
        traps.append(
            "One learning rate was used for two base models and tuned on neither: it may suit one of them better."
        )
    items = (a.data.split.get("test"), b.data.split.get("test"))
    if None not in items and items[0] != items[1]:
        traps.append("The two runs were tested on different items.")
    return traps


def _curves(case: Case) -> list[Row]:
    return [
        {
            "side": side,
            "run": run.generator,
            "epoch": one.epoch,
            "train_loss": one.train_loss,
            "validation_loss": one.validation_loss,
            "selected": one.epoch == run.run.selected_epoch,
        }
        for side, arm in zip("ab", case.arms, strict=True)
        for run in arm.runs
        if run.run is not None
        for one in run.run.epochs
    ]
