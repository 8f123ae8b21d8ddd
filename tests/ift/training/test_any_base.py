"""`ift run` on a model of `transformers`, from the base to the answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("transformers")
from equiloss import files
from equiloss.records.response import Example, Turn, read_responses
from ift.generation.model_answerer import open_answerer
from ift.prompts import load
from pretrain.model import huggingface
from tests.conftest import CHAT
from tests.ift.conftest import with_two_processes

Program = Callable[..., Any]
MakeForeign = Callable[..., Path]
QUICK = ["--recipe", "tiny", "--set", "epochs=1", "--set", "decoding.max_new_tokens=4"]


@pytest.mark.parametrize(("kind", "more"), [("llama", []), ("gemma2", ["--set", "lora_rank=2"])])
def test_a_run_goes_from_a_directory_to_answers_and_a_directory(
    kind: str,
    more: list[str],
    make_foreign: MakeForeign,
    items: Path,
    tmp_path: Path,
    monkeypatch: Any,
    program: Program,
) -> None:
    monkeypatch.chdir(tmp_path)
    base = make_foreign(kind, bos=True, chat=CHAT)
    command = ["run", "--base", base, "--data", items, "--name", "a", *QUICK, "--set", "template=own", *more]
    outcome = program("ift", *command)
    assert outcome.code == 0, outcome.err
    record = json.loads((tmp_path / "results/a.run.json").read_text())
    assert record["base"]["run"]["kind"] == "huggingface"
    assert record["template"]["name"] == "own"
    assert record["recomputed_validation_loss"] == pytest.approx(record["selected_validation_loss"], rel=1e-5)
    assert record["weight_distance"]["relative"] > 0
    assert any("padded" in note for note in record["base"]["run"]["notes"]) == (kind == "gemma2")
    assert "nothing to do" in program("ift", *command).err
    answers = read_responses(tmp_path / "results/a.jsonl")
    again = open_answerer("runs/ift/a", None, {}, torch.device("cpu"))
    assert again.template.name == "own"
    examples = [Example.model_validate(one.model_dump(include=set(Example.model_fields))) for one in answers]
    assert [one.output for one in again.answer(examples, "a", 0)] == [one.output for one in answers]


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_several_processes_give_the_same_run_of_a_packed_and_of_a_padded_model(
    kind: str, make_foreign: MakeForeign, items: Path, tmp_path: Path, monkeypatch: Any, program: Program
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["run", "--base", make_foreign(kind), "--data", items, *QUICK]
    assert program("ift", *command, "--name", "alone").code == 0
    with_two_processes([*map(str, command), "--name", "shared"], tmp_path)
    alone, shared = (json.loads((tmp_path / f"results/{name}.run.json").read_text()) for name in ("alone", "shared"))
    assert shared["environment"]["processes"] == 2
    for one, two in zip(alone["epochs"], shared["epochs"], strict=True):
        assert one["train_loss"] == pytest.approx(two["train_loss"], rel=1e-4)
        assert one["validation_loss"] == pytest.approx(two["validation_loss"], rel=1e-4)
    ids = [[one.id for one in read_responses(tmp_path / f"results/{name}.jsonl")] for name in ("alone", "shared")]
    assert ids[0] == ids[1]


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_bf16_trains_a_foreign_model_to_nearly_the_same_loss(
    kind: str, make_foreign: MakeForeign, items: Path, tmp_path: Path, monkeypatch: Any, program: Program
) -> None:
    monkeypatch.chdir(tmp_path)
    base, losses = make_foreign(kind), {}
    for precision in ("fp32", "bf16"):
        more = ["--name", precision, *QUICK, "--set", f"precision={precision}"]
        outcome = program("ift", "run", "--base", base, "--data", items, *more)
        assert outcome.code == 0, outcome.err
        record = json.loads((tmp_path / f"results/{precision}.run.json").read_text())
        assert record["recomputed_validation_loss"] == pytest.approx(record["selected_validation_loss"], rel=1e-3)
        losses[precision] = record["selected_validation_loss"]
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.01)


def test_a_base_is_opened_and_hashed_once_whatever_is_made_of_it(
    make_foreign: MakeForeign, items: Path, tmp_path: Path, monkeypatch: Any, program: Program
) -> None:
    monkeypatch.chdir(tmp_path)
    base = make_foreign("llama")
    opened: list[Path] = []
    hashed: list[Path] = []
    load_model, sha256_file = huggingface.load, files.sha256_file

    def counted(source: Path | str, *more: Any) -> Any:
        opened.append(Path(source))
        return load_model(source, *more)

    monkeypatch.setattr(huggingface, "load", counted)
    monkeypatch.setattr(files, "sha256_file", lambda path: hashed.append(path) or sha256_file(path))
    more = ["--seeds", "2", "--lr-sweep", "1e-4:1e-3:2", "--set", "dropout=0.1"]
    outcome = program("ift", "run", "--base", base, "--data", items, "--name", "a", *QUICK, *more)
    assert outcome.code == 0, outcome.err
    assert opened == [base, Path("runs/ift/a.s1"), Path("runs/ift/a.s2")]
    assert [path for path in hashed if path.parent == base] == [base / "model.safetensors"]


def test_dropout_of_a_copy_reaches_every_layer_and_leaves_the_base_alone(make_foreign: MakeForeign) -> None:
    base = huggingface.load(make_foreign("gpt2")).model
    ids = torch.arange(12)[None]
    still, dropping = base.with_dropout(0.0).train(), base.with_dropout(0.5).train()
    assert torch.equal(still(ids), base(ids))
    assert not torch.equal(dropping(ids), dropping(ids))
    torch.testing.assert_close(dropping.eval()(ids), base(ids))


def test_the_own_chat_template_has_loss_on_what_the_assistant_says_and_its_end_once(make_foreign: MakeForeign) -> None:
    loaded = huggingface.load(make_foreign("llama", bos=True, chat=CHAT))
    template = load("own", model=loaded)
    example = Example(
        id="x", instruction="Repeat", input="<|im_end|>", reference="dog</s>",
        history=(Turn(instruction="cat", response="bee"),),
    )  # fmt: skip
    tokens = template.tokens(example, loaded.encode_template, loaded.encoding.eot_token)
    said = [id for id, carries in zip(tokens.ids, tokens.loss, strict=True) if carries]
    assert said[-1] == tokens.ids[-1] == 3  # <|im_end|>, which closes the turn
    assert loaded.encoding.decode(said) == "beedog</s>"
    assert tokens.ids.count(3) == 4  # of three turns before, and the end; the item's own stays text
    assert tokens.ids[: tokens.prompt_tokens] == template.prompt_ids(example, loaded.encode_template)
    assert 1 not in tokens.ids


def test_a_shipped_template_begins_as_the_tokenizer_does(make_foreign: MakeForeign) -> None:
    loaded = huggingface.load(make_foreign("llama", bos=True))
    tokens = load("alpaca-short", model=loaded).tokens(
        Example(id="x", instruction="Repeat", reference="ant"), loaded.encode_template, loaded.encoding.eot_token
    )
    assert tokens.ids.count(0) == 1
    assert tokens.ids[0] == 0
    assert tokens.ids[-1] == 1


def test_a_killed_run_ends_bit_equal(make_foreign: MakeForeign, items: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from ift.training import loop
    from ift.training.fine_tune import fine_tune

    monkeypatch.chdir(tmp_path)
    base = make_foreign("qwen3")
    sets = ["epochs=3", "patience=none", "decoding.max_new_tokens=2", "template=alpaca-short"]
    options: dict[str, Any] = {
        "data": str(items), "results": Path("results"), "models": Path("models"), "seed": 0, "seeds": None,
        "recipe": "tiny", "sets": sets,
    }  # fmt: skip
    (whole,) = fine_tune(base, name="whole", **options)
    save = loop._save

    def dying(*arguments: Any) -> None:
        save(*arguments)
        if len(arguments[-1].epochs) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_save", dying)
    with pytest.raises(KeyboardInterrupt):
        fine_tune(base, name="killed", **options)
    monkeypatch.setattr(loop, "_save", save)
    (resumed,) = fine_tune(base, name="killed", **options)
    a, b = (torch.tensor([one.validation_loss for one in run.record.epochs]) for run in (whole, resumed))
    assert torch.equal(a, b)
    one, two = (huggingface.load(Path("models") / name).model.state_dict() for name in ("whole", "killed"))
    assert all(torch.equal(value, two[name]) for name, value in one.items())
