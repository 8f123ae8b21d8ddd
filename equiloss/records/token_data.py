"""data.json: what a data directory of `pretrain data` holds, and what its tokens were made from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, JsonValue

from equiloss.records.file_record import FileRecord, SparseRecord
from equiloss.records.provenance import Provenance

SplitName = Literal["train", "validation", "test"]


def _named(source: Any) -> Any:
    return {"name": source} if isinstance(source, str) else source


class MixedSource(FileRecord):
    """A source of a mix: its weight, the documents and UTF-8 bytes read from it, and their share of the mix's bytes.

    `passes`: how often it was read to its end.
    """

    name: str
    weight: float
    documents: int
    bytes: int
    share: float
    passes: int
    sha256: str | None = None


class TextSource(SparseRecord):
    """What text was read from: its name, of files their number, size and one hash over all, and the fields chosen.

    `tokens`: the source held token ids, not text. `mix`: the sources of a mix by weight.
    """

    name: str = ""
    files: int | None = None
    bytes: int | None = None
    sha256: str | None = None
    text: str | None = None
    domain: str | None = None
    separator: str | None = None
    tokens: bool = False
    mix: list[MixedSource] = Field(default_factory=list[MixedSource])


Source = Annotated[TextSource, BeforeValidator(_named)]


class SplitFile(FileRecord):
    """One split: its tokens, documents and UTF-8 bytes, and the hash of its token file."""

    tokens: int = Field(ge=0)
    documents: int = Field(ge=0)
    bytes: int = Field(ge=0)
    sha256: str


class DuplicatesRemoved(FileRecord):
    """Texts that were left out because they stood there before, in the same split or in another."""

    within_splits: int = 0
    across_splits: int = 0


class TokenData(FileRecord):
    """The record of a data directory. `fractions`: the shares of documents for validation and test."""

    format: Literal["equiloss.data.v1"] = "equiloss.data.v1"
    source: Source | None = None
    seed: int = 0
    fractions: dict[str, float] = Field(default_factory=dict)
    dtype: Literal["uint16", "uint32"]
    vocab_size: int = Field(ge=2)
    splits: dict[SplitName, SplitFile] = Field(min_length=3)
    domains: list[str]
    duplicates_removed: DuplicatesRemoved = DuplicatesRemoved()
    empty_removed: int = 0
    provenance: Provenance | None = None
    tokenizer: dict[str, JsonValue]
    """See `equiloss.tokenizer.from_record`."""
