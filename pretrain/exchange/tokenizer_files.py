"""Tokenizers in Hugging Face's files: tokenizer.json, vocab.json and merges.txt, out and in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equiloss import files, tokenizer
from equiloss.errors import InputError
from equiloss.tokenizer import END_OF_TEXT

if TYPE_CHECKING:
    from tiktoken import Encoding

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

    Raises: InputError when it is not a byte-level BPE that ends in `<|endoftext|>`.
    """
    path = directory / "tokenizer.json"
    vocabulary: Any
    if path.exists():
        document = files.read_json(path)
        try:
            vocabulary = dict(document["model"]["vocab"])
            vocabulary |= {token["content"]: token["id"] for token in document.get("added_tokens", [])}
            if document["model"].get("type", "BPE") != "BPE":
                raise TypeError
        except (KeyError, TypeError, AttributeError, ValueError):
            raise InputError(f"{path}: not a byte-level BPE", "name a tokenizer with --tokenizer") from None
    else:
        path = directory / "vocab.json"
        if not path.exists():
            return None
        vocabulary = files.read_json(path)
    return _from_vocabulary(vocabulary, str(path))


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
    ordered = sorted(vocabulary.items(), key=lambda item: item[1])
    try:
        if ordered[-1][0] != END_OF_TEXT or [i for _, i in ordered] != list(range(len(ordered))):
            raise ValueError(f"ids are not 0 to {len(ordered) - 1} with {END_OF_TEXT} last")
        tokens = [bytes(bytes_of[c] for c in token) for token, _ in ordered[:-1]]
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(f"{where}: not a tokenizer like GPT-2's: {error}", "name one with --tokenizer") from None
    if tokens == tokenizer.ranks_of(tokenizer.gpt2()):
        return tokenizer.gpt2()
    return tokenizer.from_ranks(tokens, where)
