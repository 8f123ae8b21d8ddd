"""Skills: tasks with one right answer that can be computed, and the practice text that shows how they go."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from pretrain.data.world.language import LANGUAGE, SkillTexts


@dataclass(frozen=True)
class Sizes:
    """How large inputs are: words for lists, the longest list, the largest number to add (four times it to compare)."""

    words: int
    longest: int
    largest: int


def _compare(text: str) -> str:
    a, b = text.split(" more than ")
    return "yes" if int(a) > int(b) else "no"


ANSWERS: dict[str, Callable[[str], str]] = {
    "copy": str,
    "reverse": lambda x: " ".join(reversed(x.split())),
    "count": lambda x: str(len(x.split())),
    "upper-case": str.upper,
    "sort": lambda x: " ".join(sorted(x.split())),
    "arithmetic": lambda x: str(sum(map(int, x.split(" plus ")))),
    "compare": _compare,
}


@dataclass(frozen=True)
class Skill:
    """A task: how it is answered, and the texts around its inputs and answers."""

    name: str
    texts: SkillTexts

    def answer(self, x: str) -> str:
        """The right answer to an input."""
        return ANSWERS[self.name](x)


LINES = 6
"""Sentences in a document of practice with numbers."""
BY_NAME = {name: Skill(name, texts) for name, texts in LANGUAGE.skills.items()}


def _draw_any(kind: str, rng: Random, sizes: Sizes) -> str:
    if kind == "list":
        return " ".join(rng.sample(LANGUAGE.lists[: sizes.words], rng.randint(2, sizes.longest)))
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
    kinds = sorted({skill.texts.kind for skill in skills})
    kind = rng.choices(kinds, [KINDS[kind] for kind in kinds])[0]
    able = [skill for skill in skills if skill.texts.kind == kind]
    if kind == "list":
        x = draw(kind, rng, sizes, share, held)
        answers = (rng.choice(s.texts.practice).format(y=s.answer(x)) for s in rng.sample(able, len(able)))
        return f"The list is {x}. " + " ".join(answers)
    sentences: list[str] = []
    for _ in range(LINES):
        x = draw(kind, rng, sizes, share, held)
        skill = rng.choice(able)
        sentences.append(rng.choice(skill.texts.practice).format(x=x, y=skill.answer(x)))
    return " ".join(sentences)
