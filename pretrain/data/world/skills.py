"""Skills: tasks with one right answer that can be computed, and the practice text that shows how they go."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from pretrain.data.world import words


@dataclass(frozen=True)
class Sizes:
    """How large inputs are: words for lists, the longest list, the largest number to add (four times it to compare)."""

    words: int
    longest: int
    largest: int


@dataclass(frozen=True)
class Skill:
    """A task: the kind of input it takes, how it is answered, and the words around both.

    Practice text introduces an input of a kind once and then answers it: `practice` are sentences with `{y}` (the
    answer) and, for kinds that need no introduction, `{x}` (the input). `instructions` are what a person would ask,
    the input being given apart.
    """

    name: str
    kind: str
    answer: Callable[[str], str]
    practice: tuple[str, ...]
    instructions: tuple[str, ...]


def _calculate(text: str) -> str:
    return str(sum(map(int, text.split(" plus "))))


def _compare(text: str) -> str:
    a, b = text.split(" more than ")
    return "yes" if int(a) > int(b) else "no"


SKILLS = (
    Skill(
        "copy",
        "list",
        lambda x: x,
        ("Again: {y}.", "Once more: {y}."),
        ("Repeat the words.", "Copy the list."),
    ),
    Skill(
        "reverse",
        "list",
        lambda x: " ".join(reversed(x.split())),
        ("From the back: {y}.", "Turned around: {y}."),
        ("Reverse the list.", "Read the words from the back."),
    ),
    Skill(
        "count",
        "list",
        lambda x: str(len(x.split())),
        ("Length: {y}.", "Counted: {y}."),
        ("Count the words.", "What is the length of the list?"),
    ),
    Skill(
        "upper-case",
        "list",
        str.upper,
        ("In capitals: {y}.", "Shouted: {y}."),
        ("Write the words in capitals.", "Shout the list."),
    ),
    Skill(
        "sort",
        "list",
        lambda x: " ".join(sorted(x.split())),
        ("In order: {y}.", "Sorted: {y}."),
        ("Sort the words.", "Put the list in order."),
    ),
    Skill(
        "arithmetic",
        "sum",
        _calculate,
        ("So {x} is {y}.", "And {x} makes {y}."),
        ("Find the result.", "How much is it?"),
    ),
    Skill(
        "compare",
        "pair",
        _compare,
        ("Is {x}? Clearly {y}.", "Surely {x}? They say {y}."),
        ("Yes or no?", "Is it true?"),
    ),
)
LINES = 6
"""Sentences in a document of practice with numbers."""
BY_NAME = {skill.name: skill for skill in SKILLS}


def _draw_any(kind: str, rng: Random, sizes: Sizes) -> str:
    if kind == "list":
        return " ".join(rng.sample(words.LIST_WORDS[: sizes.words], rng.randint(2, sizes.longest)))
    if kind == "sum":
        return " plus ".join(str(rng.randint(0, sizes.largest)) for _ in range(3))
    a, b = rng.sample(range(4 * sizes.largest + 1), 2)
    return f"{a} more than {b}"


def held_out(x: str, share: float) -> bool:
    """Whether an input is kept out of every training text: decided by a hash of it alone, so for all worlds.

    `share` of the inputs are kept out.
    """
    digest = hashlib.sha256(x.encode()).digest()
    return int.from_bytes(digest[:4], "big") < share * 2**32


def draw(kind: str, rng: Random, sizes: Sizes, share: float, held: bool) -> str:
    """An input of a kind ("list", "sum", "pair"), from the held-out inputs or from the others."""
    while True:
        x = _draw_any(kind, rng, sizes)
        if held_out(x, share) == held:
            return x


KINDS = {"list": 5, "pair": 2, "sum": 3}
"""How many of ten documents of practice are on each kind of input."""


def exercises(skills: Sequence[Skill], rng: Random, sizes: Sizes, share: float, held: bool) -> str:
    """A document of practice: one list and what each list skill in turn makes of it, or LINES sums or pairs."""
    kinds = sorted({skill.kind for skill in skills})
    kind = rng.choices(kinds, [KINDS[kind] for kind in kinds])[0]
    able = [skill for skill in skills if skill.kind == kind]
    if kind == "list":
        x = draw(kind, rng, sizes, share, held)
        told = rng.sample(able, len(able))
        return f"The list is {x}. " + " ".join(rng.choice(s.practice).format(y=s.answer(x)) for s in told)
    sentences: list[str] = []
    for _ in range(LINES):
        x = draw(kind, rng, sizes, share, held)
        skill = rng.choice(able)
        sentences.append(rng.choice(skill.practice).format(x=x, y=skill.answer(x)))
    return " ".join(sentences)
