"""Facts to ask a base model for: from a JSON Lines file, or those of a built-in world. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from equiloss.files import read_jsonl
from equiloss.records.file_record import parse


class Fact(BaseModel):
    """A fact that the training text told. `told` are prefixes of that text up to the value; `asked` are fresh ones.

    A fresh prefix mentions the subject for the first time and leads straight to the value, in any wording.
    """

    model_config = ConfigDict(frozen=True, coerce_numbers_to_str=True)

    subject: str = Field(min_length=1)
    attribute: str = Field(min_length=1)
    value: str = Field(min_length=1)
    told: tuple[str, ...] = ()
    asked: tuple[str, ...] = Field(min_length=1)

    @property
    def key(self) -> str:
        """What pairs this fact between two models: "subject / attribute"."""
        return f"{self.subject} / {self.attribute}"


def read_facts(path: Path) -> list[Fact]:
    """Read facts: a JSON object a line with subject, attribute, value, told (a list) and asked (a list).

    Raises: InputError when the file is missing or broken, or a line lacks a field.
    """
    hint = "give subject, attribute, value, told and asked"
    return [parse(Fact, row, f"{path}: line {number}", hint) for number, row in enumerate(read_jsonl(path), start=1)]


def world_facts(name: str, most: int = 1000) -> list[Fact]:
    """The facts of a built-in world's known people, `told` as in the first training text about each.

    Raises: InputError for a name that stands for no world.
    """
    from pretrain.data.world import build, people
    from pretrain.data.world.config import parse

    known = build.known_people(parse(name))
    texts: dict[str, str] = {}
    waiting = {person.name for person in known}
    for document in build.documents(name):
        if not waiting:
            break
        if document.split == "train" and document.domain == "known":
            subject = next((name for name in waiting if name in document.text), None)
            if subject is not None:
                texts[subject] = document.text
                waiting.discard(subject)
    facts: list[Fact] = []
    for person, index in people.facts(known)[:most]:
        attribute, value = people.ATTRIBUTES[index], person.values[index]
        told: tuple[str, ...] = ()
        text = texts.get(person.name)
        if text is not None:
            place = value_place(text, attribute.sentences, value)
            told = (text[:place].rstrip(),) if place else ()
        asked = tuple(sentence.split("{v}")[0].format(s=person.name).rstrip() for sentence in attribute.sentences)
        facts.append(Fact(subject=person.name, attribute=people.NAMES[index], value=value, told=told, asked=asked))
    return facts


def value_place(text: str, sentences: Sequence[str], value: str) -> int | None:
    """Where the value stands in a text that uses one of these sentences for it; None when none is there."""
    for sentence in sentences:
        before, _, after = sentence.partition("{v}")
        middle = before.partition("{s}")[2]  # the words between the subject and the value
        place = text.find(f"{middle}{value}{after}")
        if place >= 0:
            return place + len(middle)
    return None
