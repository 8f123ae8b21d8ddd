"""Which split a document goes to: decided by its text alone, and equal texts are kept once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from equiloss.errors import InputError
from equiloss.records.token_data import DuplicatesRemoved, SplitName
from pretrain.data.document import Document
from pretrain.data.shards import SPLITS

Kept = tuple[Document, SplitName, int]
"""A document that stays, its split, and its UTF-8 bytes."""


@dataclass(frozen=True)
class Fractions:
    """The shares of documents that go to validation and to test; the rest is for training."""

    validation: float = 0.05
    test: float = 0.05

    def __post_init__(self) -> None:
        if min(self.validation, self.test) < 0 or self.validation + self.test >= 1:
            raise InputError(
                f"--validation {self.validation} and --test {self.test} leave nothing to train on",
                "both are shares from 0 on, together under 1",
            )


USUAL = Fractions()


def choose_split(digest: bytes, seed: int, fractions: Fractions) -> SplitName:
    """The split of a document, from its text's digest and the seed alone: adding documents moves none."""
    keyed = hashlib.blake2b(digest, digest_size=8, key=f"split:{seed}".encode()).digest()
    place = int.from_bytes(keyed, "big") / 2**64
    if place < fractions.test:
        return "test"
    return "validation" if place < fractions.test + fractions.validation else "train"


class Splitter:
    """Sends documents to their splits, and counts those that it leaves out; about 100 bytes of memory a document.

    Of equal texts the first is kept; all in one split, where the source sets the split: it repeats on purpose.
    """

    def __init__(self, seed: int, fractions: Fractions) -> None:
        self.seed, self.fractions = seed, fractions
        self.empty = self.within = self.across = 0
        self._split_of: dict[bytes, SplitName] = {}

    @property
    def duplicates(self) -> DuplicatesRemoved:
        """The documents left out because their text was seen before."""
        return DuplicatesRemoved(within_splits=self.within, across_splits=self.across)

    @property
    def read(self) -> int:
        """The empty documents, and the different texts."""
        return self.empty + len(self._split_of)

    def place(self, data: bytes, asked: str | None, again: bool = False) -> SplitName | None:
        """The split of a document with this content (`asked`: as its source says); None for a duplicate.

        One that comes `again` on purpose is kept in training alone.

        Raises: InputError for a split that there is not.
        """
        digest = hashlib.blake2b(data, digest_size=16).digest()
        split = asked or choose_split(digest, self.seed, self.fractions)
        if split not in SPLITS:
            raise InputError(f"a document of the split {split!r}", f"splits: {', '.join(SPLITS)}")
        first = self._split_of.get(digest)
        if first is None:
            self._split_of[digest] = split
        elif again:
            return split if split == "train" else None
        elif first != split:
            self.across += 1
            return None
        elif asked is None:
            self.within += 1
            return None
        return split

    def keep(self, documents: Iterable[Document]) -> Iterator[Kept]:
        """The documents that stay: neither white space alone nor seen before."""
        for document in documents:
            if not (document.text.strip() or document.ids):
                self.empty += 1
                continue
            data = document.text.encode("utf-8", "replace")  # a lone surrogate becomes "?", as no encoding can hold it
            split = self.place(document.ids or data, document.split, document.again)
            if split is not None:
                yield replace(document, text=data.decode(), split=split), split, document.size or len(data)
