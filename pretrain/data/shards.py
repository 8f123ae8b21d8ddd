"""Token shards: a data directory of memory-mapped ids with document starts, and how one is read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from equiloss import tokenizer as tokenizers
from equiloss.errors import InputError
from equiloss.files import read_arrays, sha256_of
from equiloss.records.file_record import read
from equiloss.records.token_data import TokenData

if TYPE_CHECKING:
    from tiktoken import Encoding

SPLITS: Final = ("train", "validation", "test")
DTYPES = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}
CHECKED_TOKENS = 1 << 24
HINT = "name a directory that `pretrain data` wrote"


@dataclass(frozen=True)
class TokenSplit:
    """One split: N token ids (N,), and for each of its D documents where it starts, its domain and its UTF-8 bytes.

    Every document ends in `<|endoftext|>`. `starts` (D,) uint64, `domain` (D,) uint16 into the record's `domains`,
    `text_bytes` (D,) uint64, -1 as uint64 where unknown.
    """

    name: str
    tokens: NDArray[np.unsignedinteger[Any]]
    starts: NDArray[np.uint64]
    domain: NDArray[np.uint16]
    text_bytes: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def ends(self) -> NDArray[np.uint64]:
        """One past the last token of each document, its `<|endoftext|>` included (D,)."""
        return np.append(self.starts[1:], np.uint64(len(self.tokens))).astype(np.uint64)

    def document(self, index: int) -> NDArray[np.unsignedinteger[Any]]:
        """The ids of one document, its `<|endoftext|>` included."""
        end = self.starts[index + 1] if index + 1 < len(self.starts) else len(self.tokens)
        return self.tokens[int(self.starts[index]) : int(end)]


@dataclass(frozen=True)
class Shards:
    """A data directory: `record` is its data.json."""

    directory: Path
    record: TokenData
    tokenizer: Encoding

    @classmethod
    def open(cls, directory: Path | str) -> Shards:
        """Open a data directory; nothing is read into memory.

        Raises: InputError when it is missing, unfinished, of another format, or its files do not fit its record.
        """
        directory = Path(directory)
        path = directory / "data.json"
        if not directory.is_dir():
            raise InputError(f"{directory}: no such data directory", HINT)
        if not path.exists():
            raise InputError(f"{directory}: no data.json in it: not a finished data directory", HINT)
        record = read(TokenData, path, "write the data again with `pretrain data`")
        encoding = tokenizers.from_record(record.tokenizer, str(path))
        if record.vocab_size != encoding.n_vocab or set(record.splits) != set(SPLITS):
            raise InputError(f"{path}: not the vocabulary of its tokenizer, or not its splits", HINT)
        for name in SPLITS:
            expected = record.splits[name].tokens * DTYPES[record.dtype].itemsize
            file = directory / f"{name}.bin"
            if not file.exists() or file.stat().st_size != expected:
                raise InputError(f"{file}: not the {expected} bytes that data.json says", "write the data again")
        return cls(directory, record, encoding)

    def split(self, name: str) -> TokenSplit:
        """One of "train", "validation" and "test"; its tokens are memory-mapped.

        Raises: InputError for another name, or when the document index does not fit.
        """
        if name not in SPLITS:
            raise InputError(f"no split {name!r}", f"splits: {', '.join(SPLITS)}")
        file = self.directory / f"{name}.bin"
        dtype = DTYPES[self.record.dtype]
        empty = file.stat().st_size == 0  # an empty file cannot be mapped
        tokens: Any = np.empty(0, dtype) if empty else np.memmap(file, dtype, mode="r")
        index = self.directory / f"{name}.docs.npz"
        arrays = read_arrays(index, ("starts", "domain", "bytes"), "write the data again with `pretrain data`")
        starts, text_bytes = arrays["starts"].astype(np.uint64), arrays["bytes"].astype(np.uint64)
        domain = arrays["domain"].astype(np.uint16)
        if not starts.shape == domain.shape == text_bytes.shape == (self.record.splits[name].documents,):
            raise InputError(f"{index}: not the documents that data.json says", "write the data again")
        in_order = not len(starts) or (
            starts[0] == 0 and starts[-1] < len(tokens) and bool((starts[1:] > starts[:-1]).all())
        )
        if not in_order or (len(domain) and domain.max() >= len(self.record.domains)):
            raise InputError(f"{index}: documents or domains that are not in the data", "write the data again")
        for start in range(0, len(tokens), CHECKED_TOKENS):
            if tokens[start : start + CHECKED_TOKENS].max() >= self.record.vocab_size:
                raise InputError(f"{file}: an id outside the vocabulary of {self.record.vocab_size:,}", HINT)
        return TokenSplit(name, tokens, starts, domain, text_bytes)

    @property
    def domains(self) -> list[str]:
        """The names of the domains, in the order of `TokenSplit.domain`'s numbers."""
        return self.record.domains

    @property
    def sha256(self) -> str:
        """A hash of the data itself (tokens, splits, tokenizer), the same wherever and whenever it was made."""
        splits = {name: self.record.splits[name].sha256 for name in SPLITS}
        return sha256_of({"tokenizer": tokenizers.sha256(self.tokenizer), "splits": splits})

    def summary(self) -> dict[str, JsonValue]:
        """data.json for people and programs: without the tokenizer's ranks, with where it is and its hash."""
        about: JsonValue = {"kind": self.record.tokenizer["kind"], "sha256": tokenizers.sha256(self.tokenizer)}
        record = self.record.model_dump(mode="json", exclude={"tokenizer"})
        return {"directory": str(self.directory), "sha256": self.sha256, **record, "tokenizer": about}


def fingerprint(tokens: NDArray[np.unsignedinteger[Any]]) -> str:
    """A hash of a token file's content: all of it up to 64 MB, else its size and 64 MB spread over it."""
    raw = np.asarray(tokens).view(np.uint8)
    block, blocks = 1 << 20, 64
    digest = hashlib.sha256(str(len(raw)).encode())
    if len(raw) <= block * blocks:
        digest.update(raw.data)
    else:
        for start in np.linspace(0, len(raw) - block, blocks).astype(np.int64):
            digest.update(raw[start : start + block].data)
    return digest.hexdigest()
