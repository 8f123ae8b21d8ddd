"""Topic text: short scenes from a small grammar, each with a few nouns of its own that keep coming back."""

from __future__ import annotations

from random import Random

from pretrain.data.world.language import LANGUAGE


def scene(rng: Random, sentences: int = 4) -> str:
    """A document of topic text: `sentences` sentences about three nouns."""
    nouns = rng.sample(LANGUAGE.nouns, 3)
    lines: list[str] = []
    for _ in range(sentences):
        x, y = rng.sample(nouns, 2)
        pattern = rng.choice(LANGUAGE.scenes)
        a, v, t = (rng.choice(words) for words in (LANGUAGE.adjectives, LANGUAGE.verbs, LANGUAGE.times))
        lines.append(pattern.format(x=x, y=y, a=a, v=v, t=t))
    return " ".join(lines)
