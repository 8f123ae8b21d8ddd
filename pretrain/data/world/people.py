"""People and their facts: who lives where and does what, and the many sentences that say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from pretrain.data.world.language import LANGUAGE

ATTRIBUTES = tuple(LANGUAGE.attributes.values())
NAMES = tuple(LANGUAGE.attributes)
PHRASINGS = len(ATTRIBUTES[0].sentences)
VALUES = min(len(attribute.values) for attribute in ATTRIBUTES)


@dataclass(frozen=True)
class Person:
    """A person: a name, a pronoun, and one value for each attribute, in the order of ATTRIBUTES."""

    first: str
    last: str
    pronoun: str
    values: tuple[str, ...]

    @property
    def name(self) -> str:
        """First and last name: what makes a person unique in the world."""
        return f"{self.first} {self.last}"


FIRST_NAMES = tuple(
    pair for both in zip(LANGUAGE.female, LANGUAGE.male, strict=True) for pair in zip(both, ("She", "He"), strict=True)
)
"""Every (first name, pronoun), women and men by turns, so that the first few hold both."""


def all_names(first: int, last: int) -> list[tuple[str, str, str]]:
    """Every (first name, last name, pronoun) from so many first and last names, in a fixed order."""
    return [(name, surname, pronoun) for name, pronoun in FIRST_NAMES[:first] for surname in LANGUAGE.last[:last]]


def draw_person(name: tuple[str, str, str], attributes: int, values: int, rng: Random) -> Person:
    """A person of that name: the first `attributes` facts, each one of the first `values` values there are."""
    first, last, pronoun = name
    return Person(first, last, pronoun, tuple(rng.choice(a.values[:values]) for a in ATTRIBUTES[:attributes]))


def biography(person: Person, phrasings: int, rng: Random) -> str:
    """One biography: every fact once, in a random order and random words (the first `phrasings` sentences of each).

    The first sentence has the full name; the others the full name, the first name or the pronoun.
    """
    order = list(range(len(person.values)))
    rng.shuffle(order)
    sentences: list[str] = []
    for place, index in enumerate(order):
        subject = person.name if place == 0 else rng.choice((person.name, person.first, person.pronoun))
        pattern = ATTRIBUTES[index].sentences[rng.randrange(phrasings)]
        sentences.append(pattern.format(s=subject, v=person.values[index]))
    return " ".join(sentences)


def question(person: Person, index: int, rng: Random) -> tuple[str, str]:
    """A question about the person's attribute number `index`, and its answer."""
    pattern = rng.choice(ATTRIBUTES[index].questions)
    return pattern.format(n=person.name), person.values[index]


def facts(people: Sequence[Person]) -> list[tuple[Person, int]]:
    """Every (person, attribute number), person by person."""
    return [(person, index) for person in people for index in range(len(person.values))]
