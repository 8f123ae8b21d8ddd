"""Configurations: files, presets, overrides, and errors that name the key."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equiloss.config import apply_sets, differences, read_toml, to_toml, validate
from equiloss.errors import InputError
from equiloss.files import write_text
from pretrain.config import RunConfig, load_run_config, presets

scalars = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(-1e100, 1e100)
values = scalars | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])).filter(lambda s: s != "none")
names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)


@given(st.dictionaries(names, values | st.dictionaries(names, values, max_size=3), max_size=4))
def test_toml_round_trip(tmp_path_factory: pytest.TempPathFactory, data: dict[str, object]) -> None:
    path = tmp_path_factory.mktemp("toml") / "a.toml"
    write_text(path, "# a comment, so that it is never empty\n" + to_toml(data))
    assert read_toml(path) == data


def test_every_preset_is_a_whole_configuration_that_survives_its_own_toml(tmp_path: Path) -> None:
    assert {"tiny", "gpt2-small", "diary-baseline", "diary-jax", "diary-stacked"} <= set(presets())
    for name in presets():
        config = load_run_config(name)
        path = tmp_path / f"{name}.toml"
        write_text(path, to_toml(config.model_dump()))
        assert load_run_config(str(path)) == config


def test_the_diarys_stack_has_its_values() -> None:
    config = load_run_config("diary-stacked")
    train, model = config.train, config.model
    assert (train.batch_size, train.accumulate, train.clip_norm, train.weight_decay) == (6, 16, 3.5, 0.01)
    assert (train.lr, train.warmup, train.schedule, train.floor) == (0.0014, 0.05, "cosine", 0.1)
    assert (model.dropout, model.qkv_bias, model.tie_weights, train.tokens) == (0.0, False, False, 3_260_190_720)
    assert (model.n_layer, model.n_head, model.n_embd, model.context) == (12, 12, 768, 1024)


def test_sets_win_and_none_is_none() -> None:
    config = load_run_config("diary-stacked", ["train.clip_norm=none", "train.steps=7", "model.n_layer=2"])
    assert config.train.clip_norm is None
    assert (config.train.steps, config.train.tokens) == (7, None)  # steps asked for win over the preset's tokens
    assert config.model.n_layer == 2
    assert load_run_config("diary-baseline").train.clip_norm is None  # from the file


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["train.learning_rate=1"], "train.learning_rate.*did you mean 'lr'|train.learning_rate.*known keys"),
        (["model.n_heads=2"], "model.n_heads.*did you mean 'n_head'"),
        (["train.lr=-1"], "train.lr.*greater than 0.*not -1"),
        (["train.batch_size=1048576", "train.accumulate=17"], "17,825,792 sequences a step are more than"),
        (["model.n_head=5"], "model: n_embd .* is not a multiple of n_head 5"),
        (["train.precision=int4"], "train.precision.*fp32.*'int4'"),
        (["train.optimizer=sgd"], "adamw.*muon"),
        (["train.lr"], "not KEY=VALUE"),
        (["train.lr.x=1"], "'lr' is not a section"),
    ],
)
def test_a_wrong_key_or_value_is_named(sets: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_run_config("tiny", sets)


def test_an_unknown_preset_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="presets are: diary-baseline"):
        load_run_config("gpt5")
    with pytest.raises(InputError, match="neither"):
        load_run_config(str(tmp_path / "missing.toml"))


def test_differences_are_named_field_by_field() -> None:
    old = RunConfig()
    new = validate(RunConfig, apply_sets(old.model_dump(), ["train.lr=0.5", "model.n_layer=3", "train.keep=9"]), "x")
    assert differences(old, new, ["train.keep"]) == ["model.n_layer: 12 → 3", "train.lr: 0.001 → 0.5"]


@pytest.mark.parametrize(("preset", "init", "norm"), [("diary-baseline", "torch", "var"), ("diary-jax", "flax", "std")])
def test_the_diarys_presets_begin_as_its_models_did(preset: str, init: str, norm: str) -> None:
    model = load_run_config(preset).model
    assert (model.init, model.norm, model.out_bias) == (init, norm, True)


def test_dates_and_times_are_their_text(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("day = 2026-01-02\nlist = [07:30:00]\n[t]\nat = 2026-01-02T03:04:05Z\nnone = 'none'\n")
    assert read_toml(path) == {
        "day": "2026-01-02",
        "list": ["07:30:00"],
        "t": {"at": "2026-01-02T03:04:05+00:00", "none": None},
    }


@pytest.mark.parametrize("text", ['path = "a\\u0000b"', '[deep]\nlist = ["a", "\\u0000"]'])
def test_a_text_with_a_character_that_no_path_can_have_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"a\.toml.*NUL"):
        read_toml(path)
    with pytest.raises(InputError, match=r"--set.*NUL"):
        apply_sets({}, ['path="a\\u0000b"'])
