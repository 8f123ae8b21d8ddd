"""`ift run` and `ift respond` as a user types them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from equiloss.config import flatten
from equiloss.errors import EquilossError, InputError
from equiloss.records.ift_run import AnswerStatistics
from equiloss.records.response import read_responses
from ift.cli import summary
from ift.cli.main import program
from ift.training.fine_tune import too_fast
from pretrain.config import ModelConfig
from pretrain.model import checkpoint
from pretrain.model.decoder import GPT
from tests.ift.conftest import with_two_processes

GOLDEN = Path(__file__).parents[2] / "golden" / "results"
QUICK = ["--recipe", "tiny", "--set", "epochs=2", "--set", "decoding.max_new_tokens=8", "--set", "lr=0.01"]


@pytest.fixture(autouse=True)
def _in_a_new_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def ift(*arguments: object) -> Any:
    """Run the program and return its JSON; an expected error is raised."""
    result = CliRunner().invoke(program, [*map(str, arguments), "--json"])
    if result.exception is not None:
        raise result.exception
    return json.loads(result.stdout)


def fields(record: dict[str, Any]) -> set[str]:
    """The names of a record's fields, but for those that depend on the base, the categories and what was searched."""
    names = flatten({**record, "base": {**record["base"], "run": None}})
    aside = ("weight_distance.", "answers.", "data.overlap.corpus", "recipe_beside_base.")
    return {name for name in names if not name.startswith(aside)}


def test_bad_items_are_left_out_of_every_split_on_request(base: Path, tmp_path: Path, capsys: Any) -> None:
    rows: list[Any] = [
        {"instruction": f"Say {i}.", "output": f"{i}", "split": ("train", "validation", "test")[i % 3]}
        for i in range(12)
    ]
    rows += [
        {"instruction": "", "output": "x", "split": "train"},
        {"note": "no item"},
        {"instruction": 7, "output": []},
    ]
    rows += [{"instruction": "Say it.", "output": " ", "split": split} for split in ("train", "validation", "test")]
    (tmp_path / "items.json").write_text(json.dumps(rows))
    arguments = ["run", "--base", base, "--data", "items.json", *QUICK, "--set", "split.by=given"]
    with pytest.raises(InputError, match="item 13: the instruction is empty"):
        ift(*arguments)
    result = CliRunner().invoke(program, [*map(str, arguments), "--skip-bad", "--json"])
    assert result.exit_code == 0, result.exception
    assert "6 items are left out: items.json: item 13: the instruction is empty; items.json: item 14" in result.stderr
    (record,) = json.loads(result.stdout)["runs"]
    assert record["data"]["items"] == {"train": 4, "validation": 4, "test": 4}
    assert record["data"]["skip_bad"]
    answered = ift(
        "respond", "--model", base, "--data", "items.json", "--skip-bad", "--name", "again", "--template", "plain"
    )
    assert answered["runs"][0]["answers"]["all"]["items"] == 12


def test_validation_items_without_answers_cannot_select(base: Path, tmp_path: Path) -> None:
    rows = [
        {"instruction": f"Say {i}.", "output": "x" * (i % 2), "split": ("validation", "train")[i % 2]} for i in range(8)
    ]
    (tmp_path / "items.json").write_text(json.dumps(rows))
    with pytest.raises(InputError, match=r"items.json: no validation item has an answer"):
        ift("run", "--base", base, "--data", "items.json", *QUICK, "--set", "split.by=given")


def test_the_answers_of_every_epoch_can_be_judged(base: Path, items: Path, tmp_path: Path) -> None:
    arguments = [
        "run",
        "--base",
        base,
        "--data",
        items,
        *QUICK,
        "--set",
        "patience=none",
        "--set",
        "decoding.temperature=1.0",
    ]
    (plain,) = ift(*arguments, "--name", "plain")["runs"]
    assert "responses" not in plain["epochs"][0]
    (record,) = ift(*arguments, "--name", "one", "--set", "answer_every_epoch=true")["runs"]
    results = tmp_path / "results"
    assert [epoch["responses"] for epoch in record["epochs"]] == ["results/one.e1.jsonl", "results/one.e2.jsonl"]
    by_epoch = [read_responses(results / f"one.e{number}.jsonl") for number in (1, 2)]
    assert [one.generator for one in by_epoch[0]] == ["one.e1"] * 6
    texts = [[one.output for one in answers] for answers in by_epoch]
    assert texts[0] != texts[1]
    final = [one.output for one in read_responses(results / "one.jsonl")]
    assert (
        texts[record["selected_epoch"] - 1] == final == [one.output for one in read_responses(results / "plain.jsonl")]
    )
    assert [e["validation_loss"] for e in record["epochs"]] == [e["validation_loss"] for e in plain["epochs"]], (
        "answering changes nothing"
    )
    assert record["epochs"][0]["answers"]["items"] == 6
    assert not list((tmp_path / "runs" / "ift" / "one").glob("*.jsonl"))
    again = ift(*arguments, "--name", "one", "--set", "answer_every_epoch=true")["runs"]
    assert again == [record], "a finished run is left alone"
    with pytest.raises(InputError, match="is of another run"):
        ift(*arguments, "--name", "one")
    (results / "two.e2.jsonl").write_text("somebody's answers")
    with pytest.raises(InputError, match=r"two\.e2\.jsonl"):
        ift(*arguments, "--name", "two", "--set", "answer_every_epoch=true")


def test_an_epoch_that_was_answered_before_a_kill_is_answered_again(
    base: Path, items: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["run", "--base", base, "--data", items, *QUICK, "--set", "answer_every_epoch=true"]
    expected = ift(*arguments, "--name", "whole")["runs"][0]["epochs"]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ift.training.loop._save", killed)
        assert CliRunner().invoke(program, [*map(str, arguments), "--name", "one"]).exit_code != 0
    assert (tmp_path / "results" / "one.e1.jsonl").exists()
    found = ift(*arguments, "--name", "one")["runs"][0]["epochs"]
    assert [one["validation_loss"] for one in found] == [one["validation_loss"] for one in expected]


def test_a_run_writes_answers_record_and_model(base: Path, items: Path, tmp_path: Path) -> None:
    (record,) = ift("run", "--base", base, "--data", items, "--name", "one", *QUICK)["runs"]
    responses = read_responses(tmp_path / "results" / "one.jsonl")
    on_disk = json.loads((tmp_path / "results" / "one.run.json").read_text())
    assert len(responses) == record["data"]["items"]["test"] == 6
    assert [one.id for one in responses] == on_disk["data"]["split"]["test"]
    for one in responses:
        assert one.generator == "one"
        assert one.category in ("copy", "reverse")
        assert one.reference
        assert one.finish_reason in ("stop", "length")
        assert one.n_tokens is not None
        assert one.n_tokens <= 8
    golden = json.loads((GOLDEN / "gentle.s1.run.json").read_text())
    added = {
        *(f"base.config.{name}" for name in ("init", "norm", "out_bias")),
        "recipe.answer_every_epoch",
        "recipe.untie_head",
        "recipe.lr_of_base",
        "data.skip_bad",
    }
    assert fields(on_disk) == fields(golden) | added, (
        "what is written now is what was written first, and what came later"
    )
    assert record["selected_validation_loss"] == min(one["validation_loss"] for one in record["epochs"])
    assert record["recomputed_validation_loss"] == pytest.approx(record["selected_validation_loss"], abs=1e-5)
    assert record["selected_validation_loss"] < record["base_validation_loss"]
    assert record["recipe"]["dropout"] == 0.0
    assert record["recipe_beside_base"]["dropout"] == {"recipe": 0.0, "base": 0.0}
    assert record["base"]["sha256"]
    assert record["weight_distance"]["relative"] > 0
    assert set(record["answers"]) == {"all", "copy", "reverse"}
    assert (tmp_path / "runs" / "ift" / "one" / "checkpoint.pt").exists()
    assert not (tmp_path / "runs" / "ift" / "one" / "state.pt").exists()
    assert not (tmp_path / "runs" / "ift" / "one" / "answers.jsonl").exists()


def test_a_part_of_the_validation_items_selects_where_the_recipe_says_so(
    base: Path, items: Path, tmp_path: Path
) -> None:
    options = ["--recipe", "tiny", "--set", "epochs=2", "--set", "split.validation=0.2", "--set", "split.train=0.7"]
    ift("run", "--base", base, "--data", items, "--name", "whole", *options)
    ift("run", "--base", base, "--data", items, "--name", "part", *options, "--set", "validation_items=1")
    whole, part = (json.loads(Path(f"results/{name}.run.json").read_text()) for name in ("whole", "part"))
    assert part["data"]["items"]["validation"] == whole["data"]["items"]["validation"] > 1
    first = [[one["train_loss"], one["validation_loss"]] for one in (whole["epochs"][0], part["epochs"][0])]
    assert first[0][0] == first[1][0], "the training is the same"
    assert first[0][1] != first[1][1], "what selects is not"
    assert part["recomputed_validation_loss"] == pytest.approx(part["selected_validation_loss"], abs=1e-4)


def test_two_bases_and_two_seeds_share_their_test_items(
    make_base: Callable[..., Path], items: Path, tmp_path: Path
) -> None:
    other = make_base("other", n_embd=16, n_layer=1)
    ift("run", "--base", make_base(), "--data", items, "--name", "a", "--seeds", 2, *QUICK)
    ift("run", "--base", other, "--data", items, "--name", "b", "--seed", 9, *QUICK)
    ids = [[one.id for one in read_responses(tmp_path / "results" / f"{name}.jsonl")] for name in ("a.s1", "a.s2", "b")]
    assert ids[0] == ids[1] == ids[2]
    records = [json.loads((tmp_path / "results" / f"a.s{k}.run.json").read_text()) for k in (1, 2)]
    assert [one["seed"] for one in records] == [1, 2]
    assert records[0]["epochs"][0]["train_loss"] != records[1]["epochs"][0]["train_loss"]


def test_the_same_seed_gives_the_same_run(base: Path, items: Path, tmp_path: Path) -> None:
    for name in ("x", "y"):
        ift("run", "--base", base, "--data", items, "--name", name, "--set", "dropout=0.1", *QUICK)
    one, two = (json.loads((tmp_path / "results" / f"{name}.run.json").read_text()) for name in ("x", "y"))
    for record in (one, two):
        for epoch in record["epochs"]:
            del epoch["seconds"]
    assert one["epochs"] == two["epochs"]
    assert [r.output for r in read_responses(tmp_path / "results" / "x.jsonl")] == [
        r.output for r in read_responses(tmp_path / "results" / "y.jsonl")
    ]


def test_a_finished_run_is_left_alone_and_a_name_belongs_to_one_run(base: Path, items: Path, tmp_path: Path) -> None:
    command = ["run", "--base", base, "--data", items, "--name", "one", *QUICK]
    ift(*command)
    before = (tmp_path / "results" / "one.run.json").read_bytes()
    ift(*command)
    assert (tmp_path / "results" / "one.run.json").read_bytes() == before
    with pytest.raises(InputError, match="another run"):
        ift(*command, "--seed", 5)


def test_a_model_may_go_once_it_has_answered(base: Path, items: Path, tmp_path: Path) -> None:
    command = ["run", "--base", base, "--data", items, *QUICK]
    kept, dropped = ift(*command, "--name", "one"), ift(*command, "--name", "two", "--drop-model")
    assert (tmp_path / "runs" / "ift" / "one" / "checkpoint.pt").exists()
    assert not (tmp_path / "runs" / "ift" / "two" / "checkpoint.pt").exists()
    files = [one["runs"][0]["files"]["model"] for one in (kept, dropped)]
    assert (bool(files[0]), files[1]) == (True, None)
    answers = [
        [one.output for one in read_responses(tmp_path / "results" / f"{name}.jsonl")] for name in ("one", "two")
    ]
    assert answers[0] == answers[1]
    before = (tmp_path / "results" / "two.run.json").read_bytes()
    ift(*command, "--name", "two", "--drop-model")  # finished: left alone
    assert (tmp_path / "results" / "two.run.json").read_bytes() == before


def test_lost_answers_are_written_again_and_changed_ones_refused(base: Path, items: Path, tmp_path: Path) -> None:
    command = ["run", "--base", base, "--data", items, "--name", "one", *QUICK]
    ift(*command)
    answers, record = tmp_path / "results" / "one.jsonl", tmp_path / "results" / "one.run.json"
    before = answers.read_bytes(), record.read_bytes()
    answers.unlink()
    ift(*command)
    assert (answers.read_bytes(), record.read_bytes()) == before
    answers.unlink()  # and the model too: everything is done again
    (tmp_path / "runs" / "ift" / "one" / "checkpoint.pt").unlink()
    ift(*command)
    assert answers.read_bytes() == before[0]
    answers.write_bytes(before[0] + before[0])
    with pytest.raises(InputError, match="was changed"):
        ift(*command)


def test_without_data_a_world_gives_its_own_and_other_text_the_skills(
    make_base: Callable[..., Path], tmp_path: Path
) -> None:
    ours = make_base("ours", run={"data": {"source": {"name": "world:tiny"}}})
    (record,) = ift("run", "--base", ours, "--name", "w", *QUICK)["runs"]
    assert record["data"]["source"] == "world:tiny"
    assert "recall" in {one.category for one in read_responses(tmp_path / "results" / "w.jsonl")}


def test_the_name_defaults_to_the_bases(base: Path, items: Path, tmp_path: Path) -> None:
    ift("run", "--base", base, "--data", items, *QUICK)
    assert (tmp_path / "results" / "base.jsonl").exists()


def test_respond_repeats_the_answers_of_the_run(base: Path, items: Path, tmp_path: Path) -> None:
    ift("run", "--base", base, "--data", items, "--name", "one", *QUICK)
    test = tmp_path / "results" / "one.jsonl"
    for extra in ([], ["--batch-size", "1"]):
        name = f"again{len(extra)}"
        (record,) = ift("respond", "--model", "runs/ift/one", "--data", test, "--name", name, *extra)["runs"]
        assert record["template"]["name"] == "alpaca-short"
        expected, found = read_responses(test), read_responses(tmp_path / "results" / f"{name}.jsonl")
        assert [one.output for one in found] == [one.output for one in expected]
        assert [one.id for one in found] == [one.id for one in expected]


def test_respond_does_not_write_over_a_run(base: Path, items: Path, tmp_path: Path) -> None:
    ift("run", "--base", base, "--data", items, "--name", "one", *QUICK)
    test = tmp_path / "results" / "one.jsonl"
    before = test.read_bytes()
    with pytest.raises(InputError, match="choose another --name"):
        ift("respond", "--model", "runs/ift/one", "--data", test, "--name", "one")
    for _ in range(2):
        (record,) = ift("respond", "--model", "runs/ift/one", "--data", items, "--max-new-tokens", 2)["runs"]
        assert record["name"] == "one-items"
        again = tmp_path / "results" / "one-items.jsonl"
        assert len(read_responses(again)) == 60
        again.unlink()  # the record alone is not enough
    assert test.read_bytes() == before


def test_without_validation_items_the_last_epoch_is_kept(base: Path, items: Path) -> None:
    sets = ["split.validation=0", "split.train=0.9", "select=last", "lora_rank=2"]
    options = [part for one in sets for part in ("--set", one)]
    (record,) = ift("run", "--base", base, "--data", items, "--name", "n", *QUICK, *options)["runs"]
    assert (record["selected_epoch"], record["stopped"]) == (2, "epochs")
    assert record["selected_validation_loss"] is None
    assert record["recomputed_validation_loss"] is None
    assert record["data"]["items"] == {"train": 54, "validation": 0, "test": 6}
    assert record["recipe"]["lora_rank"] == 2


def test_items_longer_than_the_context_are_named_with_their_length(make_base: Callable[..., Path], items: Path) -> None:
    base = make_base(context=64)
    rows = json.loads(items.read_text())
    rows += [
        {"instruction": f"Repeat the words {number}.", "input": "ant " * 40, "output": "x"} for number in range(60)
    ]
    items.write_text(json.dumps(rows))
    for action, done in (("drop", {"dropped"}), ("truncate", {"dropped", "truncated"})):
        (record,) = ift(
            "run", "--base", base, "--data", items, "--name", action, *QUICK, "--set", f"too_long={action}"
        )["runs"]
        too_long = record["data"]["too_long"]
        assert len(too_long["train"]) > 30
        assert all(one["tokens"] > 64 for part in too_long.values() for one in part)
        assert {one["action"] for one in too_long["train"]} == done  # of some no answer is left when they are cut
        assert record["data"]["items"]["test"] + len(too_long["test"]) == 12


def test_a_sweep_picks_by_validation_loss_and_records_its_curve(base: Path, items: Path) -> None:
    (record,) = ift("run", "--base", base, "--data", items, "--name", "s", "--lr-sweep", "1e-5:1e-1:3", *QUICK)["runs"]
    curve = record["lr_sweep"]["rates"]
    assert [row["lr"] for row in curve] == [1e-5, 1e-3, 1e-1]
    finite = [row for row in curve if row["selected_validation_loss"] is not None]
    best = min(finite, key=lambda row: row["selected_validation_loss"])
    assert record["recipe"]["lr"] == record["lr_sweep"]["picked"] == best["lr"]
    assert record["selected_validation_loss"] == pytest.approx(best["selected_validation_loss"], abs=1e-6)


def test_several_processes_write_the_same_answers_to_the_byte(base: Path, items: Path, tmp_path: Path) -> None:
    command = ["respond", "--model", base, "--data", items, "--template", "alpaca-short", "--max-new-tokens", 6]
    more = [[], ["--temperature", 1, "--top-k", 9, "--seed", 4]]
    for number, sampling in enumerate(more):
        names = [f"{place}{number}" for place in ("alone", "shared")]
        ift(*command, *sampling, "--name", "m", "-o", names[0])
        arguments = [*map(str, [*command, *sampling]), "--name", "m", "-o", names[1], "--json"]
        document = json.loads(with_two_processes(arguments, tmp_path))
        one, two = ((tmp_path / name / "m.jsonl").read_bytes() for name in names)
        assert one == two
        assert document["runs"][0]["answers"]["all"]["items"] == 60
        assert sorted(path.name for path in (tmp_path / names[1]).iterdir()) == ["m.jsonl", "m.run.json"]


def test_several_processes_give_the_same_run(base: Path, items: Path, tmp_path: Path) -> None:
    command = ["run", "--base", base, "--data", items, *QUICK, "--set", "precision=fp32"]
    ift(*command, "--name", "alone")
    arguments = [*map(str, command), "--name", "shared"]
    with_two_processes(arguments, tmp_path)
    one, two = (json.loads((tmp_path / "results" / f"{name}.run.json").read_text()) for name in ("alone", "shared"))
    assert two["environment"]["processes"] == 2
    for a, b in zip(one["epochs"], two["epochs"], strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-4)
        assert a["validation_loss"] == pytest.approx(b["validation_loss"], rel=1e-4)
    assert [r.id for r in read_responses(tmp_path / "results" / "alone.jsonl")] == [
        r.id for r in read_responses(tmp_path / "results" / "shared.jsonl")
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere.json"], "nowhere.json: no such file"),
        (["--recipe", "nope"], "no recipe 'nope'"),
        (["--set", "nope=1"], "unknown key 'nope'"),
        (["--set", "template=nope"], "no template 'nope'"),
        (["--set", "context=4096"], "exceeds the base's"),
        (["--set", "context=8"], "longer than the context of 8"),
        (["--lr-sweep", "1:2"], "not FROM:TO:N"),
        (["--lr-sweep", "2:1:3"], "not FROM:TO:N"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    base: Path, items: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        ift("run", "--base", base, "--data", items, "--name", "bad", *arguments)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "results").exists()
    assert not (tmp_path / "runs").exists()


def test_a_base_that_is_none(items: Path, tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("no")
    with pytest.raises(InputError, match="not a checkpoint"):
        ift("run", "--base", "text.pt", "--data", items)
    with pytest.raises(InputError, match="no such file"):
        ift("run", "--base", "gone.pt", "--data", items)


def test_a_loss_that_is_no_number_says_what_to_do(base: Path, items: Path) -> None:
    with pytest.raises(EquilossError, match="lower the recipe's lr"):
        ift(
            "run", "--base", base, "--data", items, "--name", "d", *QUICK, "--set", "lr=1e30", "--set", "clip_norm=none"
        )


def test_help_loads_no_torch() -> None:
    code = "import sys, ift.cli.main; sys.exit('torch' in sys.modules or 'datasets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_rate_for_small_bases_is_questioned_on_a_large_one() -> None:
    with torch.device("meta"):
        small = GPT(ModelConfig(n_layer=2, n_head=2, n_embd=64, context=64, vocab_size=1000))
        large = GPT(ModelConfig(n_layer=12, n_head=12, n_embd=768, context=64, vocab_size=50257))
    assert too_fast(3e-3, small) == too_fast(5e-5, large) == ""
    assert "this one has 124 million: --lr-sweep" in too_fast(3e-3, large)


def test_a_tied_base_gets_a_head_of_its_own(base: Path, items: Path, tmp_path: Path) -> None:
    (record,) = ift("run", "--base", base, "--data", items, "--name", "own", *QUICK, "--set", "untie_head=true")["runs"]
    before, after = (checkpoint.load(path) for path in (base, tmp_path / "runs/ift/own/checkpoint.pt"))
    assert (before.config.tie_weights, after.config.tie_weights) == (True, False)
    assert after.model.unembedding is not None
    assert not torch.equal(after.model.unembedding.weight, after.model.token_embedding.weight)
    assert "unembedding.weight" in record["weight_distance"]["by_parameter"]
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(before.model.untied()(ids), before.model(ids)), "it begins as the embedding"


@pytest.mark.parametrize(
    ("run", "rate"),
    [
        ({"last_lr": 0.02}, 0.002),
        (
            {
                "steps": 10,
                "config": {"train": {"lr": 0.01, "schedule": "constant", "warmup": 0, "floor": 0, "steps": 10}},
            },
            1e-3,
        ),
    ],
)
def test_a_rate_is_a_multiple_of_the_bases_last(
    make_base: Callable[..., Path], items: Path, run: dict[str, Any], rate: float
) -> None:
    options = [*QUICK, "--set", "lr=0.1 x base"]
    (record,) = ift("run", "--base", make_base(run=run), "--data", items, "--name", "r", *options)["runs"]
    assert record["recipe"]["lr"] == pytest.approx(rate)
    assert record["recipe"]["lr_of_base"] is None


@pytest.mark.parametrize(("value", "message"), [("0.1 x base", "no last learning rate"), ("0 x base", "lr_of_base")])
def test_a_rate_of_a_base_without_one_is_refused(base: Path, items: Path, value: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ift("run", "--base", base, "--data", items, "--name", "r", *QUICK, "--set", f"lr={value}")
    assert not Path("results").exists()


def test_statistics_that_a_record_lacks_are_none() -> None:
    assert summary.of_statistics({}) == ["no test items"]
    assert summary.of_statistics({"all": AnswerStatistics(items=2)})[0].startswith("2 answers, 0 unfinished")
