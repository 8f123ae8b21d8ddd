"""Skills: tasks with one right answer that can be computed, and the practice sentences that show how they go."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from pretrain.world import words


@dataclass(frozen=True)
class Skill:
    """A task: how an input is drawn, how it is answered, and the words around both.

    `draw(rng, words, longest, largest)` gives an input; `practice` are sentences with `{x}` (the input) and `{y}`
    (the answer); `instructions` are what a person would ask, the input being given apart.
    """

    name: str
    draw: Callable[[Random, Sizes], str]
    answer: Callable[[str], str]
    practice: tuple[str, ...]
    instructions: tuple[str, ...]


@dataclass(frozen=True)
class Sizes:
    """How large the inputs are: words to make lists of, the longest list, the largest number."""

    words: int
    longest: int
    largest: int


def _words(rng: Random, sizes: Sizes) -> str:
    return " ".join(rng.sample(words.LIST_WORDS[: sizes.words], rng.randint(2, sizes.longest)))


def _sum(rng: Random, sizes: Sizes) -> str:
    a = rng.randint(0, sizes.largest)
    b = rng.randint(0, sizes.largest)
    return f"{a} plus {b}" if rng.random() < 0.5 else f"{max(a, b)} minus {min(a, b)}"


def _pair(rng: Random, sizes: Sizes) -> str:
    a, b = rng.sample(range(sizes.largest + 1), 2)
    return f"{a} {rng.choice(('more', 'less'))} than {b}"


def _calculate(text: str) -> str:
    a, sign, b = text.split()
    return str(int(a) + int(b) if sign == "plus" else int(a) - int(b))


def _compare(text: str) -> str:
    a, sign, _, b = text.split()
    return "yes" if (int(a) > int(b)) == (sign == "more") else "no"


SKILLS = (
    Skill(
        "copy",
        _words,
        lambda x: x,
        ("Say {x} and again {x}.", "One wrote {x} and the other wrote {x}."),
        ("Repeat the words.", "Copy the list."),
    ),
    Skill(
        "reverse",
        _words,
        lambda x: " ".join(reversed(x.split())),
        ("From the back {x} reads {y}.", "Turn {x} around to get {y}."),
        ("Reverse the list.", "Read the words from the back."),
    ),
    Skill(
        "count",
        _words,
        lambda x: str(len(x.split())),
        ("The list {x} has length {y}.", "Counting {x} gives {y}."),
        ("Count the words.", "What is the length of the list?"),
    ),
    Skill(
        "upper-case",
        _words,
        str.upper,
        ("In capitals {x} becomes {y}.", "Shout {x} as {y}."),
        ("Write the words in capitals.", "Shout the list."),
    ),
    Skill(
        "sort",
        _words,
        lambda x: " ".join(sorted(x.split())),
        ("In order {x} becomes {y}.", "Sorted from first to last {x} reads {y}."),
        ("Sort the words.", "Put the list in order."),
    ),
    Skill(
        "arithmetic",
        _sum,
        _calculate,
        ("We know that {x} is {y}.", "The result of {x} is {y}."),
        ("Find the result.", "How much is it?"),
    ),
    Skill(
        "compare",
        _pair,
        _compare,
        ("Is {x}? The answer is {y}.", "Asked if {x} they said {y}."),
        ("Yes or no?", "Is it true?"),
    ),
)
BY_NAME = {skill.name: skill for skill in SKILLS}


def held_out(skill: str, x: str, share: float) -> bool:
    """Whether an item is kept out of every training text: decided by a hash of the item alone, so for all worlds.

    `share` of the items are kept out.
    """
    digest = hashlib.sha256(f"{skill}:{x}".encode()).digest()
    return int.from_bytes(digest[:4], "big") < share * 2**32


def draw(skill: Skill, rng: Random, sizes: Sizes, share: float, held: bool) -> tuple[str, str]:
    """An input of the skill and its answer, from the held-out items or from the others."""
    while True:
        x = skill.draw(rng, sizes)
        if held_out(skill.name, x, share) == held:
            return x, skill.answer(x)


def exercises(skills: list[Skill], rng: Random, sizes: Sizes, share: float, held: bool, lines: int) -> str:
    """A document of practice: `lines` sentences, each an item of a random skill with its answer."""
    sentences: list[str] = []
    for _ in range(lines):
        skill = rng.choice(skills)
        x, y = draw(skill, rng, sizes, share, held)
        sentences.append(rng.choice(skill.practice).format(x=x, y=y))
    return " ".join(sentences)
