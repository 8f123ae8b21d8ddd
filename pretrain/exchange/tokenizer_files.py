"""Tokenizers in Hugging Face's files: tokenizer.json, vocab.json and merges.txt, out and in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equiloss import files, tokenizer
from equiloss.errors import InputError
from equiloss.tokenizer import END_OF_TEXT

if TYPE_CHECKING:
    from tiktoken import Encoding

HINT = "name a tokenizer with --tokenizer"
TEXTS = (
    *("Hello world", " a  b   c ", "\n\n\tx\r\n y\n", "it's they'll I'VE 'D we\u2019re", "123456 7 8,9.0 x2y"),
    *("naïve ÀÉÎ Straße İ", "e\u0301 A\u030a", "\ufb01 \u2167 \uff12\uff14 \u212b", "東京の 한국어 ไทย हिन्दी"),
    *("😀👩\u200d👩\u200d👧 ok", "\u00a0nbsp\u200b\u3000", "<s>[INST] </s><pad><unk>", "_ \u2581 \u0120x"),
    *("http://x.y/?a=1&b=2", '{"k": [1, null]}', "!!!???...---", "\x00\x01\x7f", "CamelCase snake_case"),
)
"""Where normalizers, pre-tokenizers and prefix spaces show."""
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
"""How GPT-2's files without a tokenizer.json are to be read."""
COMPARED = 10_000
FILES = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")


def merges(encoding: Encoding) -> list[tuple[bytes, bytes]]:
    """The pair that each merged token was made of, in the order of merging.

    Ranks name only results: the pair is what is left when a token's bytes are merged with all lower ranks.
    """
    ordered = tokenizer.ranks_of(encoding)
    ranks = {token: rank for rank, token in enumerate(ordered)}
    pairs: list[tuple[bytes, bytes]] = []
    for rank, token in enumerate(ordered):
        if len(token) > 1:
            parts = _merge(token, ranks, rank)
            if len(parts) != 2:
                raise InputError(f"the token {token!r} is no merge of two others", "this tokenizer has no merges file")
            pairs.append((parts[0], parts[1]))
    return pairs


def _merge(token: bytes, ranks: Mapping[bytes, int], below: int) -> list[bytes]:
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 1:
        candidates = [(ranks.get(a + b, below), i) for i, (a, b) in enumerate(pairwise(parts))]
        rank, i = min(candidates)
        if rank >= below:
            break
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts


def write(encoding: Encoding, directory: Path, context: int) -> None:
    """Write the files that AutoTokenizer and llama.cpp's converter read.

    Raises: InputError for a tokenizer that cuts text into words in another way than GPT-2's.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    if tokenizer.pattern_of(encoding) != tokenizer.PATTERN:
        raise InputError("this tokenizer cuts text in a way of its own", "only GPT-2's way can be exported")
    characters = tokenizer.byte_characters()

    def written(token: bytes) -> str:
        return "".join(characters[byte] for byte in token)

    vocabulary = {written(token): rank for rank, token in enumerate(tokenizer.ranks_of(encoding))}
    pairs = [(written(a), written(b)) for a, b in merges(encoding)]
    vocabulary[END_OF_TEXT] = encoding.eot_token
    library: Any = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.post_processor = processors.ByteLevel(trim_offsets=False)
    library.decoder = decoders.ByteLevel()
    library.add_special_tokens([AddedToken(END_OF_TEXT, special=True, normalized=False)])
    files.write_text(directory / "tokenizer.json", library.to_str(pretty=True))
    files.write_text(directory / "vocab.json", json.dumps(vocabulary, ensure_ascii=False))
    files.write_text(directory / "merges.txt", "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in pairs))
    special = {f"{name}_token": END_OF_TEXT for name in ("bos", "eos", "unk", "pad")}
    files.write_json(directory / "special_tokens_map.json", special)
    settings = {"tokenizer_class": "GPT2Tokenizer", "model_max_length": context, "add_prefix_space": False,
                "add_bos_token": False, "clean_up_tokenization_spaces": False}  # fmt: skip
    files.write_json(directory / "tokenizer_config.json", settings | special)


def read(directory: Path) -> Encoding | None:
    """The tokenizer of a Hugging Face directory, as tiktoken's; None where there is none.

    Raises: InputError when it is not a byte-level BPE that ends in `<|endoftext|>`, and saying what differs where it
    does not give the same ids as tiktoken's: on a set of texts, each of its tokens, and pairs of them.
    """
    from tokenizers import Tokenizer

    path = directory / "tokenizer.json"
    if not path.exists() and not (path := directory / "vocab.json").exists():
        return None
    settings = _optional(directory / "tokenizer_config.json")
    document: Any = files.read_json(path)
    with files.reading(path, "a tokenizer of Hugging Face's", HINT):
        if path.name == "vocab.json":
            rows = files.read_text(directory / "merges.txt").split("\n")
            pairs = [row for row in rows if row and not row.startswith("#version")]
            document = {
                "version": "1.0",
                "model": {"type": "BPE", "vocab": document, "merges": pairs},
                "pre_tokenizer": BYTE_LEVEL,
            }
        model: Any = document["model"]
        cut: Any = document.get("pre_tokenizer") or {}
        if model.get("type", "BPE") != "BPE":
            raise InputError(f"{path}: a {model['type']}, not a byte-level BPE", HINT)
        added = {token["content"]: token["id"] for token in document.get("added_tokens") or ()}
        configured = [token["content"] for token in (settings.get("added_tokens_decoder") or {}).values()]
        for name in sorted({*added, *configured, *_optional(directory / "added_tokens.json")} - {END_OF_TEXT}):
            raise InputError(f"{path}: its added token {name!r} has no place here", HINT)
        if document.get("normalizer"):
            raise InputError(f"{path}: its normalizer ({document['normalizer'].get('type')}) changes the text", HINT)
        if any(part.get("add_prefix_space") for part in (settings, cut, *cut.get("pretokenizers", ()))):
            raise InputError(f"{path}: it puts a space before a text (add_prefix_space)", HINT)
        if not cut.get("use_regex", True):
            raise InputError(f"{path}: its pre-tokenizer does not cut text into words (use_regex)", HINT)
        vocabulary: dict[str, int] = {**model["vocab"], **added}
        encoding = _from_vocabulary(vocabulary, str(path))
        merged = [vocabulary["".join(pair.split(" ") if isinstance(pair, str) else pair)] for pair in model["merges"]]
        what = "the order of its merges" if cut.get("type") == "ByteLevel" else f"its pre-tokenizer ({cut.get('type')})"
        if merged != sorted(merged):
            raise InputError(f"{path}: the order of its merges is not that of its ids", HINT)
        library = Tokenizer.from_str(json.dumps({"version": "1.0", "added_tokens": [], **document}))
        for text in _texts(encoding):
            if library.encode(text, add_special_tokens=False).ids != encoding.encode_ordinary(text):
                raise InputError(f"{path}: {what} gives {text!r:.60} other ids than GPT-2's way", HINT)
    return encoding


def _optional(path: Path) -> dict[str, Any]:
    document = files.read_json(path) if path.is_file() else {}
    if not isinstance(document, dict):
        raise InputError(f"{path}: not a JSON object", HINT)
    return document  # pyright: ignore[reportUnknownVariableType]


def _texts(encoding: Encoding) -> Iterator[str]:
    """What a tokenizer is compared on: TEXTS, most of the tokens that are text, and each with another after it."""
    yield from TEXTS
    tokens = [token.decode("utf-8", "replace") for token in tokenizer.ranks_of(encoding)]
    known = [token for token in tokens if "\ufffd" not in token]
    for number, token in enumerate(known[:: len(known) // COMPARED + 1]):
        yield token
        yield token + known[(number * 7919 + 1) % len(known)]


def named(name: str) -> str | Encoding:
    """What `--tokenizer` names: a checkpoint's tokenizer, or that of a Hugging Face directory or tokenizer.json.

    Any other name is given back, for `equiloss.tokenizer.load`. Raises: InputError when it cannot be read.
    """
    path = Path(name)
    if path.suffix == ".pt":
        from pretrain.model.checkpoint import load

        return load(path).encoding
    folder = path.parent if path.name == "tokenizer.json" else path
    document = files.read_json(folder / "tokenizer.json") if (folder / "tokenizer.json").is_file() else {}
    ours = isinstance(document, dict) and document.get("format") == tokenizer.FORMAT  # pyright: ignore[reportUnknownMemberType]
    return name if ours or not folder.is_dir() else read(folder) or name


def _from_vocabulary(vocabulary: Mapping[str, int], where: str) -> Encoding:
    bytes_of = {character: byte for byte, character in tokenizer.byte_characters().items()}
    try:
        ordered = sorted(vocabulary.items(), key=lambda item: item[1])
        if ordered[-1][0] != END_OF_TEXT or [i for _, i in ordered] != list(range(len(ordered))):
            raise ValueError(f"ids are not 0 to {len(ordered) - 1} with {END_OF_TEXT} last")
        tokens = [bytes(bytes_of[c] for c in token) for token, _ in ordered[:-1]]
    except (KeyError, ValueError, IndexError, TypeError, AttributeError) as error:
        raise InputError(f"{where}: not a tokenizer like GPT-2's: {error}", HINT) from None
    if tokens == tokenizer.ranks_of(tokenizer.gpt2()):
        return tokenizer.gpt2()
    return tokenizer.from_ranks(tokens, where)
