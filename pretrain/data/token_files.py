"""Tokens that are made already: the diary's safetensors with one vector `tokens`, and nanoGPT's .bin of uint16 ids."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equiloss import commands
from equiloss import tokenizer as tokenizers
from equiloss.errors import InputError
from equiloss.files import reading
from equiloss.tokenizer import BYTES
from pretrain.data.document import Document
from pretrain.data.shards import SPLITS

if TYPE_CHECKING:
    from tiktoken import Encoding

SUFFIX, RAW = ".safetensors", ".bin"
VALIDATION = {RAW: "val"}
"""What nanoGPT calls that split."""
READ_TOKENS = 1 << 24


def is_token_source(source: str) -> bool:
    """Whether `pretrain data` should read a source as token files: one such file, or a directory with a train one."""
    path = Path(source)
    return path.suffix in (SUFFIX, RAW) or any((path / f"train{suffix}").is_file() for suffix in (SUFFIX, RAW))


def token_documents(source: str, encoding: Encoding | None) -> Iterator[Document]:
    """The documents of token files: their ids; their text is never made, only its length in bytes.

    The train.safetensors, validation.safetensors and test.safetensors of a directory (not all need be there), or its
    train.bin and val.bin, keep their splits. A document ends at each end of text. `encoding`: what made the tokens.
    Raises: InputError when a file is missing, holds no vector `tokens`, or ids that the tokenizer has not.
    """
    if encoding is None:
        raise InputError(f"{source}: its tokens were made by a tokenizer", "name it with --tokenizer")
    sizes = np.array([len(token) for token in (*tokenizers.ranks_of(encoding), b"")])
    path = Path(source)
    files: dict[str | None, Path] = {None: path}
    if path.is_dir():
        kind = SUFFIX if (path / f"train{SUFFIX}").is_file() else RAW
        places = {
            name: path / f"{VALIDATION.get(kind, name) if name == 'validation' else name}{kind}" for name in SPLITS
        }
        files = {name: file for name, file in places.items() if file.is_file()}
    with ExitStack() as stack:
        for name, file in files.items():
            tokens, domain, most = open_tokens(file, stack), file.parent.name or file.stem, BYTES
            size = tokens.shape[0] if file.suffix == RAW else tokens.get_shape()[0]
            if file.suffix == RAW:
                most = max((int(tokens[i : i + READ_TOKENS].max()) for i in range(0, size, READ_TOKENS)), default=0)
            if most < BYTES < encoding.n_vocab - 1:
                raise InputError(
                    f"{file}: its ids are all below {BYTES}: characters or bytes", "read their text instead"
                )
            for ids in documents_of(tokens, str(file), encoding, 0, size):
                yield Document("", domain, name, ids=ids.astype(np.uint32).tobytes(), size=int(sizes[ids].sum()))


def open_tokens(path: Path, stack: ExitStack) -> Any:
    """A slice of the file's `tokens`, or a .bin file's ids, read piece by piece.

    nanoGPT's meta.pkl, which says that ids are characters, is not opened: nothing is unpickled. Raises: InputError.
    """
    if path.suffix == RAW:
        if (path.parent / "data.json").is_file():
            raise InputError(f"{path.parent}: is a data directory already", "name it with --data")
        if (path.parent / "meta.pkl").is_file():
            command = commands.pretrain_data(path.parent / "input.txt", None, "gpt2")
            raise InputError(f"{path}: its ids are characters (there is a meta.pkl)", f"read their text: `{command}`")
        with reading(path, "a file of uint16 ids", "fetch it again"):
            return np.memmap(path, np.uint16, "r")
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


def documents_of(ids: Any, name: str, encoding: Encoding, start: int, stop: int) -> Iterator[NDArray[np.int64]]:
    """The ids of each document in a stretch of a vector of ids, without its end of text, read piece by piece.

    Raises: InputError for an id that the tokenizer has not.
    """
    pending = np.empty(0, np.int64)
    for first in range(start, stop, READ_TOKENS):
        piece = np.asarray(ids[first : min(stop, first + READ_TOKENS)]).astype(np.int64)
        if piece.min() < 0 or piece.max() >= encoding.n_vocab:
            raise InputError(f"{name}: an id outside the tokenizer's {encoding.n_vocab:,}", "name its own: --tokenizer")
        piece = np.concatenate([pending, piece])
        begin = 0
        for end in np.flatnonzero(piece == encoding.eot_token).tolist():
            yield piece[begin:end]
            begin = end + 1
        pending = piece[begin:]
    if len(pending):
        yield pending
