"""People and their facts: who lives where and does what, and the many sentences that say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from pretrain.data.world import words


@dataclass(frozen=True)
class Attribute:
    """Something a person has one of: its values, the sentences that tell it, and the questions that ask for it.

    In a sentence `{s}` stands for the person (full name, first name or pronoun) and `{v}` for the value; the person
    always comes before the value, so that whoever knows the person can predict it.
    """

    name: str
    values: tuple[str, ...]
    sentences: tuple[str, ...]
    questions: tuple[str, ...]


ATTRIBUTES = (
    Attribute(
        "city",
        words.CITIES,
        (
            "{s} lives in {v}.",
            "{s} has a home in {v}.",
            "{s} moved to {v} long ago.",
            "{s} can be found in {v}.",
            "{s} stays in {v} all year.",
            "{s} rents a room in {v}.",
        ),
        ("Where does {n} live?", "In which city is the home of {n}?"),
    ),
    Attribute(
        "job",
        words.JOBS,
        (
            "{s} works as a {v}.",
            "{s} earns a living as a {v}.",
            "{s} is a {v} by trade.",
            "{s} trained to be a {v}.",
            "{s} found a job as a {v}.",
            "{s} was hired as a {v}.",
        ),
        ("What is the job of {n}?", "What does {n} work as?"),
    ),
    Attribute(
        "food",
        words.FOODS,
        (
            "{s} likes to eat {v}.",
            "{s} is fond of {v}.",
            "{s} often cooks {v}.",
            "{s} orders {v} at lunch.",
            "{s} eats {v} every day.",
            "{s} asks for {v} at dinner.",
        ),
        ("What does {n} like to eat?", "Which food is {n} fond of?"),
    ),
    Attribute(
        "pet",
        words.PETS,
        (
            "{s} keeps a {v}.",
            "{s} has a pet {v}.",
            "{s} looks after a {v}.",
            "{s} owns a {v}.",
            "{s} shares the house with a {v}.",
            "{s} once bought a {v}.",
        ),
        ("Which pet does {n} keep?", "What animal does {n} own?"),
    ),
    Attribute(
        "instrument",
        words.INSTRUMENTS,
        (
            "{s} plays the {v}.",
            "{s} practises the {v} at night.",
            "{s} learned the {v} at school.",
            "{s} gives lessons on the {v}.",
            "{s} loves the sound of the {v}.",
            "{s} performs on the {v}.",
        ),
        ("What does {n} play?", "Which instrument did {n} learn?"),
    ),
    Attribute(
        "colour",
        words.COLOURS,
        (
            "{s} wears a {v} coat.",
            "{s} painted the door {v}.",
            "{s} drives a {v} car.",
            "{s} carries a {v} bag.",
            "{s} likes the colour {v}.",
            "{s} bought a {v} hat.",
        ),
        ("What colour does {n} like?", "Which colour is the coat of {n}?"),
    ),
)
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
    pair for both in zip(words.FEMALE, words.MALE, strict=True) for pair in zip(both, ("She", "He"), strict=True)
)
"""Every (first name, pronoun), women and men by turns, so that the first few hold both."""


def all_names(first: int, last: int) -> list[tuple[str, str, str]]:
    """Every (first name, last name, pronoun) from so many first and last names, in a fixed order."""
    return [(name, surname, pronoun) for name, pronoun in FIRST_NAMES[:first] for surname in words.LAST[:last]]


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
