"""Writing token shards: tokenized in parallel, split by document, without duplicates, visible only when complete."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from array import array
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from itertools import chain, islice
from multiprocessing import get_context
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np

from equiloss import files
from equiloss import tokenizer as tokenizers
from equiloss.errors import EquilossError, InputError
from equiloss.numerals import number, percent
from equiloss.provenance import provenance
from equiloss.records.token_data import SplitFile, SplitName, TextSource, TokenData
from pretrain.data.corpus import Fields, describe, read_documents
from pretrain.data.document import Document
from pretrain.data.mixing import Mix, Weights
from pretrain.data.overlap import Exclusion
from pretrain.data.shards import DTYPES, SPLITS, Shards
from pretrain.data.splits import USUAL, Fractions, Kept, Splitter

if TYPE_CHECKING:
    from tiktoken import Encoding

BATCH_BYTES = 1 << 20  # text that goes to a worker at a time
SERIAL_BATCHES = 4  # a source smaller than this is done before a worker has started
TOKENIZER_CHARACTERS = 1_000_000_000
PARTIAL = ".partial"
MAX_DOMAINS = 1 << 16


UNNAMED = TextSource()


def write_source(
    source: str,
    directory: Path,
    *,
    tokenizer: str | Encoding = "gpt2",
    train_tokenizer: int | None = None,
    fields: Fields | None = None,
    mix: Weights = (),
    seed: int = 0,
    fractions: Fractions = USUAL,
    exclude: Callable[[Encoding], Exclusion] | None = None,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Shards:
    """Write a source (see `read_documents`), or a `mix` of sources by weight, as a data directory.

    `train_tokenizer`: train a tokenizer of that size first, on the training split's first GB of text; else
    `tokenizer` is a name or a file. `exclude`: what to leave out, by the tokenizer.
    Raises: InputError as `read_documents`, `train_bpe` and `write_shards` do.
    """
    fields = fields or Fields()
    mixed = Mix(mix, fields, seed)
    if train_tokenizer is None:
        encoding = mixed.encoding = tokenizers.load(tokenizer)
    else:
        again = mixed.documents() if mix else read_documents(source, fields)
        kept = Splitter(seed, fractions).keep(again)
        encoding = tokenizers.train_bpe(_training_texts(kept), train_tokenizer)
    documents = mixed.documents() if mix else read_documents(source, fields, mixed.encoding)
    about = mixed.record if mix else describe(source).model_copy(update=asdict(fields))
    return write_shards(
        documents,
        directory,
        encoding,
        source=about,
        seed=seed,
        fractions=fractions,
        exclusion=exclude(encoding) if exclude else None,
        workers=workers,
        on_progress=on_progress,
    )


def _training_texts(kept: Iterable[Kept]) -> Iterator[str]:
    """What a tokenizer may see: the documents of the training split, up to TOKENIZER_CHARACTERS."""
    characters = 0
    for document, split, _ in kept:
        if split == "train":
            yield document.text
            characters += len(document.text)
            if characters > TOKENIZER_CHARACTERS:
                return


def write_shards(
    documents: Iterable[Document],
    directory: Path,
    encoding: Encoding,
    *,
    source: TextSource | Callable[[], TextSource] = UNNAMED,
    seed: int = 0,
    fractions: Fractions = USUAL,
    exclusion: Exclusion | None = None,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Shards:
    """Write `documents` as a data directory, which another command accepts only once it is complete.

    Texts are compared as UTF-8 bytes: of equal ones the first is kept (all in one split, where the source sets it: it
    repeats on purpose). Texts of white space alone are dropped. A document that names its split keeps it; else `seed`
    and its text decide. The result does not depend on `workers` (None: one for each CPU). Memory: about 100 bytes per
    document, and `workers` × 2 batches of 1 MB of text. `on_progress` is called with the documents and tokens written
    so far. An older data directory is replaced. `exclusion`: documents to leave out. `source`: what they were made
    from, or a function that says it once all of them have been read.
    Raises: InputError when there is no document for training, or too many domains.
    """
    splitter = Splitter(seed, fractions)
    batches = _tokenized(_batches(splitter.keep(documents)), encoding, workers or os.cpu_count() or 1)
    dtype_name: Literal["uint16", "uint32"] = "uint16" if encoding.n_vocab <= 1 << 16 else "uint32"
    with files.room_for(directory), _partial(directory) as partial, ExitStack() as stack:
        writers: dict[SplitName, _SplitWriter] = {
            name: _SplitWriter(stack.enter_context((partial / f"{name}.bin").open("wb")), DTYPES[dtype_name])
            for name in SPLITS
        }
        domains: dict[tuple[str, str], int] = {}
        for batch, lists in batches:
            for (document, split, size), ids in zip(batch, lists, strict=True):
                domain = domains.setdefault((document.source, document.domain), len(domains))
                if domain >= MAX_DOMAINS:
                    raise InputError(f"more than {MAX_DOMAINS} domains", "choose a coarser --domain-field")
                if exclusion is not None and exclusion.covers(np.frombuffer(ids, np.uint32)):
                    continue
                writers[split].add(ids, encoding.eot_token, domain, size)
            if on_progress:
                on_progress(sum(len(w.starts) for w in writers.values()), sum(w.tokens for w in writers.values()))
        if not writers["train"].starts:
            raise InputError(
                f"no document is left to train on (of {splitter.read} read, {splitter.empty} were empty"
                f"{f', {sum(exclusion.documents)} stand in what is excluded' if exclusion else ''})",
                "lower --validation and --test, or cut a single long text with --separator",
            )
        splits: dict[SplitName, SplitFile] = {
            name: writer.finish(partial / f"{name}.docs.npz") for name, writer in writers.items()
        }
        tokenizers.save(encoding, partial / "tokenizer.json")
        record = TokenData(
            source=source() if callable(source) else source,
            seed=splitter.seed,
            fractions=asdict(splitter.fractions),
            dtype=dtype_name,
            vocab_size=encoding.n_vocab,
            splits=splits,
            domains=_domain_names(list(domains)),
            duplicates_removed=splitter.duplicates,
            empty_removed=splitter.empty,
            excluded=exclusion.record() if exclusion else [],
            provenance=provenance(),
            tokenizer=tokenizers.to_record(encoding),
        )
        files.write_json(partial / "data.json", record)
    return Shards.open(directory)


def _domain_names(domains: Sequence[tuple[str, str]]) -> list[str]:
    """What domains are called: by their source too where several sources have one of that name."""
    count = Counter(domain for _, domain in domains)
    return [f"{source}: {domain}" if count[domain] > 1 else domain for source, domain in domains]


class _SplitWriter:
    """The growing files of one split."""

    def __init__(self, file: IO[bytes], dtype: np.dtype[Any]) -> None:
        self.file = file
        self.dtype = dtype
        self.sha256 = hashlib.sha256()
        self.tokens = 0
        self.starts = array("Q")
        self.domain = array("H")
        self.bytes = array("Q")

    def add(self, ids: bytes, end_id: int, domain: int, size: int) -> None:
        """Append one document: its uint32 ids as bytes, then the end of text."""
        tokens = np.append(np.frombuffer(ids, np.uint32), np.uint32(end_id)).astype(self.dtype)
        data = tokens.tobytes()
        self.file.write(data)
        self.sha256.update(data)
        self.starts.append(self.tokens)
        self.domain.append(domain)
        self.bytes.append(size)
        self.tokens += len(tokens)

    def finish(self, index: Path) -> SplitFile:
        """Write the document index and give the split's part of the record."""
        self.file.flush()
        os.fsync(self.file.fileno())
        with files.atomic(index, "wb") as f:
            np.savez(
                f,
                starts=np.array(self.starts, np.uint64),
                domain=np.array(self.domain, np.uint16),
                bytes=np.array(self.bytes, np.uint64),
            )
        return SplitFile(
            tokens=self.tokens, documents=len(self.starts), bytes=sum(self.bytes), sha256=self.sha256.hexdigest()
        )


def _batches(kept: Iterable[Kept]) -> Iterator[list[Kept]]:
    batch: list[Kept] = []
    size = 0
    for item in kept:
        batch.append(item)
        size += item[2]
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


_worker_encoding: Encoding | None = None


def _start_worker(record: Mapping[str, Any]) -> None:
    global _worker_encoding
    _worker_encoding = tokenizers.from_record(record)


def _encode_in_worker(texts: list[str | bytes]) -> list[bytes]:
    assert _worker_encoding is not None
    return _encode(_worker_encoding, texts)


def _encode(encoding: Encoding, texts: list[str | bytes]) -> list[bytes]:
    """Ids as uint32 bytes: a tenth of the cost of lists between processes. Special tokens in a text stay text."""
    return [
        text
        if isinstance(text, bytes)
        else encoding.encode_to_numpy(text, disallowed_special=()).astype(np.uint32).tobytes()
        for text in texts
    ]


def _contents(batch: list[Kept]) -> list[str | bytes]:
    """What is to be tokenized: texts, and tokens that are there already."""
    return [document.text if document.ids is None else document.ids for document, _, _ in batch]


def _tokenized(
    batches: Iterator[list[Kept]], encoding: Encoding, workers: int
) -> Iterator[tuple[list[Kept], list[bytes]]]:
    """Each batch with its documents' ids, in order. Small sources, and `workers` 1, start no process."""
    first = list(islice(batches, SERIAL_BATCHES))
    rest = next(batches, None) if len(first) == SERIAL_BATCHES else None
    if workers == 1 or rest is None:
        for batch in chain(first, [] if rest is None else [rest], batches):
            yield batch, _encode(encoding, _contents(batch))
        return
    waiting: deque[tuple[list[Kept], Future[list[bytes]]]] = deque()
    # Started afresh, not forked: the libraries that read Parquet and the Hub have threads of their own.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (tokenizers.to_record(encoding),))
    try:
        for batch in chain(first, [rest], batches):
            waiting.append((batch, pool.submit(_encode_in_worker, _contents(batch))))
            if len(waiting) >= 2 * workers:
                done, future = waiting.popleft()
                yield done, future.result()
        while waiting:
            done, future = waiting.popleft()
            yield done, future.result()
    except BrokenProcessPool:
        raise EquilossError("a tokenizing process died", "out of memory? try fewer --workers") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _partial(directory: Path) -> Generator[Path]:
    """A directory inside `directory` to write to; its files move up at the end, data.json last.

    Raises: InputError when the place is taken by other files, or by another process that writes there.
    """
    if directory.exists():
        if not directory.is_dir():
            raise InputError(f"{directory}: is a file", "name a directory to write to")
        ours = {PARTIAL, "data.json", "tokenizer.json", *(f"{s}{e}" for s in SPLITS for e in (".bin", ".docs.npz"))}
        finished = any((place / "data.json").exists() for place in (directory, directory / PARTIAL))
        ours = ours if finished else {PARTIAL}
        foreign = sorted(path.name for path in directory.iterdir() if path.name not in ours)
        if foreign:
            raise InputError(
                f"{directory}: holds other files ({foreign[0]})", "name a new directory, or one of `pretrain data`"
            )
    created = [path for path in (directory, *directory.parents) if not path.exists()]
    partial = directory / PARTIAL
    partial.mkdir(parents=True, exist_ok=True)
    with (partial / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{directory}: another `pretrain data` is writing there", "wait for it") from None
        for left in partial.iterdir():  # by a process that was killed
            if left.name != "lock":
                left.unlink()
        try:
            yield partial
            (directory / "data.json").unlink(missing_ok=True)
            for path in sorted(partial.iterdir()):
                if path.name not in ("data.json", "lock"):
                    path.replace(directory / path.name)
            files.sync_directory(directory)
            (partial / "data.json").replace(directory / "data.json")
            files.sync_directory(directory)
        finally:
            shutil.rmtree(partial)
            for path in created:
                with suppress(OSError):  # not empty: the data is in it
                    path.rmdir()


def written(shards: Shards) -> list[str]:
    """What was written, in a line per split, and what a person should know about it."""
    record = shards.record
    lines = [
        f"{shards.directory}: {len(shards.domains)} domain(s), {record.vocab_size:,} token ids "
        f"({record.tokenizer['kind']}), {record.dtype}"
    ]
    for name, split in record.splits.items():
        per_byte = f", {number(split.bytes / split.tokens)} bytes per token" if split.tokens else ""
        lines.append(f"  {name}: {split.documents:,} documents, {split.tokens:,} tokens{per_byte}")
        if not split.documents and record.fractions.get(name):
            lines.append(f"  warning: no document fell to {name}: raise --{name}, or cut long texts with --separator")
    for part in record.source.mix if record.source else []:
        ended = f", read to its end {part.passes} time{'s' * (part.passes > 1)}" if part.passes else ""
        lines.append(f"  {part.name}: {percent(part.share, 1)} of the text read, {part.documents:,} documents{ended}")
    lines += [
        f"  left out: {text.documents:,} documents ({text.tokens:,} tokens) that stand in {text.data}"
        for text in record.excluded
    ]
    removed = record.duplicates_removed
    if removed.within_splits or removed.across_splits or record.empty_removed:
        lines.append(
            f"  left out: {removed.within_splits} duplicates within a split, {removed.across_splits} across, "
            f"{record.empty_removed} empty"
        )
    return lines
