"""A document: what a corpus is made of, whatever it is read from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Document:
    """A text, the domain it belongs to, and its split where the source sets it (None: the shards decide)."""

    text: str
    domain: str = ""
    split: str | None = None
    source: str = ""
    """The source of a mix that it comes from."""
    again: bool = False
    """Whether its source begins a second time, or a later one: it repeats on purpose, in training."""
    ids: bytes | None = None
    """Its tokens (uint32), where the source has those and no text."""
    size: int = 0
    """The UTF-8 bytes of a document of tokens."""
