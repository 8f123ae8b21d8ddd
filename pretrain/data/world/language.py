"""The words and sentences of the world, as language.toml lists them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from equiloss.config import read_toml

Words = Annotated[tuple[str, ...], BeforeValidator(str.split)]


class Attribute(BaseModel):
    """Something a person has one of: its values, the sentences that tell it, and the questions that ask for it."""

    model_config = ConfigDict(frozen=True)

    values: Words
    sentences: tuple[str, ...]
    questions: tuple[str, ...]


class SkillTexts(BaseModel):
    """What surrounds a skill's inputs (of a kind: "list", "sum", "pair") and answers."""

    model_config = ConfigDict(frozen=True)

    kind: str
    practice: tuple[str, ...]
    instructions: tuple[str, ...]


class Language(BaseModel):
    """All of it. The order counts: a world takes the first so many names, words, values and attributes."""

    model_config = ConfigDict(frozen=True)

    female: Words
    male: Words
    last: Words
    lists: Words
    nouns: Words
    adjectives: Words
    verbs: Words
    times: Words
    scenes: tuple[str, ...]
    attributes: dict[str, Attribute]
    skills: dict[str, SkillTexts]


LANGUAGE = Language.model_validate(read_toml(Path(__file__).with_name("language.toml")))
