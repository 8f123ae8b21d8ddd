"""Documents of one set of tokens that stand in another: by equal tokens, or by runs of 13 tokens that both have."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equiloss import tokenizer as tokenizers
from equiloss.errors import InputError
from equiloss.records.token_data import ExcludedText, TokenOverlap
from pretrain.data.shards import Shards
from pretrain.data.token_files import SUFFIX, documents_of, open_tokens

if TYPE_CHECKING:
    from tiktoken import Encoding

GRAM_TOKENS = 13
"""The run of tokens that counts as shared (13-grams, as in Brown et al., arXiv 2005.14165, appendix C)."""
THRESHOLD = 0.5
"""The share of a document's runs from which it counts as standing in the other text."""
CHUNK_TOKENS = 1 << 16  # small enough for the cache
SHOWN = 20
REFERENCE = re.compile(r"(?P<data>.+?)(?::(?P<split>train|validation|test))?(?::(?P<start>\d+):(?P<count>\d+))?")
_FACTOR, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)

Tokens = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class TokenText:
    """A stretch of tokens, read piece by piece: what it is called, its ids from `start` to `stop`, its tokenizer."""

    name: str
    ids: Any
    start: int
    stop: int
    encoding: Encoding

    def documents(self) -> Iterator[NDArray[np.int64]]:
        """The ids of each document, without its end of text. A stretch may cut its first and its last."""
        return documents_of(self.ids, self.name, self.encoding, self.start, self.stop)

    def pieces(self) -> Iterator[NDArray[np.uint64]]:
        """All ids in pieces that share GRAM_TOKENS - 1 of them, so that no run is cut."""
        for start in range(self.start, self.stop, CHUNK_TOKENS):
            yield np.asarray(self.ids[start : min(self.stop, start + CHUNK_TOKENS + GRAM_TOKENS - 1)]).astype(np.uint64)


def open_text(reference: str, split: str, tokenizer: Callable[[], Encoding], stack: ExitStack) -> TokenText:
    """The tokens that DATA[:SPLIT[:START:COUNT]] names; START and COUNT are in tokens.

    DATA is a data directory, a token file (one vector: it is all of it), or a directory of token files. `split`: what
    is meant where none is named; `tokenizer`: what made the tokens of token files. Raises: InputError when there is no
    such thing, or nothing in it.
    """
    match = REFERENCE.fullmatch(reference)
    data = Path(match["data"] if match and not Path(reference).exists() else reference)
    asked = match["split"] if match else None
    file: Any
    if data.suffix == SUFFIX:
        if asked:
            raise InputError(f"{reference}: a token file has no splits", f"name a stretch of it: {data}:START:COUNT")
        file, encoding = open_tokens(data, stack), tokenizer()
    elif (data / f"{asked or split}{SUFFIX}").is_file():
        file, encoding = open_tokens(data / f"{asked or split}{SUFFIX}", stack), tokenizer()
    else:
        shards = Shards.open(data)
        file, encoding = shards.split(asked or split).tokens, shards.tokenizer
    count = int((file.shape if hasattr(file, "shape") else file.get_shape())[0])
    start = int(match["start"]) if match and match["start"] else 0
    stop = start + int(match["count"]) if match and match["start"] else count
    if not start < stop <= count:
        raise InputError(f"{reference}: tokens {start:,} to {stop:,} of {count:,}", "name a stretch that is there")
    return TokenText(reference, file, start, stop, encoding)


class HeldBack:
    """Documents to be found in other text, by their runs of tokens. Memory: about 24 bytes for each of their tokens.

    Those shorter than a run are found where a whole document has the same tokens.
    """

    def __init__(self, documents: Iterable[Tokens]) -> None:
        self.documents: list[NDArray[np.uint32]] = [np.asarray(ids, np.uint32) for ids in documents]
        self.short = {ids.tobytes(): False for ids in self.documents if 0 < len(ids) < GRAM_TOKENS}
        runs: list[NDArray[np.uint64]] = [hashes(ids) for ids in self.documents]
        self.counts = np.array([len(keys) for keys in runs], np.int64)  # (D,)
        keys, first = np.unique(np.concatenate([*runs, np.empty(0, np.uint64)]), return_index=True)
        self.keys: NDArray[np.uint64] = keys
        self.owner = np.repeat(np.arange(len(runs)), self.counts)[first]  # the first document that has the run
        self.found = np.zeros(len(keys), bool)
        bits = min(28, max(16, len(keys).bit_length() + 4))
        self._shift = np.uint64(64 - bits)
        self._table = np.zeros(1 << bits, bool)
        self._table[keys >> self._shift] = True

    def _places(self, runs: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Which keys these runs are; those that are none are left out."""
        near = runs[self._table[runs >> self._shift]]
        places = np.searchsorted(self.keys, near)
        places = np.minimum(places, len(self.keys) - 1)
        return places[self.keys[places] == near] if len(self.keys) else places[:0]

    def search(self, text: TokenText) -> None:
        """Look for the documents in a text; what is found stays found."""
        for piece in text.pieces():
            self.found[self._places(hashes(piece))] = True
        for ids in text.documents() if self.short else ():
            if len(ids) < GRAM_TOKENS and (key := ids.astype(np.uint32).tobytes()) in self.short:
                self.short[key] = True

    def holds(self, ids: Tokens, threshold: float) -> bool:
        """Whether a document is one of these or shares `threshold` of its runs with them, or of the runs of one."""
        if len(ids) < GRAM_TOKENS:
            return np.asarray(ids, np.uint32).tobytes() in self.short
        places = self._places(hashes(ids))
        if len(places) >= threshold * (len(ids) - GRAM_TOKENS + 1):
            return True
        if not len(places):
            return False
        owners, shared = np.unique(self.owner[np.unique(places)], return_counts=True)
        return bool((shared >= threshold * self.counts[owners]).any())

    def shares(self) -> NDArray[np.float64]:
        """Of each document the share of its runs that were found (D,); 0 or 1 where it is shorter than a run."""
        return np.array([self._found(ids).mean() if len(ids) else 0.0 for ids in self.documents])

    def tokens_found(self) -> int:
        """How many of the documents' tokens lie in a run that was found."""
        total = 0
        for ids in self.documents:
            found = self._found(ids)
            if len(ids) >= GRAM_TOKENS:
                edges = np.zeros(len(ids) + 1, np.int64)
                edges[:-GRAM_TOKENS][found] += 1
                edges[GRAM_TOKENS:][found] -= 1
                found = np.cumsum(edges[:-1]) > 0
                total += int(found.sum())
            else:
                total += len(ids) * int(found.sum())
        return total

    def _found(self, ids: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """For each run of a document whether it was found; one value for a document shorter than a run."""
        if len(ids) < GRAM_TOKENS:
            return np.array([self.short.get(ids.tobytes(), False)])
        return self.found[np.searchsorted(self.keys, hashes(ids))]


def hashes(ids: Tokens) -> NDArray[np.uint64]:
    """A hash of every run of GRAM_TOKENS ids (N - 12,), modulo 2**64; of fewer ids none."""
    tokens = np.asarray(ids).astype(np.uint64)
    runs = np.zeros(max(0, len(tokens) - GRAM_TOKENS + 1), np.uint64)
    for offset in range(GRAM_TOKENS if len(runs) else 0):
        runs *= _FACTOR
        runs += tokens[offset : offset + len(runs)]
        runs += np.uint64(1)
    runs ^= runs >> np.uint64(31)
    runs *= _MIX
    runs ^= runs >> np.uint64(32)
    return runs


def held_back(text: TokenText, encoding: Encoding) -> HeldBack:
    """A text's documents to be found in tokens of `encoding`; another tokenizer's are written out and read again."""
    documents = text.documents()
    if tokenizers.sha256(text.encoding) != tokenizers.sha256(encoding):
        texts = (text.encoding.decode(ids.tolist()) for ids in documents)
        documents = (np.array(encoding.encode_ordinary(words), np.int64) for words in texts)
    return HeldBack(documents)


class Exclusion:
    """Documents of held-back texts, which `pretrain data` leaves out and counts."""

    def __init__(self, references: Sequence[str], encoding: Encoding, threshold: float = THRESHOLD) -> None:
        self.threshold = threshold
        with ExitStack() as stack:
            opened = [open_text(reference, "test", lambda: encoding, stack) for reference in references]
            self.parts = [(text.name, held_back(text, encoding)) for text in opened]
        self.documents, self.tokens = [0] * len(self.parts), [0] * len(self.parts)

    def covers(self, ids: Tokens) -> bool:
        """Whether to leave a document out; it is counted."""
        for number, (_, held) in enumerate(self.parts):
            if held.holds(ids, self.threshold):
                self.documents[number] += 1
                self.tokens[number] += len(ids)
                return True
        return False

    def record(self) -> list[ExcludedText]:
        """What was left out, for data.json."""
        counts = zip(self.parts, self.documents, self.tokens, strict=True)
        return [
            ExcludedText(
                data=name, documents=documents, tokens=tokens, gram_tokens=GRAM_TOKENS, threshold=self.threshold
            )
            for (name, _), documents, tokens in counts
        ]


def overlap(a: str, b: str, tokenizer: str | Encoding = "gpt2", threshold: float = THRESHOLD) -> TokenOverlap:
    """`pretrain overlap`: how much of B (its test split, where none is named) stands in A (its training split).

    Raises: InputError as `open_text` does.
    """
    load = partial(tokenizers.load, tokenizer)
    with ExitStack() as stack:
        training, text = open_text(a, "train", load, stack), open_text(b, "test", load, stack)
        held = held_back(text, training.encoding)
        held.search(training)
    shares = held.shares()
    found = np.flatnonzero(shares >= threshold)
    lengths = np.array([len(ids) for ids in held.documents])
    return TokenOverlap(
        a=a,
        b=b,
        gram_tokens=GRAM_TOKENS,
        threshold=threshold,
        a_tokens=training.stop - training.start,
        documents=len(shares),
        documents_found=len(found),
        documents_whole=int((shares == 1).sum()),
        tokens=int(lengths.sum()),
        tokens_found=held.tokens_found(),
        found=found[:SHOWN].tolist(),
    )
