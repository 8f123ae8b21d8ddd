"""Checkpoints and states whose content does not fit are refused in one line, before anything is done with them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from equiloss.errors import InputError
from equiloss.records.base_run import CheckpointRun
from equiloss.tokenizer import to_record, train_bpe
from pretrain.config import ModelConfig
from pretrain.model import checkpoint
from pretrain.model.checkpoint import check_moments
from pretrain.model.decoder import GPT

NAME = "token_embedding.weight"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    encoding = train_bpe(["a few words"], 300)
    config = ModelConfig(n_layer=1, n_head=1, n_embd=8, context=4, vocab_size=encoding.n_vocab)
    checkpoint.save(tmp_path / "a.pt", GPT(config), to_record(encoding), CheckpointRun(name="a"))
    return tmp_path / "a.pt"


def set_weight(change: Callable[[torch.Tensor], Any]) -> Callable[[dict[str, Any]], object]:
    def apply(document: dict[str, Any]) -> None:
        document["state_dict"][NAME] = change(document["state_dict"][NAME])

    return apply


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_weight(lambda w: w.double()), "float64"),
        (set_weight(lambda w: w.half()), "float16"),
        (set_weight(lambda w: w.to("meta")), "on meta"),
        (set_weight(lambda w: w[:1].clone()), r"\(1, 8\)"),
        (set_weight(lambda w: w * float("nan")), "not finite"),
        (set_weight(lambda w: w.to_sparse()), "not torch.float32"),
        (set_weight(lambda w: "text"), "is str"),
        (lambda d: d.update(state_dict=[1]), "no weights by name"),
        (lambda d: d.update(state_dict=1), "no weights by name"),
        (lambda d: d["state_dict"].pop(NAME), NAME),
        (lambda d: d["config"].update(n_layer=1000), "1 layers, not 1000"),
        (lambda d: d["config"].update(n_layer=10**9), "less than or equal to 1024"),
        (lambda d: d.update(tokenizer=[1]), "no tokenizer of the kind 'list'"),
        (lambda d: d.update(tokenizer={"kind": "bpe", "ranks": 3}), "not a tokenizer"),
        (lambda d: d.update(run=3), "run"),
    ],
)
def test_what_does_not_fit_the_config_is_refused(
    written: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    document = torch.load(written, weights_only=True)
    change(document)
    torch.save(document, written)
    with pytest.raises(InputError, match=message):
        _ = checkpoint.load(written).encoding


def test_a_flipped_bit_is_noticed(written: Path) -> None:
    data = bytearray(written.read_bytes())
    weights = torch.load(written, weights_only=True)["state_dict"][NAME].numpy().tobytes()
    data[data.index(weights) + 17] ^= 1
    written.write_bytes(bytes(data))
    with pytest.raises(InputError, match="checksums"):
        checkpoint.load(written)


@pytest.mark.parametrize(
    "moments",
    [
        {"step": torch.zeros(()), "exp_avg": torch.zeros(1), "exp_avg_sq": torch.zeros(2, 2)},
        {"step": torch.zeros(()), "exp_avg": torch.zeros(2, 2), "exp_avg_sq": torch.zeros(2, 2).double()},
        {"step": torch.zeros(3), "exp_avg": torch.zeros(2, 2), "exp_avg_sq": torch.zeros(2, 2)},
        {"exp_avg": torch.zeros(2, 2)},
        {"step": 3, "exp_avg": torch.zeros(2, 2), "exp_avg_sq": torch.zeros(2, 2)},
        [],
    ],
)
def test_moments_that_would_corrupt_memory_are_refused(moments: Any) -> None:
    with pytest.raises(InputError, match="a state"):
        check_moments({"w": torch.zeros(2, 2)}, {"w": moments}, "a state", "delete it")
