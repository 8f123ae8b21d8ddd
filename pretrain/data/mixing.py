"""A mix of sources by weight: next comes a document of the source that is furthest behind its share."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from equiloss.errors import InputError
from equiloss.files import sha256_of
from equiloss.records.token_data import MixedSource, TextSource
from equiloss.seeds import stream
from pretrain.data.corpus import Fields, describe, read_documents
from pretrain.data.document import Document

if TYPE_CHECKING:
    from tiktoken import Encoding

WEIGHTED = re.compile(r"(.+)=([^=?&/]+)")
Weights = Sequence[tuple[str, float]]
"""The sources of a mix with their weights, which need not add up to anything."""
HINT = "name each source with its weight: A=45 B=45 C=10"


@dataclass
class Part:
    """A source of a mix: its share, and what was taken from it so far."""

    name: str
    weight: float
    documents: int = 0
    bytes: int = 0
    passes: int = 0
    """How often it was read to its end."""


@dataclass
class Mix:
    """Documents of several sources, their UTF-8 bytes in the proportion of the weights from the first document on.

    A source that ends before another has been read once begins again: of its repeated documents those of the training
    split are kept. The mix ends when every source has been read to its end; ties are broken by `seed`.
    """

    weights: Weights
    fields: Fields
    seed: int = 0
    encoding: Encoding | None = None
    """What made the tokens of token files."""
    parts: list[Part] = field(default_factory=list[Part])

    def documents(self) -> Iterator[Document]:
        """The documents in order. Raises: InputError as `read_documents` does, or when a source has no text."""
        self.parts = [Part(name, weight) for name, weight in self.weights]
        reading = [read_documents(part.name, self.fields, self.encoding) for part in self.parts]
        ties = np.random.default_rng(stream(self.seed, "mix")).permutation(len(self.parts)).tolist()
        while True:
            _, _, index = min((part.bytes / part.weight, ties[i], i) for i, part in enumerate(self.parts))
            part = self.parts[index]
            document = next(reading[index], None)
            if document is not None:
                part.documents += 1
                part.bytes += max(1, document.size or len(document.text.encode("utf-8", "replace")))
                yield replace(document, source=part.name, again=part.passes > 0)
                continue
            if not part.documents:
                raise InputError(f"{part.name}: no document in it", "leave it out of the mix")
            part.passes += 1
            if all(other.passes for other in self.parts):
                return
            reading[index] = read_documents(part.name, self.fields, self.encoding)

    def record(self) -> TextSource:
        """What the mix was made of, for data.json; to be asked for when all documents have been read."""
        sources = [describe(part.name) for part in self.parts]
        total = sum(part.bytes for part in self.parts)
        return TextSource(
            name=" ".join(f"{part.name}={part.weight:g}" for part in self.parts),
            sha256=sha256_of(
                [[source.sha256 or source.name, part.weight] for source, part in zip(sources, self.parts, strict=True)]
            ),
            **asdict(self.fields),
            mix=[
                MixedSource(**asdict(part), sha256=source.sha256, share=part.bytes / total)
                for source, part in zip(sources, self.parts, strict=True)
            ],
        )


def parse(sources: Sequence[str]) -> list[tuple[str, float]]:
    """The names and weights of `SOURCE=WEIGHT` arguments; [] where there is one source without a weight.

    Raises: InputError for a weight that is missing or not above 0, a source twice, or a mix of one source.
    """
    if len(sources) == 1 and (Path(sources[0]).exists() or not _is_weighted(sources[0])):
        return []
    parsed: list[tuple[str, float]] = []
    for source in sources:
        match = WEIGHTED.fullmatch(source)
        try:
            weight = float(match[2]) if match else math.nan
        except ValueError:
            weight = math.nan
        if match is None or not (0 < weight < math.inf):
            raise InputError(f"{source!r}: a mix needs SOURCE=WEIGHT with a weight above 0", HINT)
        parsed.append((match[1], weight))
    names = [name for name, _ in parsed]
    if len(set(names)) < max(2, len(names)):
        raise InputError(f"{' '.join(sources)}: a mix needs two sources or more, each of them once", HINT)
    return parsed


def _is_weighted(source: str) -> bool:
    """Whether a lone source is meant as part of a mix; the parameters of a world (world:demo?people=50) are not."""
    match = WEIGHTED.fullmatch(source)
    return match is not None and "?" not in source and re.fullmatch(r"-?[\d.]+(e-?\d+)?", match[2]) is not None
