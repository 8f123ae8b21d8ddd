"""`pretrain run` from end to end, and the arithmetic of its steps."""

from __future__ import annotations

import argparse
import inspect
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from equiloss.config import validate
from equiloss.errors import EquilossError, IncompleteError, InputError
from equiloss.files import read_jsonl
from equiloss.records.token_data import TextSource
from equiloss.tokenizer import train_bpe
from pretrain.config import RunConfig, load_run_config
from pretrain.data.document import Document
from pretrain.data.shard_writer import write_shards
from pretrain.data.shards import Shards
from pretrain.model import checkpoint
from pretrain.model.decoder import GPT
from pretrain.training.distributed import World
from pretrain.training.optimizers import Optimizers
from pretrain.training.run import Run, train
from pretrain.training.step import Stepper, micro_batches, my_share

SMALL = {
    "model": {"n_layer": 2, "n_head": 2, "n_embd": 32, "context": 16},
    "train": {"steps": 12, "batch_size": 4, "log_every": 2, "eval_tokens": 256, "eval_every": 4, "precision": "fp32"},
}
ONE = World(0, 1, torch.device("cpu"))
TIMES = ("tokens_per_s", "elapsed_s")


def small(**changes: Any) -> RunConfig:
    train = {key: value for key, value in changes.items() if key not in SMALL["model"] and key not in MODEL_FIELDS}
    model = {key: value for key, value in changes.items() if key not in train}
    return validate(RunConfig, {"model": SMALL["model"] | model, "train": SMALL["train"] | train}, "test")


MODEL_FIELDS = {"tie_weights", "qkv_bias", "out_bias", "norm", "init", "dropout", "vocab_size"}


def metrics(directory: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what a clock decides."""
    rows = read_jsonl(directory / "metrics.jsonl")
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(directory / "checkpoint.pt").model.state_dict()


def equal_weights(first: Path, second: Path) -> bool:
    one, other = weights(first), weights(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_command_leaves_what_it_promises_and_the_run_repeats_from_it(
    program: Callable[..., Any], shards_directory: Path, tmp_path: Path
) -> None:
    sets = ["model.n_layer=2", "model.n_embd=32", "model.context=16", "train.steps=30", "train.batch_size=8"]
    common = ["--data", shards_directory, "-o", tmp_path / "runs"]
    options = [f"--set={item}" for item in sets]
    done = program("pretrain", "run", "tiny", *common, "--name", "a", "--seed", 3, *options, "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    directory = tmp_path / "runs" / "a"
    assert document["checkpoint"] == str(directory / "checkpoint.pt")
    assert document["steps"] == 30
    expected = {"config.toml", "metrics.jsonl", "loss.png", "report.html", "samples.jsonl", "checkpoint.pt", ".lock"}
    assert {path.name for path in directory.iterdir()} == expected
    assert (directory / "loss.png").read_bytes()[:4] == b"\x89PNG"
    rows = metrics(directory)
    assert [row["step"] for row in rows if "loss" in row] == [10, 20, 30]
    assert rows[-1]["step"] == 30
    assert rows[-1]["validation_loss"] == document["validation_loss"] < math.log(300)
    run = checkpoint.load(directory / "checkpoint.pt").run
    assert run.train_settings["seed"] == 3
    assert run.provenance is not None
    assert run.provenance.libraries["torch"]
    again = program("pretrain", "run", directory / "config.toml", *common, "--name", "b")
    assert again.code == 0, again.err
    assert metrics(tmp_path / "runs" / "b") == rows
    assert equal_weights(directory, tmp_path / "runs" / "b")
    nothing = program("pretrain", "run", directory / "config.toml", *common, "--name", "b")
    assert nothing.code == 0
    assert "is done already" in nothing.err
    other = program("pretrain", "run", directory / "config.toml", *common, "--name", "b", "--set", "train.lr=0.5")
    assert other.code == 2
    assert "train.lr: 0.002 → 0.5" in other.err


@pytest.mark.parametrize("tie", [True, False])
def test_the_first_loss_is_that_of_a_uniform_guess(shards_directory: Path, tmp_path: Path, tie: bool) -> None:
    train(small(steps=1, tie_weights=tie, log_every=1), shards_directory, tmp_path / "a")
    assert metrics(tmp_path / "a")[0]["loss"] == pytest.approx(math.log(300), abs=0.1)


def test_a_first_loss_of_hundreds_of_nats_is_said(
    shards_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tied head with torch's N(0, 1) embedding, as the diary had it."""
    train(small(init="torch", n_embd=512, steps=2, log_every=1), shards_directory, tmp_path / "torch")
    first = read_jsonl(tmp_path / "torch" / "metrics.jsonl")[0]["loss"]
    assert first > 100
    said = " ".join(capsys.readouterr().err.split())
    assert f"the first loss is {first:.1f} nats" in said
    assert "model.init = torch, tie_weights = true" in said
    train(small(steps=2), shards_directory, tmp_path / "gpt2")
    assert "the first loss" not in capsys.readouterr().err


def test_a_run_goes_on_from_the_weights_of_another(shards_directory: Path, tmp_path: Path) -> None:
    first = train(small(steps=3), shards_directory, tmp_path / "a")
    again = train(small(steps=1, lr=1e-12, start=str(first.checkpoint)), shards_directory, tmp_path / "b")
    for name, value in weights(tmp_path / "a").items():
        torch.testing.assert_close(weights(tmp_path / "b")[name], value, rtol=0, atol=1e-9)
    start = checkpoint.load(again.checkpoint).run.start
    assert start is not None
    assert start.sha256 == checkpoint.load(first.checkpoint).sha256
    with pytest.raises(InputError, match="another shape"):
        train(small(steps=1, start=str(first.checkpoint), n_layer=3), shards_directory, tmp_path / "c")


def test_tokens_instead_of_steps(shards_directory: Path, tmp_path: Path) -> None:
    result = train(small(tokens=600), shards_directory, tmp_path / "a")
    assert result.steps == math.ceil(600 / (4 * 16))


def test_seeds_move_one_thing_each(shards_directory: Path) -> None:
    def first_step(**changes: Any) -> tuple[dict[str, torch.Tensor], list[int], float]:
        run = Run(small(dropout=0.1, **changes), shards_directory, Path("unused"), ONE)
        run._build()
        start = {name: value.clone() for name, value in run.model.state_dict().items()}
        offsets = run.order.offsets(0)
        torch.manual_seed(len(changes))  # the global state must not matter
        loss = run.stepper(0, *run._batch(run.order.offsets(99)), lr=0.1).loss
        return start, offsets.tolist(), loss

    base = first_step()
    for field, moved in (("init_seed", 0), ("order_seed", 1), ("dropout_seed", 2)):
        other = first_step(**{field: 7})
        same_start = all(torch.equal(base[0][name], other[0][name]) for name in base[0])
        assert same_start == (moved != 0), field
        assert (base[1] == other[1]) == (moved != 1), field
        if moved == 2:
            assert base[2] != other[2]
    explicit = first_step(init_seed=0, order_seed=0, dropout_seed=0)
    assert explicit[1:] == base[1:]
    moved = first_step(seed=7)
    assert moved[1] != base[1]
    assert moved[1] == first_step(order_seed=7)[1]


def one_step(config: RunConfig, ids: torch.Tensor, targets: torch.Tensor) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of one step in fp64."""
    model = GPT(config.model).double()
    gradients: dict[str, torch.Tensor] = {}
    optimizers = Optimizers(model, config.train)
    stepper = Stepper(model, model, optimizers, config, ONE)

    def keep(lr: float) -> None:
        gradients.update({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})

    optimizers.step = keep  # type: ignore[method-assign]
    return stepper(0, ids, targets, 0.0).loss, gradients


@pytest.mark.parametrize(("batch", "accumulate"), [(2, 6), (3, 4), (1, 12)])
def test_accumulation_equals_one_batch(batch: int, accumulate: int) -> None:
    def config(batch: int, accumulate: int) -> RunConfig:
        return small(vocab_size=50, batch_size=batch, accumulate=accumulate, clip_norm=None)

    ids = torch.randint(50, (12, 16), generator=torch.Generator().manual_seed(0))
    targets = ids.roll(-1, 1)
    loss, gradients = one_step(config(12, 1), ids, targets)
    plain = F.cross_entropy(GPT(config(12, 1).model).double()(ids).flatten(0, 1), targets.flatten()).item()
    assert loss == pytest.approx(plain, abs=1e-12)
    parts, accumulated = one_step(config(batch, accumulate), ids, targets)
    assert parts == pytest.approx(loss, abs=1e-6)
    for name, gradient in gradients.items():
        assert (accumulated[name] - gradient).abs().max() < 1e-12, name


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize(("batch", "accumulate"), [(6, 16), (4, 1), (3, 5), (1, 7), (8, 2)])
def test_processes_share_a_step_without_gap_or_overlap(size: int, batch: int, accumulate: int) -> None:
    config = small(batch_size=batch, accumulate=accumulate)
    total = batch * accumulate
    if total < size:
        return
    shares = [my_share(config, World(rank, size, torch.device("cpu"))) for rank in range(size)]
    taken = [index for part, _ in shares for index in range(total)[part]]
    assert taken == list(range(total))
    count = micro_batches(config, size)
    for part, held in shares:
        assert 0 < len(range(total)[part]) <= held
        assert held % count == 0
        assert held // count <= batch


def test_clipping_bounds_the_update_and_is_reported(shards_directory: Path, tmp_path: Path) -> None:
    train(small(clip_norm=1e-3), shards_directory, tmp_path / "a")
    rows = [row for row in metrics(tmp_path / "a") if "loss" in row]
    assert all(row["clipped"] == 1.0 and row["grad_norm"] > 1e-3 for row in rows)
    train(small(clip_norm=None), shards_directory, tmp_path / "b")
    assert all(row["clipped"] == 0.0 for row in metrics(tmp_path / "b") if "loss" in row)


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bf16"},
        {"precision": "fp16"},
        {"precision": "tf32"},
        {"optimizer": "muon"},
        {"schedule": "wsd"},
        {"schedule": "linear"},
        {"schedule": "constant"},
        {"qkv_bias": False, "tie_weights": False, "dropout": 0.1},
        {"out_bias": False, "norm": "std", "init": "flax"},
        {"decay_on": "everything", "weight_decay": 0.01, "clip_norm": 3.5},
        {"order": "random"},
        {"order": "sequential"},
        {"mask_induction": True},
    ],
    ids=str,
)
def test_every_intervention_learns(shards_directory: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    config = small(steps=60, lr=0.01, log_every=10, eval_every=60, batch_size=8, **changes)
    result = train(config, shards_directory, tmp_path / "a")
    assert result.validation_loss is not None
    assert result.validation_loss < 4.5  # ln(300) = 5.7


def test_steps_with_nonfinite_gradients_leave_the_weights_alone_and_are_counted(
    program: Callable[..., Any], shards_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Stepper._update
    seen: list[bool] = []

    def spoil(self: Stepper, total: torch.Tensor, scale: float, lr: float) -> Any:
        number = len(seen)
        before = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        if number in (2, 3):
            gradient = next(self.model.parameters()).grad
            assert gradient is not None
            gradient[0] = float("inf")
        result = original(self, total, scale, lr)
        same = all(torch.equal(before[name], p) for name, p in self.model.named_parameters())
        assert same == result.skipped
        seen.append(result.skipped)
        return result

    monkeypatch.setattr(Stepper, "_update", spoil)
    result = train(small(), shards_directory, tmp_path / "a")
    assert result.skipped == 2
    assert seen == [number in (2, 3) for number in range(12)]
    assert [row["skipped"] for row in metrics(tmp_path / "a") if "loss" in row] == [0, 2, 2, 2, 2, 2]
    assert checkpoint.load(result.checkpoint).run.skipped_steps == 2
    seen[:] = []
    with pytest.raises(EquilossError, match=r"gradients of 2 steps in a row are not finite at step 4"):
        train(small(max_skipped=2), shards_directory, tmp_path / "b")


def test_a_run_that_skipped_more_than_half_of_its_steps_has_failed(
    program: Callable[..., Any], shards_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Stepper._update
    spoiled: set[int] = set()
    steps = [0]

    def spoil(self: Stepper, total: torch.Tensor, scale: float, lr: float) -> Any:
        gradient = next(self.model.parameters()).grad
        assert gradient is not None
        if steps[0] in spoiled:
            gradient[0] = float("inf")
        steps[0] += 1
        return original(self, total, scale, lr)

    monkeypatch.setattr(Stepper, "_update", spoil)
    sets = [f"--set=model.{key}={value}" for key, value in SMALL["model"].items()]
    sets += [f"--set=train.{key}={value}" for key, value in SMALL["train"].items()]
    for name, bad, code in (("half", range(6), 0), ("more", range(7), 1)):
        steps[0], spoiled = 0, set(bad)
        done = program("pretrain", "run", "tiny", "--data", shards_directory, "-o", tmp_path, "--name", name, *sets)
        assert done.code == code, done.err
    assert "7 of 12 steps" in done.err
    assert (tmp_path / "more" / "checkpoint.pt").is_file()


def test_the_best_weights_need_a_validation_loss_to_be_chosen_by(shards_directory: Path, tmp_path: Path) -> None:
    shards = Shards.open(shards_directory)
    context = len(shards.split("validation").tokens)
    assert context < len(shards.split("train").tokens) - 1
    with pytest.raises(InputError, match=r"train\.checkpoint is best, but the validation split"):
        train(small(context=context, batch_size=1, checkpoint="best"), shards_directory, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_fp16_finds_its_scale(shards_directory: Path, tmp_path: Path) -> None:
    run = Run(small(precision="fp16"), shards_directory, tmp_path, ONE)
    run._build()
    assert run.stepper.scaler is not None
    run.stepper.scaler.scale = 2.0**40  # overflows fp16 whatever the gradients
    skipped = [run.stepper(step, *run._batch(run.order.offsets(step)), 0.01).skipped for step in range(60)]
    assert skipped[0]
    assert sum(skipped[-20:]) < 5  # it settles just below what overflows
    assert run.stepper.scaler.scale == 2.0 ** (40 - sum(skipped))


def test_a_loss_that_is_no_number_stops_the_run(shards_directory: Path, tmp_path: Path) -> None:
    config = small(lr=1e30, clip_norm=None, schedule="constant", warmup=0.0, save_every=1, steps=50)
    with pytest.raises(EquilossError, match=r"lower train\.lr") as caught:
        train(config, shards_directory, tmp_path / "a")
    message = str(caught.value)
    assert caught.value.exit_code == 1
    assert "the last good state is" in message
    assert "step-0000000" in message
    (batch,) = (tmp_path / "a").glob("nonfinite-step-*.json")
    assert batch.name in message
    document = json.loads(batch.read_text())
    assert f"at step {document['step']}" in message
    assert len(document["window_starts"]) == 4
    assert not (tmp_path / "a" / "checkpoint.pt").exists()


def test_best_is_by_validation_loss(shards_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[int, dict[str, torch.Tensor]] = {}
    original = Run._evaluate

    def spy(self: Run) -> None:
        original(self)
        seen[self.progress.step] = {name: value.clone() for name, value in self.model.state_dict().items()}

    monkeypatch.setattr(Run, "_evaluate", spy)
    # A rate so high at the end that the loss rises again.
    config = small(checkpoint="best", steps=40, lr=3.0, schedule="constant", warmup=1.0, clip_norm=None)
    train(config, shards_directory, tmp_path / "a")
    losses = {row["step"]: row["validation_loss"] for row in metrics(tmp_path / "a") if "validation_loss" in row}
    best = min(losses, key=lambda step: losses[step])
    assert best != 40, losses
    loaded = checkpoint.load(tmp_path / "a" / "checkpoint.pt")
    assert loaded.run.step_of_weights == best
    assert loaded.run.validation_loss == losses[best]
    assert all(torch.equal(value, seen[best][name]) for name, value in loaded.model.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": 50257}, "model.vocab_size is 50257, but the tokenizer of .* has 300 tokens"),
        ({"context": 100_000}, "fewer than one window of model.context 100000"),
        ({"n_head": 3}, "not a multiple of n_head"),
        ({"device": "tpu9"}, "is no device"),
        ({"device": "cuda"}, "no CUDA device"),
    ],
)
def test_bad_input_is_one_line(shards_directory: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    if changes.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("a CUDA device is there")
    with pytest.raises(InputError, match=message):
        train(small(**changes), shards_directory, tmp_path / "a")
    assert not (tmp_path / "a" / "metrics.jsonl").exists()


def test_a_missing_data_directory_is_one_line(program: Callable[..., Any], tmp_path: Path) -> None:
    done = program("pretrain", "run", "tiny", "--data", tmp_path / "none", "-o", tmp_path / "runs")
    assert done.code == 2
    assert "no such data directory" in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_a_clear_line(shards_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Run._build

    def fill(self: Run) -> None:
        original(self)
        (self.directory / "metrics.jsonl").symlink_to("/dev/full")

    monkeypatch.setattr(Run, "_build", fill)
    with pytest.raises(IncompleteError, match=r"no space left .*run the same command with --resume") as caught:
        train(small(), shards_directory, tmp_path / "a")
    assert caught.value.exit_code == 3


@pytest.mark.slow
def test_a_10k_token_text_is_memorised(tmp_path: Path) -> None:
    text = inspect.getsource(argparse)[:24_000]  # a text that is on every machine
    encoding = train_bpe([text], 400)
    text = encoding.decode(encoding.encode_ordinary(text)[:10_000])
    documents = [Document(text, "a", "train"), Document(text[:500], "a", "validation"), Document("x", "a", "test")]
    shards = write_shards(documents, tmp_path / "data", encoding, source=TextSource(name="test"), workers=1)
    assert 9_900 < len(shards.split("train").tokens) < 10_100
    sets = ["n_layer=2", "n_embd=128", "context=32"], ["steps=500", "batch_size=32", "lr=0.005", "weight_decay=0"]
    keys = [f"{section}.{item}" for section, items in zip(("model", "train"), sets, strict=True) for item in items]
    result = train(load_run_config("tiny", [*keys, "train.precision=fp32"]), tmp_path / "data", tmp_path / "a")
    assert result.train_loss is not None
    assert result.train_loss < 0.3
