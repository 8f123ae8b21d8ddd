"""Token files: safetensors with one vector `tokens`, as gpjt/ddp-base-model-from-scratch publishes them, as shards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equiloss import tokenizer as tokenizers
from equiloss.errors import InputError
from pretrain.data.corpus import describe
from pretrain.data.document import Document
from pretrain.data.shard_writer import write_tokenized
from pretrain.data.shards import SPLITS, Shards
from pretrain.data.splits import USUAL, Fractions, Kept, Splitter

if TYPE_CHECKING:
    from tiktoken import Encoding

SUFFIX = ".safetensors"
BATCH_DOCUMENTS = 1024
READ_TOKENS = 1 << 24


def is_token_source(source: str) -> bool:
    """Whether `pretrain data` should read a source as token files: one such file, or a directory with a train one."""
    path = Path(source)
    return path.suffix == SUFFIX or (path / f"train{SUFFIX}").is_file()


def write_token_files(
    source: str,
    directory: Path,
    *,
    tokenizer: str | Encoding = "gpt2",
    seed: int = 0,
    fractions: Fractions = USUAL,
    on_progress: Callable[[int, int], None] | None = None,
) -> Shards:
    """Write token files as a data directory.

    A directory's train.safetensors, validation.safetensors and test.safetensors (not all need be there) keep their
    splits; a single file is split by document with `seed`. A document ends at each end of text; of documents with
    equal tokens the first is kept (all in one split, where the files set it). `tokenizer`: what made the tokens.
    Raises: InputError when a file is missing, holds no vector `tokens`, or ids that the tokenizer has not.
    """
    path = Path(source)
    files: dict[str | None, Path] = (
        {name: path / f"{name}{SUFFIX}" for name in SPLITS if (path / f"{name}{SUFFIX}").is_file()}
        if path.is_dir()
        else {None: path}
    )
    encoding = tokenizers.load(tokenizer)
    splitter = Splitter(seed, fractions)
    with ExitStack() as stack:
        opened = ((name, file, _open(file, stack)) for name, file in files.items())
        batches = _batches(opened, encoding, splitter)
        about = describe(source).model_copy(update={"tokens": True})
        return write_tokenized(batches, splitter, directory, encoding, about, on_progress)


def _batches(
    opened: Iterable[tuple[str | None, Path, Any]], encoding: Encoding, splitter: Splitter
) -> Iterator[tuple[list[Kept], list[bytes]]]:
    """The documents that stay, with their ids; their text is never made, only its length in bytes."""
    sizes = np.array([len(token) for token in (*tokenizers.ranks_of(encoding), b"")])
    batch: list[Kept] = []
    lists: list[bytes] = []
    for name, path, tokens in opened:
        for ids in _documents(tokens, path, encoding.eot_token, encoding.n_vocab):
            if not len(ids):
                splitter.empty += 1
                continue
            data = ids.astype(np.uint32).tobytes()
            split = splitter.place(data, name)
            if split is not None:
                batch.append((Document("", path.parent.name or path.stem, split), split, int(sizes[ids].sum())))
                lists.append(data)
            if len(batch) >= BATCH_DOCUMENTS:
                yield batch, lists
                batch, lists = [], []
    if batch:
        yield batch, lists


def _open(path: Path, stack: ExitStack) -> Any:
    """A slice of the file's `tokens`, read piece by piece."""
    library = import_module("safetensors")
    if not path.is_file():
        raise InputError(f"{path}: no such file", "check the path")
    try:
        file = stack.enter_context(library.safe_open(path, "np"))
        names: list[str] = list(file.keys())
        if "tokens" not in names:
            raise InputError(
                f"{path}: no tensor `tokens`, only {', '.join(sorted(names)[:3])}", "is it a model's file?"
            )
        tokens = file.get_slice("tokens")
    except (library.SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a safetensors file: {error}", "fetch it again") from None
    if len(tokens.get_shape()) != 1 or tokens.get_dtype() not in ("U8", "U16", "U32", "I16", "I32", "I64"):
        raise InputError(f"{path}: `tokens` is not a vector of ids", "is it a file of tokens?")
    return tokens


def _documents(tokens: Any, path: Path, end: int, n_vocab: int) -> Iterator[NDArray[np.int64]]:
    """The ids of each document, without its end of text."""
    pending = np.empty(0, np.int64)
    (count,) = tokens.get_shape()
    for start in range(0, count, READ_TOKENS):
        piece = np.asarray(tokens[start : min(count, start + READ_TOKENS)], np.int64)
        if piece.min() < 0 or piece.max() >= n_vocab:
            raise InputError(f"{path}: an id outside the tokenizer's {n_vocab:,}", "name its own with --tokenizer")
        piece = np.concatenate([pending, piece])
        ends = np.flatnonzero(piece == end)
        first = 0
        for last in ends.tolist():
            yield piece[first:last]
            first = last + 1
        pending = piece[first:]
    if len(pending):
        yield pending
