from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from equiloss import loss_comparison, tokenizer  # noqa: E402
from equiloss.errors import InputError  # noqa: E402
from equiloss.files import json_line  # noqa: E402
from equiloss.records import evaluation  # noqa: E402
from equiloss.records.base_run import CheckpointRun, TrainingData  # noqa: E402
from equiloss.records.token_data import TextSource  # noqa: E402
from pretrain.config import ModelConfig  # noqa: E402
from pretrain.data.document import Document  # noqa: E402
from pretrain.data.shard_writer import write_shards  # noqa: E402
from pretrain.data.shards import Shards  # noqa: E402
from pretrain.evaluation.evaluate import Method, evaluate, evaluate_all, free_name  # noqa: E402
from pretrain.evaluation.losses import batches, frequency_deciles, token_statistics, windows_over  # noqa: E402
from pretrain.model import checkpoint, huggingface  # noqa: E402
from pretrain.model.decoder import GPT  # noqa: E402

ENCODING = tokenizer.train_bpe(["the king and the queen of the land"] * 3, 270)
CONTEXT = 16


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    rng = np.random.default_rng(0)
    words = np.array(["the", "king", "and", "queen", "of", "land", "été"])
    documents = [
        Document(" ".join(rng.choice(words, rng.integers(1, 40))) + f" {i}", f"d{i % 2}", split)
        for split, count in (("train", 40), ("test", 12))
        for i in range(count)
    ]
    return write_shards(documents, tmp_path_factory.mktemp("data") / "toy", ENCODING, workers=1)


def model(seed: int = 0, dropout: float = 0.0) -> GPT:
    config = ModelConfig(n_layer=2, n_head=2, n_embd=16, context=CONTEXT, vocab_size=ENCODING.n_vocab)
    built = GPT(config, dropout=dropout, seed=seed)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.mul_(4)  # far from uniform
    return built


def saved(path: Path, seed: int = 0, encoding: Any = ENCODING) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(path, model(seed), tokenizer.to_record(encoding), CheckpointRun())
    return path


@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.integers(1, 20), st.data())
def test_every_token_is_scored_exactly_once(lengths: list[int], context: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, context))
    scored = [np.zeros(n, int) for n in lengths]
    for w in windows_over(np.array(lengths), context, stride):
        assert w.length <= context
        first = w.start + w.length - w.scored
        scored[w.document][first : w.start + w.length] += 1
        assert first == 0 or first - w.start >= context - stride  # the context that is promised
    assert all((s == 1).all() for s in scored)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=20), st.integers(1, 100))
def test_batches_hold_every_window_within_the_budget(lengths: list[int], batch_tokens: int) -> None:
    found = list(windows_over(np.array(lengths), 16, 8))
    taken = list(batches(found, batch_tokens))
    assert sorted((w for b in taken for w in b), key=str) == sorted(found, key=str)
    assert all(len(b) == 1 or len(b) * b[0].length <= batch_tokens for b in taken)
    assert all(w.length <= b[0].length for b in taken for w in b)


@pytest.mark.parametrize("chunk", [7, 300, 10**6])
def test_chunked_statistics_equal_the_plain_ones(chunk: int) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(50, 8, generator=generator, dtype=torch.float64)
    weight = torch.randn(33, 8, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 33, (50,), generator=generator)
    nats, confidence, correct = token_statistics(hidden, weight, targets, chunk)
    logits = hidden @ weight.T
    assert torch.allclose(nats, torch.nn.functional.cross_entropy(logits, targets, reduction="none"))
    assert torch.allclose(confidence, logits.softmax(1).amax(1))
    assert torch.equal(correct, logits.argmax(1) == targets)


@pytest.mark.parametrize("stride", [1, 5, 16])
def test_losses_equal_one_token_at_a_time(shards: Shards, tmp_path: Path, stride: int) -> None:
    loaded = checkpoint.load(saved(tmp_path / "checkpoint.pt"))
    result = evaluate(loaded, shards, Method(stride_tokens=stride, batch_tokens=50))
    split = shards.split("test")
    for index in range(5):
        text = [ENCODING.eot_token, *split.document(index).tolist()]
        nats = 0.0
        for place in range(1, len(text)):
            n = place - 1  # targets before this one
            extra = 0 if n < CONTEXT else (-(-(n + 1 - CONTEXT) // stride)) * stride
            start = max(0, min(CONTEXT + extra, len(text) - 1) - CONTEXT)
            with torch.no_grad():
                logits = loaded.model(torch.tensor([text[start:place]]))[0, -1]
            nats -= float(logits.log_softmax(0)[text[place]])
        assert result.arrays["nats"][index] == pytest.approx(nats, rel=1e-5)
        assert result.arrays["tokens"][index] == len(text) - 1
    arrays = result.arrays
    for part in ("decile", "position", "confidence"):
        assert arrays[f"{part}_tokens"].sum(1).tolist() == arrays["tokens"].tolist()
    for part in ("decile", "position"):
        assert arrays[f"{part}_nats"].sum(1) == pytest.approx(arrays["nats"])
    assert arrays["confidence_correct"].sum(1).tolist() == arrays["correct"].tolist()


def test_batching_changes_nothing_and_dropout_is_off(shards: Shards, tmp_path: Path) -> None:
    path = saved(tmp_path / "checkpoint.pt")
    small = evaluate(checkpoint.load(path, dropout=0.9), shards, Method(batch_tokens=1))
    loaded = checkpoint.load(path, dropout=0.9)
    loaded.model.train()
    large = evaluate(loaded, shards, Method(batch_tokens=10_000))
    assert small.arrays["nats"] == pytest.approx(large.arrays["nats"], rel=1e-5)
    assert large.record.method.dropout == 0.0


def test_the_means_are_those_of_the_documents(shards: Shards, tmp_path: Path) -> None:
    result = evaluate(checkpoint.load(saved(tmp_path / "checkpoint.pt")), shards, Method())
    arrays, record = result.arrays, result.record
    assert record.loss_nats.value == pytest.approx(arrays["nats"].sum() / arrays["tokens"].sum())
    size = sum(len(ENCODING.decode(d[:-1].tolist()).encode()) for d in map(shards.split("test").document, range(12)))
    assert record.data.bytes == size
    assert record.bits_per_byte.value == pytest.approx(arrays["nats"].sum() / np.log(2) / size)
    assert {row.name: row.documents for row in record.domains} == {"d0": 6, "d1": 6}
    weighted = sum(row.value * row.tokens for row in record.frequency_deciles) / record.data.tokens
    assert weighted == pytest.approx(record.loss_nats.value)
    json_line(record)  # no NaN


def test_deciles_are_tenths_of_the_training_text(shards: Shards) -> None:
    train = shards.split("train")
    deciles = frequency_deciles(train, ENCODING.n_vocab)
    counts = np.bincount(train.tokens, minlength=ENCODING.n_vocab)
    assert deciles[counts.argmax()] == deciles.min()
    assert (deciles[counts == 0] == 9).all()
    order = np.argsort(-counts, kind="stable")
    assert (np.diff(deciles[order][counts[order] > 0]) >= 0).all()
    share = np.bincount(deciles, counts, 10) / counts.sum()
    assert (share < 0.1 + counts.max() / counts.sum() + 1e-9).all()


def test_some_documents_only(shards: Shards, tmp_path: Path) -> None:
    loaded = checkpoint.load(saved(tmp_path / "checkpoint.pt"))
    all_of_them, some = (evaluate(loaded, shards, Method(documents=n)) for n in (None, 3))
    assert some.arrays["index"].tolist() == [0, 6, 11]
    assert some.arrays["nats"] == pytest.approx(all_of_them.arrays["nats"][[0, 6, 11]], rel=1e-5)
    assert some.record.data.of_documents == 12


def test_broken_weights_are_an_error_not_a_loss(shards: Shards, tmp_path: Path) -> None:
    loaded = checkpoint.load(saved(tmp_path / "checkpoint.pt"))
    with torch.no_grad():
        loaded.model.head_weight.fill_(float("nan"))
    with pytest.raises(InputError, match="not finite"):
        evaluate(loaded, shards, Method())


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Method(split="validation"), "the validation split is empty"),
        (Method(split="dev"), "no split 'dev'"),
        (Method(stride_tokens=17), "a stride of 17 tokens"),
        (Method(stride_tokens=0), "a stride of 0 tokens"),
    ],
)
def test_what_cannot_be_evaluated(shards: Shards, tmp_path: Path, method: Method, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(checkpoint.load(saved(tmp_path / "checkpoint.pt")), shards, method)


Program = Callable[..., Any]


def test_the_command_evaluates_and_compares(program: Program, shards: Shards, tmp_path: Path) -> None:
    paths = [saved(tmp_path / name / "checkpoint.pt", seed) for seed, name in enumerate(("first", "second"))]
    done = program("pretrain", "eval", *paths, "--data", shards.directory, "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["format"] == "equiloss.evals.v1"
    assert [e["checkpoint"]["name"] for e in document["evaluations"]] == ["first", "second"]
    (pair,) = document["comparisons"]
    losses = [e["loss_nats"]["value"] for e in document["evaluations"]]
    assert pair["difference_nats"]["value"] == pytest.approx(losses[0] - losses[1])
    assert pair["verdict"] in ("equivalent", "different", "undetermined")
    first, second = (evaluation.find(path, checkpoint.load(path).sha256)[0] for path in paths)
    assert loss_comparison.compare(first, second).difference_nats.model_dump() == pair["difference_nats"]
    assert (tmp_path / "first" / "toy.test.eval.npz").exists()


def test_the_command_shows_tables_and_writes_where_it_is_told(program: Program, shards: Shards, tmp_path: Path) -> None:
    paths = [saved(tmp_path / f"{name}.pt", seed) for seed, name in enumerate(("one", "two"))]
    done = program("pretrain", "eval", *paths, "--data", shards.directory, "-o", tmp_path / "out", "--margin", "9")
    assert done.code == 0, done.err
    assert "bits per byte" in done.out
    assert "equivalent" in done.out
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        f"{name}.toy.test.eval.{end}" for name in ("one", "two") for end in ("json", "npz")
    }


def test_bad_input_is_one_line(program: Program, shards: Shards, tmp_path: Path) -> None:
    path = saved(tmp_path / "a" / "checkpoint.pt")
    other = saved(tmp_path / "b" / "checkpoint.pt", encoding=tokenizer.train_bpe(["entirely other text"] * 3, 270))
    for arguments, message in (
        ([other, "--data", shards.directory], "was trained with another tokenizer (270 ids)"),
        ([path, "--data", tmp_path / "nowhere"], "no such data directory"),
        ([tmp_path / "none.pt", "--data", shards.directory], "no such file"),
        ([path, path, "--data", shards.directory], "named twice"),
        ([path, "--data", shards.directory, "--device", "warp"], "no device 'warp'"),
        ([path, "--data", shards.directory, "--margin", "0"], "a margin of 0.0 nats"),
    ):
        done = program("pretrain", "eval", *arguments)
        assert done.code == 2, (message, done.err)
        assert message in done.err
        assert done.err.count("\n") == 1


def test_an_evaluation_on_other_data_of_the_same_name_is_left_alone(shards: Shards, tmp_path: Path) -> None:
    start, sha256 = tmp_path / "test", shards.sha256
    assert free_name(start, "test", sha256) == tmp_path / "test.test"
    loaded = checkpoint.load(saved(tmp_path / "checkpoint.pt"))
    evaluation.save(evaluate(loaded, shards, Method(documents=1)), tmp_path / "test.test")
    assert free_name(start, "test", sha256) == tmp_path / "test.test"
    assert free_name(start, "test", "b" * 64) == tmp_path / "test-bbbbbbbb.test"
    (tmp_path / "test.test.eval.json").write_text("broken")
    assert free_name(start, "test", "b" * 64) == tmp_path / "test.test"


def test_several_test_sets_are_compared_each_and_together(program: Program, shards: Shards, tmp_path: Path) -> None:
    lines = [Document(f"the queen of land {i} and the king of {i * 7}", "e", "test") for i in range(15)]
    other = write_shards([Document("a land", "e", "train"), *lines], tmp_path / "data" / "toy", ENCODING, workers=1)
    paths = [saved(tmp_path / name / "checkpoint.pt", seed) for seed, name in enumerate(("first", "second", "third"))]
    sets = ["--data", shards.directory, "--data", other.directory]
    done = program("pretrain", "eval", *paths, *sets, "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert len(document["evaluations"]) == 6
    assert [pair["data"] for pair in document["comparisons"]] == [str(shards.directory)] * 3 + [
        str(other.directory)
    ] * 3
    assert len(document["overall"]) == 3
    for overall in document["overall"]:
        own = [p for p in document["comparisons"] if (p["a"], p["b"]) == (overall["a"], overall["b"])]
        values = [pair["difference_nats"]["value"] for pair in own]
        assert overall["difference_nats"]["value"] == pytest.approx(sum(values) / 2)
        assert overall["difference_nats"]["documents"] == 12 + 15
        assert overall["verdicts"] == {pair["data"]: pair["verdict"] for pair in own}
    assert len(list((tmp_path / "first").glob("toy*.test.eval.json"))) == 2, "two sets of one name have files each"
    shown = program("pretrain", "eval", *paths[:2], *sets)
    assert shown.code == 0, shown.err
    assert "over all 2 test sets" in shown.out
    for arguments, message in (
        ([paths[0]], "no test set"),
        ([paths[0], "--data", shards.directory, "--data", shards.directory], "a test set is named twice"),
    ):
        refused = program("pretrain", "eval", *arguments)
        assert refused.code == 2
        assert message in refused.err


@pytest.mark.parametrize(
    ("effects", "verdict"), [((0.0, 0.0), "equivalent"), ((0.0, 0.2), "different"), ((0.2, 0.2), "different")]
)
def test_equivalence_over_all_holds_on_every_set(
    shards: Shards, tmp_path: Path, effects: tuple[float, float], verdict: str
) -> None:
    loaded = checkpoint.load(saved(tmp_path / "checkpoint.pt"))
    one = evaluate(loaded, shards, Method())
    rng = np.random.default_rng(3)
    comparisons = []
    for effect in effects:
        noise = rng.normal(effect, 0.01, 12) * one.arrays["tokens"]
        shifted = evaluation.Evaluation(one.record, {**one.arrays, "nats": one.arrays["nats"] + noise})
        comparisons.append(loss_comparison.compare(shifted, one, 0.05))
    overall = loss_comparison.over_all(comparisons)
    assert overall.verdict == verdict
    assert overall.difference_nats.value == pytest.approx(sum(effects) / 2, abs=0.02)


def test_test_documents_in_the_training_text_are_told(program: Program, tmp_path: Path) -> None:
    words = [" ".join(f"w{n}" for n in np.random.default_rng(i).integers(0, 500, 30)) for i in range(20)]
    tests = write_shards(
        [Document("the king", "x", "train"), *(Document(text, "x", "test") for text in words)],
        tmp_path / "held", ENCODING, workers=1,
    )  # fmt: skip
    source = TextSource(name="hub:fineweb")
    training = write_shards(
        [Document(text, "x", "train") for text in (*words[:5], "other words")],
        tmp_path / "train", ENCODING, workers=1, source=source,
    )  # fmt: skip
    paths = []
    for seed, name in enumerate(("read", "unread")):
        path = tmp_path / name / "checkpoint.pt"
        path.parent.mkdir()
        shards = training if name == "read" else tests
        run = CheckpointRun(data=TrainingData(directory=str(shards.directory), sha256=shards.sha256, source=source))
        checkpoint.save(path, model(seed), tokenizer.to_record(ENCODING), run)
        paths.append(path)
    done = program("pretrain", "eval", *paths, "--data", tests.directory)
    assert done.code == 0, done.err
    assert f"warning: 5 documents (25.0 %) of {tests.directory} stand in read's training text" in done.err
    assert "unread's training text" not in done.err
    assert "without the documents that one of them has read, read − unread is" in done.err
    report = json.loads(program("pretrain", "eval", *paths, "--data", tests.directory, "--json").out)
    (pair,) = report["comparisons"]
    assert pair["seen_documents"] == {"a": 5, "b": 0}
    first, second = (evaluation.find(path)[0] for path in paths)
    left = slice(5, None)
    nats = (first.arrays["nats"] - second.arrays["nats"])[left].sum() / first.arrays["tokens"][left].sum()
    assert pair["unseen_difference_nats"]["value"] == pytest.approx(nats)
    (training.directory / "data.json").unlink()
    gone = json.loads(program("pretrain", "eval", paths[0], "--data", tests.directory, "--json").out)
    assert gone["evaluations"][0]["checkpoint"]["seen_documents"] is None


def test_the_share_of_a_training_mix_that_is_of_the_test_sets_source() -> None:
    part = {"weight": 1.0, "documents": 1, "bytes": 1, "passes": 1}
    mix = TextSource.model_validate(
        {"name": "mix", "mix": [{"name": "/a/fineweb", "share": 0.45, "sha256": "x", **part},
                                {"name": "hub:edu", "share": 0.45, **part},
                                {"name": "world:demo?people=3", "share": 0.1, **part}]}
    )  # fmt: skip
    shares = {
        "elsewhere": TextSource(name="elsewhere").share_in(mix),
        "same content": TextSource(name="renamed", sha256="x").share_in(mix),
        "another machine": TextSource(name="/b/fineweb/").share_in(mix),
        "other content": TextSource(name="/b/fineweb", sha256="y").share_in(mix),
        "a world": TextSource(name="world:demo?people=9").share_in(mix),
        "the mix": mix.share_in(mix),
        "whole": TextSource(name="hub:edu").share_in(TextSource(name="hub:edu")),
    }
    assert shares == pytest.approx(
        {"elsewhere": 0, "same content": 0.45, "another machine": 0.45, "other content": 0, "a world": 0.1,
         "the mix": 1, "whole": 1}
    )  # fmt: skip


def test_models_of_different_vocabularies_are_compared_in_bits_per_byte(
    make_foreign: Callable[..., Path], shards: Shards, tmp_path: Path
) -> None:
    """Each reads the text with its own tokenizer: the same bytes, other tokens, and `transformers`' own loss."""
    from transformers import AutoModelForCausalLM

    paths = [make_foreign("gpt_neox", end=False), make_foreign("llama", bos=True)]
    report = evaluate_all(paths, [shards.directory], Method(), tmp_path / "out", 0.05, "cpu")
    a, b = report.evaluations
    assert a.data.bytes == b.data.bytes > 0
    assert a.checkpoint.tokenizer_sha256 != b.checkpoint.tokenizer_sha256
    (pair,) = report.comparisons
    assert pair.difference_bits_per_byte is not None
    assert pair.difference_bits_per_byte.value == pytest.approx(a.bits_per_byte.value - b.bits_per_byte.value)
    assert not pair.frequency_deciles

    loaded = huggingface.load(paths[1])
    document = loaded.tokens_of(shards, shards.split("test"), np.array([0]))[0].tokens.astype(np.int64)
    text = shards.tokenizer.decode(shards.split("test").document(0)[:-1].tolist())
    assert loaded.encoding.decode(document[:-1].tolist()) == text
    ids = torch.from_numpy(np.append([0], document))[None]  # behind its own beginning, and its own end is a target
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(paths[1]).eval()(ids[:, :-1]).logits[0]
    theirs = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum")
    result = evaluate(loaded, shards, Method())
    assert float(result.arrays["nats"][0]) == pytest.approx(float(theirs), rel=1e-5)


def test_documents_of_no_bytes_are_a_damaged_index(shards: Shards, tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    shutil.copytree(shards.directory, folder)
    index = dict(np.load(folder / "test.docs.npz"))
    key = next(name for name in index if "bytes" in name)
    np.savez(folder / "test.docs.npz", **{**index, key: np.zeros_like(index[key])})
    loaded = checkpoint.load(saved(tmp_path / "checkpoint.pt"))
    with pytest.raises(InputError, match="no bytes"):
        evaluate(loaded, Shards.open(folder), Method())
