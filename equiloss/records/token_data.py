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

    @classmethod
    def whole(cls, source: TextSource) -> MixedSource:
        """A source that is no mix, as the only part of one."""
        size, sha256 = source.bytes or 0, source.sha256
        return cls(name=source.name, weight=1.0, documents=0, bytes=size, share=1.0, passes=0, sha256=sha256)

    def is_of(self, other: MixedSource) -> bool:
        """Whether both come from one source: equal content, or one name (of worlds: whatever their parameters).

        Where the content of one is not known (the Hub, another machine) the last part of the name counts.
        """
        if self.sha256 and self.sha256 == other.sha256:
            return True
        names = [one.name.split("?")[0].rstrip("/") for one in (self, other)]
        if not (self.sha256 and other.sha256):
            names = [name.rpartition("/")[2] for name in names]
        return bool(names[0]) and names[0] == names[1]


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

    def share_in(self, training: TextSource) -> float:
        """The share of a training text (by bytes) that comes from the sources which this text was made from."""
        own, theirs = ([*one.mix] or [MixedSource.whole(one)] for one in (self, training))
        return sum(part.share for part in theirs if any(part.is_of(other) for other in own))


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


class ExcludedText(FileRecord):
    """A text whose documents were left out: how many documents and tokens that were, and by what rule.

    `threshold`: the share of runs of `gram_tokens` from which a document counts as standing in the text.
    """

    data: str
    documents: int = 0
    tokens: int = 0
    gram_tokens: int | None = None
    threshold: float | None = None


class TokenOverlap(FileRecord):
    """How much of the text B stands in the text A (`pretrain overlap`).

    `documents_found` share `threshold` of their runs of `gram_tokens` tokens with A; of `documents_whole` all runs are
    there; `tokens_found` of B's tokens lie in such a run; `found`: the first documents, by their place in B.
    """

    format: Literal["equiloss.overlap.v1"] = "equiloss.overlap.v1"
    a: str
    b: str
    gram_tokens: int
    threshold: float
    a_tokens: int
    documents: int
    documents_found: int
    documents_whole: int
    tokens: int
    tokens_found: int
    found: list[int] = Field(default_factory=list[int])

    @property
    def documents_share(self) -> float:
        """The share of B's documents that were found."""
        return self.documents_found / self.documents if self.documents else 0.0

    @property
    def tokens_share(self) -> float:
        """The share of B's tokens that were found."""
        return self.tokens_found / self.tokens if self.tokens else 0.0


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
    excluded: list[ExcludedText] = Field(default_factory=list[ExcludedText])
    provenance: Provenance | None = None
    tokenizer: dict[str, JsonValue]
    """See `equiloss.tokenizer.from_record`."""
