"""Topic text: short scenes from a small grammar, each with a few nouns of its own that keep coming back."""

from __future__ import annotations

from random import Random

from pretrain.data.world import words

_PATTERNS = (
    "The {a} {x} {v} the {y}.",
    "In {t} the {x} {v} the {a} {y}.",
    "Near the {x} there is a {a} {y}.",
    "The {x} is {a} in {t}.",
    "A {a} {x} stands behind the {y}.",
    "People say that the {x} {v} the {y}.",
)


def scene(rng: Random, sentences: int = 4) -> str:
    """A document of topic text: `sentences` sentences about three nouns."""
    nouns = rng.sample(words.NOUNS, 3)
    lines: list[str] = []
    for _ in range(sentences):
        x, y = rng.sample(nouns, 2)
        lines.append(
            rng.choice(_PATTERNS).format(
                x=x, y=y, a=rng.choice(words.ADJECTIVES), v=rng.choice(words.VERBS), t=rng.choice(words.TIMES)
            )
        )
    return " ".join(lines)
