"""What differs between A and B by their records: in the recipe, the decoding, and the making of the base models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from equiloss.config import flatten
from equiloss.records.diagnosis import Row
from equiloss.records.ift_run import RunRecord
from judge.diagnose.case import Base, Case
from judge.diagnose.suspects import BASE, IDLE, RECIPE, SEEDS, Suspect, suspect_of

DECODING = ("max_new_tokens", "temperature", "top_k", "top_p", "repetition_penalty")
"""What a record's `decoding` says about how answers were generated; the seed of sampling is not a setting."""

LATER_FIELDS: dict[str, JsonValue] = {"out_bias": True, "norm": "var", "init": "gpt2"}
"""Fields of a model's shape that older records lack, and what all models had then."""


@dataclass(frozen=True)
class Difference:
    """A field in which A's and B's records differ."""

    field: str
    a: JsonValue
    b: JsonValue
    suspect: Suspect

    @property
    def says(self) -> str:
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


def by_cause(differences: Iterable[Difference]) -> dict[str, list[Difference]]:
    """Differences by the cause that they stand for."""
    grouped: dict[str, list[Difference]] = {}
    for one in differences:
        grouped.setdefault(one.suspect.cause, []).append(one)
    return grouped


def same_base(case: Case) -> bool:
    """Whether both sides are known to have started from one checkpoint."""
    return case.a.base.sha256 is not None and case.a.base.sha256 == case.b.base.sha256


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
    return _differences(a, b, BASE, "base") if a and b else None


def only_base_seeds(case: Case) -> bool:
    """Whether the base models' making is known to differ in nothing but seeds."""
    a, b = _of_base(case.a.base), _of_base(case.b.base)
    return base_differences(case) == [] and bool(_seeds(a, b))


def decoding_differences(case: Case) -> dict[str, tuple[JsonValue, JsonValue]]:
    """The decoding settings that differ, A's and B's value; {} where they are equal or not recorded."""
    a, b = decoding_of(case.a.record), decoding_of(case.b.record)
    if not a or not b:
        return {}
    return {key: (a.get(key), b.get(key)) for key in DECODING if a.get(key) != b.get(key)}


def decoding_of(record: RunRecord | None) -> Mapping[str, JsonValue]:
    """How a run's answers were generated; {} where it is not recorded."""
    if record is None:
        return {}
    of_recipe = record.recipe.get("decoding")
    return record.decoding or (of_recipe if isinstance(of_recipe, dict) else {})


def only_seeds_differ(case: Case) -> bool:
    """Whether A and B are known to differ in nothing but seeds, in fine-tuning and in pretraining."""
    if case.a.record is None or case.b.record is None or recipe_differences(case) or decoding_differences(case):
        return False
    return same_base(case) or only_base_seeds(case)


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
    if run.config:
        made["config"] = {section: values for section, values in run.config.items() if section != "model"}
    if data := run.data:
        name = data.source.name if data.source else ""
        made["data"] = f"{name or data.directory or 'data'} ({data.sha256[:8] if data.sha256 else 'hash not known'})"
    return flatten(made)


def _differences(
    a: Mapping[str, JsonValue], b: Mapping[str, JsonValue], table: Sequence[Suspect], prefix: str
) -> list[Difference]:
    differences = [
        Difference(field, a.get(field), b.get(field), suspect_of(field, table, prefix))
        for field in dict.fromkeys([*a, *b])
        if a.get(field) != b.get(field) and field not in SEEDS and field not in IDLE
    ]
    return sorted(differences, key=lambda one: -one.suspect.weight)


def _seeds(a: Mapping[str, JsonValue], b: Mapping[str, JsonValue]) -> list[str]:
    return [field for field in dict.fromkeys([*a, *b]) if field in SEEDS and a.get(field) != b.get(field)]


def _short(value: JsonValue) -> str:
    text = "not set" if value is None else str(value)
    return text if len(text) <= 64 else f"{text[:12]}…{text[-8:]}" if " " not in text else text[:63] + "…"


def _plain(value: JsonValue) -> str | int | float | bool | None:
    return str(value) if isinstance(value, (list, dict)) else value
