"""A world's sizes: presets, and names such as `demo?people=50&biographies=1`."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl

from pydantic import BeforeValidator, Field, model_validator

from equiloss.config import Config, validate
from equiloss.errors import InputError
from pretrain.data.world.language import LANGUAGE
from pretrain.data.world.people import ATTRIBUTES, FIRST_NAMES, PHRASINGS, VALUES
from pretrain.data.world.skills import BY_NAME


def _names(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


class WorldConfig(Config):
    """Everything that a world is made from. Worlds that differ in one field share everything the field does not touch.

    Shares are weights among training documents. Test and validation documents are strangers, topics and skills in
    the same proportions, and `test_known` of known people; they depend on `seed`, sizes and shares, not on how the
    known people are told. `biographies`: how many biographies each known person has in all (0: a fresh one each time).
    `contamination`: how many documents that give away an instruction with its answer come on top of the others, as a
    share of them; `leaked_split` and `leaked_share`: from which split of the instructions, and which share of it.
    `validation_share` and `test_share` are of the instructions, whose split says which items those are.
    """

    seed: int = 0
    documents: int = Field(default=50_000, ge=1)
    test_documents: int = Field(default=600, ge=1)
    validation_documents: int = Field(default=200, ge=1)
    test_known: int = Field(default=0, ge=0)

    known_share: float = Field(default=0.3, ge=0)
    stranger_share: float = Field(default=0.2, ge=0)
    topic_share: float = Field(default=0.05, ge=0)
    skill_share: float = Field(default=0.45, ge=0)

    people: int = Field(default=60, ge=1)
    first_names: int = Field(default=30, ge=2, le=len(FIRST_NAMES))
    last_names: int = Field(default=40, ge=2, le=len(LANGUAGE.last))
    values: int = Field(default=16, ge=2, le=VALUES)
    attributes: int = Field(default=4, ge=1, le=len(ATTRIBUTES))
    phrasings: int = Field(default=PHRASINGS, ge=1, le=PHRASINGS)
    biographies: int = Field(default=0, ge=0)

    skills: Annotated[tuple[str, ...], BeforeValidator(_names)] = tuple(BY_NAME)
    list_words: int = Field(default=16, ge=8, le=len(LANGUAGE.lists))
    longest_list: int = Field(default=3, ge=2, le=8)
    largest_number: int = Field(default=5, ge=2, le=24)
    held_out_share: float = Field(default=0.2, gt=0, lt=1)

    contamination: float = Field(default=0.0, ge=0, le=1)
    leaked_split: Literal["train", "validation", "test"] = "test"
    leaked_share: float = Field(default=1.0, gt=0, le=1)

    fact_items: int = Field(default=1_000, ge=0)
    skill_items: int = Field(default=100, ge=0)
    validation_share: float = Field(default=0.05, ge=0, lt=1)
    test_share: float = Field(default=0.1, gt=0, lt=1)

    @model_validator(mode="after")
    def _consistent(self) -> WorldConfig:
        unknown = [name for name in self.skills if name not in BY_NAME]
        if unknown:
            raise ValueError(f"unknown skill {unknown[0]!r}; known: {', '.join(BY_NAME)}")
        if self.people > self.first_names * self.last_names // 2:
            raise ValueError(f"{self.people} people need more names: half of the names are left to strangers")
        if self.stranger_share + self.topic_share + (self.skill_share if self.skills else 0) <= 0:
            raise ValueError("strangers, topics and skills together need a share above 0: they are the test text")
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share and test_share leave no instructions to train on")
        return self


PRESETS = {
    "demo": WorldConfig(),
    "riddle": WorldConfig(
        documents=250_000,
        test_documents=1_000,
        people=200,
        attributes=5,
        first_names=len(FIRST_NAMES),
        last_names=len(LANGUAGE.last),
        values=VALUES,
        list_words=24,
    ),
    "tiny": WorldConfig(
        documents=300, test_documents=30, validation_documents=12, people=8, fact_items=20, skill_items=4
    ),
}


def parse(name: str) -> WorldConfig:
    """The config that a name such as `demo` or `world:demo?people=50&biographies=1` stands for.

    Raises: InputError for an unknown preset, key or value, with what is known.
    """
    preset, _, query = name.removeprefix("world:").partition("?")
    if preset not in PRESETS:
        raise InputError(f"no world named {preset!r}", f"known: {', '.join(PRESETS)}; then ?KEY=VALUE&KEY=VALUE")
    given = PRESETS[preset].model_dump()
    for part in query.split("&") if query else []:
        pairs = parse_qsl(part, keep_blank_values=True)
        if "=" not in part or not pairs:
            raise InputError(f"world:{name}: {part!r} is not KEY=VALUE", "write for example world:demo?people=50")
        given[pairs[0][0]] = pairs[0][1]
    return validate(WorldConfig, given, f"world:{name.removeprefix('world:')}")
