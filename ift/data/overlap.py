"""Test items that training has seen: the same question again, or nearly so, or text of the base's corpus."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from equiloss.records.ift_run import CorpusOverlap, NearDuplicate, NearOverlap, Overlap, OverlapShare
from equiloss.records.response import Example

SHINGLE_WORDS = 3
NEAR = 0.7
"""Jaccard similarity of the word 3-grams of question and answer from which two items count as near duplicates."""
CORPUS_WORDS = 8
"""A run of so many words that also stands in the pretraining text counts as overlap with it."""
SHORT_WORDS = 4
"""A question of fewer than CORPUS_WORDS words, but at least so many, counts where it stands in the text whole."""
SHOWN = 20


def words(text: str) -> list[str]:
    """The words of a text, lower case, without punctuation."""
    return re.findall(r"\w+", text.casefold())


def grams(text: str, n: int) -> set[str]:
    """The n-grams of a text's words; the whole text where it is shorter."""
    found = words(text)
    return set(runs(found, min(n, len(found)))) if found else set()


def runs(found: Sequence[str], n: int) -> Iterator[str]:
    """Every run of n words."""
    return (" ".join(found[i : i + n]) for i in range(len(found) - n + 1))


def question(example: Example) -> str:
    """What an item asks, as one text."""
    return f"{example.instruction}\n{example.input}"


def near_duplicates(test: Sequence[Example], train: Sequence[Example]) -> list[NearDuplicate]:
    """Each test item that a training item resembles: the most similar one and their Jaccard similarity, exactly.

    An inverted index of word 3-grams finds every pair that shares one, so nothing is estimated or missed.
    """
    index: defaultdict[str, list[int]] = defaultdict(list)
    sizes: list[int] = []
    for number, example in enumerate(train):
        own = grams(question(example), SHINGLE_WORDS) | grams(example.reference, SHINGLE_WORDS)
        sizes.append(len(own))
        for gram in own:
            index[gram].append(number)
    found: list[NearDuplicate] = []
    for example in test:
        own = grams(question(example), SHINGLE_WORDS) | grams(example.reference, SHINGLE_WORDS)
        shared: defaultdict[int, int] = defaultdict(int)
        for gram in own:
            for number in index.get(gram, ()):
                shared[number] += 1
        similarity, best = max(
            ((count / (len(own) + sizes[number] - count), number) for number, count in shared.items()),
            default=(0.0, -1),
        )
        if similarity >= NEAR:
            pair = NearDuplicate(id=example.id, train_id=train[best].id, similarity=round(similarity, 4))
            found.append(pair)
    return found


def in_corpus(test: Sequence[Example], texts: Iterable[str]) -> list[str]:
    """Ids of the test items that the texts hold: a run of 8 words of question or reference, or a short question whole.

    A short question has 4 to 7 words. A short reference alone proves nothing.
    """
    wanted: defaultdict[int, defaultdict[bytes, set[str]]] = defaultdict(lambda: defaultdict(set))
    for example in test:
        for text, least in ((question(example), SHORT_WORDS), (example.reference, CORPUS_WORDS)):
            found = words(text)
            length = min(len(found), CORPUS_WORDS)
            if length >= least:
                for run in runs(found, length):
                    wanted[length][_key(run)].add(example.id)
    seen: set[str] = set()
    nobody: set[str] = set()
    for text in texts if wanted else ():
        found = words(text)
        for length, grams_of in wanted.items():
            for run in runs(found, length):
                seen |= grams_of.get(_key(run), nobody)
    return [example.id for example in test if example.id in seen]


def _key(gram: str) -> bytes:
    return hashlib.blake2b(gram.encode(), digest_size=8).digest()


def report(parts: Mapping[str, Sequence[Example]], shards: Path | None = None) -> Overlap:
    """Duplicates of test items among the training items, and overlap with the pretraining text in `shards`.

    exact: the same question; near: similar question and answer. Shares are of the test items; None: not looked for.
    `ids`: the first of them, of those in the corpus all.
    """
    train, test = parts["train"], parts["test"]
    asked = {" ".join(words(question(one))) for one in train}
    exact = [one.id for one in test if " ".join(words(question(one))) in asked]
    near = near_duplicates(test, train)

    total, corpus = len(test), None
    if shards is not None:
        ids = in_corpus(test, _texts(shards))
        corpus = CorpusOverlap.of(ids, total, words=CORPUS_WORDS, shards=str(shards))
    return Overlap(
        exact=OverlapShare.of(exact, total, SHOWN),
        near=NearOverlap.of([one.id for one in near], total, SHOWN, threshold=NEAR, pairs=near[:SHOWN]),
        corpus=corpus,
    )


def _texts(directory: Path) -> Iterable[str]:
    """The documents of the training split of shards, as text."""
    from pretrain.data.shards import Shards

    shards = Shards.open(directory)
    split = shards.split("train")
    ends = [*split.starts[1:].tolist(), len(split.tokens)]
    for start, end in zip(split.starts.tolist(), ends, strict=True):
        yield shards.tokenizer.decode(split.tokens[start : end - 1].tolist())
