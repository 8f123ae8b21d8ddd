"""checkpoint.pt: what goes in comes out, and nothing else is opened."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from equiloss.errors import InputError
from equiloss.records.base_run import CheckpointRun
from pretrain.config import ModelConfig
from pretrain.model import checkpoint
from pretrain.model.decoder import GPT

CONFIG = ModelConfig(n_layer=1, n_head=2, n_embd=16, context=8, vocab_size=31, dropout=0.2)


@pytest.mark.parametrize("tie", [True, False])
def test_a_model_survives_the_round_trip(tmp_path: Path, tie: bool) -> None:
    model = GPT(CONFIG.model_copy(update={"tie_weights": tie}), dropout=0.2, seed=5)
    path = tmp_path / "runs" / "a" / "checkpoint.pt"
    checkpoint.save(path, model, {"kind": "gpt2"}, CheckpointRun(name="a"))
    loaded = checkpoint.load(path)
    assert loaded.config == model.config
    assert (loaded.tokenizer, loaded.run) == ({"kind": "gpt2"}, CheckpointRun(name="a"))
    assert loaded.model.dropout == 0.0  # never inherited
    assert not loaded.model.training
    assert all(parameter.requires_grad for parameter in loaded.model.parameters())
    x = torch.arange(8)[None]
    assert torch.equal(loaded.model(x), model.eval()(x))
    assert checkpoint.load(path, dropout=0.1).model.dropout == 0.1
    again = tmp_path / "again.pt"
    checkpoint.save(again, loaded.model, loaded.tokenizer, loaded.run)
    assert checkpoint.load(again).model.state_dict().keys() == model.state_dict().keys()


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('code ran')",))


def test_what_is_no_checkpoint_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(InputError, match="no such file"):
        checkpoint.load(path)
    with pytest.raises(InputError, match="is a directory"):
        checkpoint.load(tmp_path)
    for content in (b"", b"hello", b"PK\x03\x04 cut short", pickle.dumps({"a": 1})):
        path.write_bytes(content)
        with pytest.raises(InputError, match="checkpoint"):
            checkpoint.load(path)
    torch.save({"format": checkpoint.FORMAT, "config": Bomb()}, path)
    with pytest.raises(InputError, match="not opened"):
        checkpoint.load(path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError):
        checkpoint.load(path)
    torch.save({"model": {}}, path)
    with pytest.raises(InputError, match="not a checkpoint of format"):
        checkpoint.load(path)
    torch.save({"format": checkpoint.FORMAT, "config": {}}, path)
    with pytest.raises(InputError, match="lacks"):
        checkpoint.load(path)


def test_a_half_written_file_and_weights_that_do_not_fit_are_clear_errors(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    model = GPT(CONFIG)
    checkpoint.save(path, model, {}, CheckpointRun())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a checkpoint"):
        checkpoint.load(path)
    wider = CONFIG.model_copy(update={"n_embd": 32})
    checkpoint.save_state(path, wider, model.state_dict(), {}, CheckpointRun())
    with pytest.raises(InputError, match="do not fit"):
        checkpoint.load(path)
