"""What differs between A and B by their records: in the recipe, the decoding, and the making of the base models."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import JsonValue

from equiloss.config import flatten
from equiloss.records.diagnosis import Cause, Row
from equiloss.records.ift_run import IftRun, RunRecord
from judge.diagnose import prose
from judge.diagnose.case import Arm, Base, Case
from judge.diagnose.suspects import BASE, FACTORS, IDLE, RECIPE, UNUSED, Suspect, is_seed, suspect_of

SETTINGS = Suspect("decoding-settings", "different decoding settings", 0.8, "", ("decoding",))
LIMIT = Suspect("decoding-truncation", "different token limits", 0.8, "", ("decoding.max_new_tokens",))
"""What the fields stand for that say how answers were generated; the limit for what it does to answers."""
NEUTRAL: Mapping[str, JsonValue] = {"top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0, "min_p": 0.0}
"""Decoding settings that are as good as none."""

ORIGINS = {"huggingface": "imported", "ift": "fine-tuned"}
"""How a base model came about that is no run of `pretrain`, by the kind in its record."""
LATER_FIELDS: dict[str, JsonValue] = {"out_bias": True, "norm": "var", "init": "gpt2"}
"""Fields of a model's shape that older records lack, and what all models had then."""


@dataclass(frozen=True)
class Difference:
    """A field in which A's and B's records differ; `inert` says why it cannot act, "" where it can."""

    field: str
    a: JsonValue
    b: JsonValue
    suspect: Suspect
    inert: str = ""

    @property
    def values(self) -> str:
        """`field: a against b`, long values cut."""
        return f"{self.field}: {_short(self.a)} against {_short(self.b)}"

    def row(self) -> Row:
        """As it stands in a level's table of differences."""
        return {
            "field": self.field,
            "a": _plain(self.a),
            "b": _plain(self.b),
            "cause": self.suspect.cause,
            "weight": self.suspect.weight,
            "why": self.suspect.title,
            "source": self.suspect.source,
        }


def acting(differences: Iterable[Difference]) -> list[Difference]:
    """Those that can make a difference in answers."""
    return [one for one in differences if not one.inert]


def in_words(differences: Iterable[Difference]) -> str:
    """The fields with both sides' values, as a list in a sentence."""
    texts: dict[str, list[str]] = {}
    for one in differences:
        texts.setdefault(one.inert, []).append(one.values)
    return prose.names([prose.names(said) + (f" (cannot act: {why})" if why else "") for why, said in texts.items()])


def by_cause(differences: Iterable[Difference]) -> dict[str, list[Difference]]:
    """Differences by the cause that they stand for."""
    grouped: dict[str, list[Difference]] = {}
    for one in differences:
        grouped.setdefault(one.suspect.cause, []).append(one)
    return grouped


def suspicion(level: int, members: Sequence[Difference], says: str, command: str | None = None) -> Cause:
    """The cause that differing fields of one suspect stand for, before anything is measured."""
    suspect = members[0].suspect
    return Cause(
        id=suspect.cause,
        level=level,
        title=suspect.title,
        status="possible",
        prior=suspect.weight,
        open=True,
        says=says,
        evidence_for=(says,),
        source=suspect.source,
        command=command,
    )


def same_base(case: Case) -> bool:
    """Whether both sides are known to have started from one checkpoint, or from the same ones."""
    return case.a.base.sha256 is not None and None not in case.a.bases and case.a.bases == case.b.bases


def recipe_differences(case: Case) -> list[Difference]:
    """The chosen fields in which the two runs differ, most suspected first; [] where a record is missing."""
    a, b = case.a.record, case.b.record
    return [] if a is None or b is None else _differences(_of_recipe(a), _of_recipe(b), RECIPE, "recipe")


def recipe_seeds(case: Case) -> list[str]:
    """The seeds in which the two recipes differ."""
    a, b = case.a.record, case.b.record
    return [] if a is None or b is None else _seeds(_of_recipe(a), _of_recipe(b))


def base_differences(case: Case) -> list[Difference] | None:
    """The fields in which the base models' making differs, most suspected first; None where it is not recorded."""
    a, b = _of_base(case.a.base), _of_base(case.b.base)
    if not a or not b:
        return None
    if a.get("origin") != b.get("origin"):  # of one alone it is known how it was fine-tuned before
        a, b = ({field: value for field, value in one.items() if not field.startswith("tuned.")} for one in (a, b))
    return _differences(a, b, BASE, "base")


def made_elsewhere(case: Case) -> bool:
    """Whether a base model is no run of `pretrain`, so that equal records do not say that it was made alike."""
    return any(arm.base.record.run is not None and arm.base.record.run.kind for arm in case.arms)


def base_seeds(case: Case) -> list[str]:
    """The seeds in which the base models' making differs."""
    return _seeds(_of_base(case.a.base), _of_base(case.b.base))


def decoding_differences(case: Case) -> list[Difference]:
    """The decoding settings that differ; [] where they are equal or not recorded."""
    differences = _of_decoding(decoding_of(case.a.record), decoding_of(case.b.record))
    stopped = all(
        response.finish_reason == "stop" for arm in case.arms for run in arm.runs for response in run.responses.values()
    )
    if not stopped or not all(run.responses for arm in case.arms for run in arm.runs):
        return differences
    why = "no answer reached the limit"
    return [replace(one, inert=why) if one.suspect is LIMIT and not one.inert else one for one in differences]


def decoding_of(record: RunRecord | None) -> Mapping[str, JsonValue]:
    """How a run's answers were generated; {} where it is not recorded."""
    if record is None:
        return {}
    of_recipe = record.recipe.get("decoding")
    return record.decoding or (of_recipe if isinstance(of_recipe, dict) else {})


def circumstances(case: Case) -> list[str]:
    """What is recorded beside the recipes and differs: device, threads, versions; each as `name: a against b`."""
    records = [arm.record for arm in case.arms]
    if records[0] is None or records[1] is None:
        return []
    a, b = (_circumstances(one) for one in records if one is not None)
    return [f"{name}: {_short(a.get(name))} against {_short(b.get(name))}" for name in a if a[name] != b.get(name)]


def disagreement(arm: Arm) -> str | None:
    """In what the runs of one side differ that should be seeds of one recipe, as a sentence; None where they agree."""
    runs = [(run.generator, run.run) for run in arm.runs if run.run is not None]
    for name, record in runs[1:]:
        first_name, first = runs[0]
        differences = _differences(_of_recipe(first), _of_recipe(record), RECIPE, "recipe")
        differences += _of_decoding(decoding_of(first), decoding_of(record))
        if first.base.sha256 != record.base.sha256:
            differences += _differences(_of_base(Base(first.base)), _of_base(Base(record.base)), BASE, "base")
        found = [one for one in acting(differences) if not one.field.startswith("data.split")]
        if found:
            return f"{first_name} and {name} differ in {found[0].values}"
    return None


def _of_decoding(a: Mapping[str, JsonValue], b: Mapping[str, JsonValue]) -> list[Difference]:
    if not a or not b:
        return []
    of_a, of_b = (
        {f"decoding.{key}": NEUTRAL.get(key) if value is None else value for key, value in one.items()}
        for one in (a, b)
    )
    if "decoding.temperature" in of_a.keys() & of_b.keys():
        for one in (of_a, of_b):
            one.pop("decoding.greedy", None)  # is recorded beside the temperature, and follows from it
    for one, other in ((of_a, of_b), (of_b, of_a)):
        for field in other:
            one.setdefault(field, NEUTRAL.get(field.removeprefix("decoding.")))
    return _differences(of_a, of_b, (LIMIT, SETTINGS), "decoding")


def _circumstances(record: RunRecord) -> dict[str, JsonValue]:
    environment = (
        record.environment.model_dump(include={"device", "processes", "threads"}) if isinstance(record, IftRun) else {}
    )
    made = record.provenance.model_dump(include={"equiloss", "git_commit", "python", "platform", "libraries"})
    idle = {field: value for field, value in flatten({"recipe": record.recipe}).items() if field in IDLE}
    return {key: value for key, value in {**flatten(environment), **flatten(made), **idle}.items() if value}


def _of_recipe(record: RunRecord) -> dict[str, JsonValue]:
    """What was chosen for a fine-tuning, not measured, by dotted name."""
    recipe = {key: value for key, value in record.recipe.items() if key != "decoding"}
    template = record.template.model_dump(include={"name", "sha256"}, exclude_none=True)
    data = record.data.model_dump(mode="json", include={"sha256", "split"}, exclude_none=True)
    return flatten({"recipe": {"untie_head": False} | recipe, "template": template, "data": data})


def _of_base(base: Base) -> dict[str, JsonValue]:
    """What a base model was made from, by dotted name: its shape, its training config and its data; {} if unknown."""
    run = base.record.run
    if run is None:
        return {}
    made: dict[str, object] = {"model": LATER_FIELDS | base.record.config} if base.record.config else {}
    if run.kind:
        made["origin"] = ORIGINS.get(run.kind, run.kind)
    if run.recipe:
        made["tuned"] = {key: value for key, value in run.recipe.items() if key != "decoding"}
        made["tuned"] |= {"base": run.base.sha256 if run.base else None}
    if run.config:
        made["config"] = {section: values for section, values in run.config.items() if section != "model"}
        made["config"] |= {"train": {"backend": "torch", **run.train_settings, "processes": run.processes or 1}}
    if data := run.data:
        name = data.source.name if data.source else ""
        made["data"] = f"{name or data.directory or 'data'} ({data.sha256[:8] if data.sha256 else 'hash not known'})"
    return flatten(made)


def _differences(
    a: Mapping[str, JsonValue], b: Mapping[str, JsonValue], table: Sequence[Suspect], prefix: str
) -> list[Difference]:
    fields = [
        field
        for field in dict.fromkeys([*a, *b])
        if a.get(field) != b.get(field) and not is_seed(field) and field not in IDLE
    ]
    differences = [
        Difference(field, a.get(field), b.get(field), suspect_of(field, table, prefix), _inert(field, fields, a, b))
        for field in fields
    ]
    return sorted(differences, key=lambda one: -one.suspect.weight)


def _inert(field: str, fields: Sequence[str], a: Mapping[str, JsonValue], b: Mapping[str, JsonValue]) -> str:
    """Why a differing field cannot act; "" where it can."""
    table, _, name = field.rpartition(".")
    for unused in UNUSED:
        when = f"{table}.{unused.when}"
        if name in unused.fields and when in {*a, *b} and a.get(when) in unused.values and b.get(when) in unused.values:
            return unused.why
    if isinstance(a.get(field), list) and isinstance(b.get(field), list) and _sorted(a[field]) == _sorted(b[field]):
        return "equal but for the order"
    if (
        field == "template.name"
        and a.get("template.sha256") is not None
        and a["template.sha256"] == b.get("template.sha256")
    ):
        return "the texts are equal"
    if name in FACTORS:
        factors = [one for one in fields if one.rpartition(".")[0] == table and one.rpartition(".")[2] in FACTORS]
        of_a, of_b = (_product(side, factors) for side in (a, b))
        if of_a is not None and of_b is not None and of_a[0] == of_b[0]:
            return f"the effective batch is equal, {of_a[1]} = {of_b[1]}"
    return ""


def _product(side: Mapping[str, JsonValue], fields: Sequence[str]) -> tuple[float, str] | None:
    """The product of these fields (what is missing counts 1), and how it is written; None where one is no number."""
    values = [1 if side.get(field) is None else side[field] for field in fields]
    numbers = [value for value in values if isinstance(value, (int, float))]
    return (math.prod(numbers), " × ".join(map(str, numbers))) if len(numbers) == len(values) else None


def _sorted(value: JsonValue) -> list[str]:
    return sorted(json.dumps(one, sort_keys=True) for one in value) if isinstance(value, list) else []


def _seeds(a: Mapping[str, JsonValue], b: Mapping[str, JsonValue]) -> list[str]:
    return [field for field in dict.fromkeys([*a, *b]) if is_seed(field) and a.get(field) != b.get(field)]


def _short(value: JsonValue) -> str:
    text = "not set" if value is None else str(value)
    return text if len(text) <= 64 else f"{text[:12]}…{text[-8:]}" if " " not in text else text[:63] + "…"


def _plain(value: JsonValue) -> str | int | float | bool | None:
    return str(value) if isinstance(value, (list, dict)) else value
