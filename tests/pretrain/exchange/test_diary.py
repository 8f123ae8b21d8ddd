"""The diary's JAX layout, and the training recipes that lie beside its models, in files that the tests make."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

import torch.nn.functional as F  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from torch import Tensor  # noqa: E402

from equiloss import tokenizer  # noqa: E402
from equiloss.errors import InputError  # noqa: E402
from pretrain.exchange.diary import CODE_DEFAULT  # noqa: E402
from pretrain.exchange.export import export  # noqa: E402
from pretrain.exchange.importing import import_checkpoint, read  # noqa: E402
from pretrain.model import checkpoint  # noqa: E402
from pretrain.model.decoder import GPT  # noqa: E402

TRAINED = tokenizer.train_bpe(["the king and the queen"] * 2, 265)
V, C, T, H, L = TRAINED.n_vocab, 16, 12, 2, 2
IDS = torch.randint(0, V, (2, T), generator=torch.Generator().manual_seed(0))
TRAIN = {
    "microbatch_size": 3,
    "checkpoint_interval": 5,
    "dataset": "someone/tokens",
    "min_train_tokens": 3 * 2 * 4 * T * 10,
    "start_train_token": 0,
    "learning_rate": 0.0014,
    "schedule_learning_rate": True,
    "warmup_period_percent": 5,
    "gradient_accumulation_steps": 2,
}


@pytest.fixture
def own_tokenizer(tmp_path: Path) -> str:
    tokenizer.save(TRAINED, tmp_path / "own-tokenizer.json")
    return str(tmp_path / "own-tokenizer.json")


def flax_state(qkv_bias: bool = False, out_bias: bool = True, scale: float = 0.3) -> dict[str, Tensor]:
    shapes: dict[str, tuple[int, ...]] = {
        "token_embedding.embedding": (V, C),
        "position_embedding.embedding": (T, C),
        "output_head.kernel": (C, V),
        "output_norm.scale": (1, 1, C),
        "output_norm.bias": (1, 1, C),
    }
    for layer in range(L):
        block = f"transformers_layers.layers.{layer}"
        for part in ("W_q", "W_k", "W_v", "output_projection"):
            shapes[f"{block}.attention.{part}.kernel"] = (C, C)
            if out_bias if part == "output_projection" else qkv_bias:
                shapes[f"{block}.attention.{part}.bias"] = (C,)
        for norm in ("attention_norm", "ffn_norm"):
            shapes[f"{block}.{norm}.scale"] = shapes[f"{block}.{norm}.bias"] = (1, 1, C)
        for number, (rows, columns) in {0: (C, 4 * C), 2: (4 * C, C)}.items():
            shapes[f"{block}.ffn.layers.{number}.kernel"] = (rows, columns)
            shapes[f"{block}.ffn.layers.{number}.bias"] = (columns,)
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(shape, generator=generator) * (1.0 if name.endswith("scale") else scale)
        for name, shape in shapes.items()
    }


def flax_logits(state: dict[str, Tensor], ids: Tensor) -> Tensor:
    """The Flax model, written out: kernels from the right, and a norm that divides by std + 1e-5."""

    def norm(x: Tensor, name: str) -> Tensor:
        std = x.var(-1, keepdim=True, unbiased=False).sqrt()
        return (x - x.mean(-1, keepdim=True)) / (std + 1e-5) * state[f"{name}.scale"] + state[f"{name}.bias"]

    def linear(x: Tensor, name: str) -> Tensor:
        y = x @ state[f"{name}.kernel"]
        return y + state[f"{name}.bias"] if f"{name}.bias" in state else y

    length = ids.shape[1]
    x = state["token_embedding.embedding"][ids] + state["position_embedding.embedding"][:length]
    for layer in range(L):
        block = f"transformers_layers.layers.{layer}"
        y = norm(x, f"{block}.attention_norm")
        q, k, v = (
            linear(y, f"{block}.attention.{part}").view(*ids.shape, H, -1).transpose(1, 2)
            for part in ("W_q", "W_k", "W_v")
        )
        scores = (q @ k.transpose(2, 3) / (C // H) ** 0.5).masked_fill(
            torch.ones(length, length).triu(1) > 0, -torch.inf
        )
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(x.shape)
        x = x + linear(mixed, f"{block}.attention.output_projection")
        wide = F.gelu(linear(norm(x, f"{block}.ffn_norm"), f"{block}.ffn.layers.0"), approximate="tanh")
        x = x + linear(wide, f"{block}.ffn.layers.2")
    return linear(norm(x, "output_norm"), "output_head")


def write_run(directory: Path, state: dict[str, Tensor], train: dict[str, Any] | None = None, **shape: Any) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    save_file(state, directory / "model.safetensors")
    sizes = {"vocab_size": V, "context_length": T, "emb_dim": C, "n_heads": H, "n_layers": L, "qkv_bias": False}
    (directory / "model.json").write_text(json.dumps(sizes | shape), encoding="utf-8")
    if train is not None:
        (directory / "train.json").write_text(json.dumps(train), encoding="utf-8")
    return directory


@pytest.mark.parametrize("qkv_bias", [True, False])
@pytest.mark.parametrize("out_bias", [True, False])
def test_a_flax_model_has_its_own_norm_and_logits(
    tmp_path: Path, own_tokenizer: str, qkv_bias: bool, out_bias: bool
) -> None:
    state = flax_state(qkv_bias, out_bias, scale=0.05)  # small numbers, where the two norms are apart
    found = read(write_run(tmp_path / "run", state, qkv_bias=qkv_bias), own_tokenizer)
    assert found.layout == "diary-jax"
    assert (found.config.norm, found.config.init, found.config.tie_weights) == ("std", "flax", False)
    assert (found.config.qkv_bias, found.config.out_bias) == (qkv_bias, out_bias)

    def logits(norm: str) -> Tensor:
        model = GPT(found.config.model_copy(update={"norm": norm})).eval()
        model.load_state_dict(found.state)
        with torch.no_grad():
            return model(IDS)

    expected = flax_logits(state, IDS)
    assert torch.allclose(logits("std"), expected, atol=1e-5, rtol=0)
    assert (logits("var") - expected).abs().max() > 1e-4
    assert any("model.norm = std" in note and "under torch's norm" in note for note in found.notes)


def test_a_tied_flax_model_has_no_head_of_its_own(tmp_path: Path, own_tokenizer: str) -> None:
    state = flax_state()
    del state["output_head.kernel"]
    found = read(write_run(tmp_path / "run", state, tie_weights=True), own_tokenizer)
    model = GPT(found.config).eval()
    model.load_state_dict(found.state)
    state["output_head.kernel"] = state["token_embedding.embedding"].T
    with torch.no_grad():
        assert torch.allclose(model(IDS), flax_logits(state, IDS), atol=1e-5, rtol=0)


def test_a_norm_that_transformers_lacks_is_not_exported(tmp_path: Path, own_tokenizer: str) -> None:
    import_checkpoint(write_run(tmp_path / "run", flax_state()), tmp_path / "c.pt", own_tokenizer)
    with pytest.raises(InputError, match="not a norm of transformers"):
        export(checkpoint.load(tmp_path / "c.pt"), tmp_path / "hf")


def test_a_recipe_becomes_the_record(tmp_path: Path, own_tokenizer: str) -> None:
    run = write_run(tmp_path / "run", flax_state(), TRAIN | {"weight_decay": 0.01, "epochs": 2}, drop_rate=0.1)
    import_checkpoint(run, tmp_path / "c.pt", own_tokenizer)
    record = checkpoint.load(tmp_path / "c.pt").run
    assert record.kind == "import"
    assert record.config is not None
    assert record.config["model"]["dropout"] == 0.1
    assert record.data is not None
    assert record.data.source is not None
    assert record.data.source.name == "someone/tokens"
    assert record.processes is None
    assert record.train_settings == {
        "tokens": TRAIN["min_train_tokens"],
        "epochs": 2,
        "start_train_token": 0,
        "batch_size": 3,
        "accumulate": 2,
        "lr": 0.0014,
        "schedule": "cosine",
        "warmup": 0.05,
        "weight_decay": 0.01,
        "clip_norm": CODE_DEFAULT,
        "precision": CODE_DEFAULT,
        "seed": CODE_DEFAULT,
        "backend": "jax",
    }
    assert any("clip_norm, precision, seed" in note for note in record.notes)


@pytest.mark.parametrize("at", ["best", "latest"])
def test_checkpoints_say_where_they_stand_and_on_how_many_devices(tmp_path: Path, own_tokenizer: str, at: str) -> None:
    run = write_run(tmp_path / "run", flax_state(), TRAIN)
    for name, step in {"first": 4, "last": 9}.items():
        (place := run / "checkpoints" / name).mkdir(parents=True)
        save_file(flax_state(), place / "model.safetensors")
        meta = {"global_step": step, "val_loss": 3.5, "avg_train_loss": 3.6, "learning_rate": 0.00014, "is_best": True}
        (place / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    (run / "checkpoints" / "best").symlink_to("first", target_is_directory=True)
    (run / "checkpoints" / "latest").symlink_to("last", target_is_directory=True)
    record = read(run / "checkpoints" / at, own_tokenizer).training
    assert (record.validation_loss, record.train_loss, record.last_lr) == (3.5, 3.6, 0.00014)
    assert record.steps == {"best": 5, "latest": 10}[at]
    assert record.processes == 4
    assert record.train_settings["accumulate"] == 8
    assert any("4 devices, worked out" in note for note in record.notes)


def test_without_a_recipe_nothing_is_made_up(tmp_path: Path, own_tokenizer: str) -> None:
    training = read(write_run(tmp_path / "run", flax_state()), own_tokenizer).training
    assert training.config is None
    assert any("no train.json" in note for note in training.notes)


Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s | {"transformers_layers.layers.0.mystery.kernel": torch.zeros(2)}, "mystery"),
        (lambda s: s | {"output_head.kernel": torch.zeros(V, C)}, r"unembedding.weight is \(16, \d+\)"),
        (lambda s: s | {"output_norm.scale": torch.zeros(2, 1, C)}, "final_norm.weight"),
        (lambda s: {k: v for k, v in s.items() if "W_k" not in k}, "no tensor .*W_k"),
    ],
)
def test_a_flax_file_that_does_not_fit_is_refused(
    tmp_path: Path, own_tokenizer: str, change: Change, message: str
) -> None:
    run = write_run(tmp_path / "run", flax_state())
    save_file(change(load_file(run / "model.safetensors")), run / "model.safetensors")
    with pytest.raises(InputError, match=message):
        import_checkpoint(run, tmp_path / "c.pt", own_tokenizer)
    assert not (tmp_path / "c.pt").exists()


@pytest.mark.parametrize("field", [{"microbatch_size": 0}, {"learning_rate": True}, {"warmup_period_percent": "some"}])
def test_a_recipe_that_makes_no_sense_is_refused(tmp_path: Path, own_tokenizer: str, field: dict[str, Any]) -> None:
    run = write_run(tmp_path / "run", flax_state(), TRAIN | field)
    with pytest.raises(InputError, match=f"train.json.*{next(iter(field))}"):
        read(run, own_tokenizer)
