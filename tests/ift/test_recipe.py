"""Recipes: shipped ones load, unknown fields are refused, overrides apply."""

from __future__ import annotations

from pathlib import Path

import pytest

from equiloss.errors import InputError
from ift import recipe


@pytest.mark.parametrize("name", recipe.names())
def test_every_shipped_recipe_loads(name: str) -> None:
    assert recipe.load(name).epochs >= 1


def test_the_diarys_recipe() -> None:
    diary = recipe.load("diary")
    assert (diary.batch_size, diary.lr, diary.weight_decay, diary.loss_on) == (8, 5e-5, 0.1, "prompt+response")
    assert (diary.patience, diary.select, diary.dropout, diary.clip_norm) == (1, "best", 0.0, None)
    assert (diary.schedule, diary.decay_on, diary.split.by) == ("constant", "everything", "order")


def test_overrides_and_files(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text("lr = 0.5\n[split]\nseed = 7\n")
    own = recipe.load(str(path), ["epochs=2", "decoding.temperature=0.7", "patience=none"])
    assert (own.lr, own.split.seed, own.epochs, own.decoding.temperature, own.patience) == (0.5, 7, 2, 0.7, None)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["learning_rate=1"], "unknown key 'learning_rate'"),
        (["dropuot=0.1"], "did you mean 'dropout'"),
        (["split.train=0.5"], "add up to 1"),
        (["lr=fast"], "lr"),
        (["split.validation=0", "split.train=0.9"], "needs validation items"),
    ],
)
def test_what_cannot_be_is_refused(sets: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        recipe.load("default", sets)


def test_an_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="default, diary"):
        recipe.load("nope")
