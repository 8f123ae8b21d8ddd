"""Each probe against a closed form or a brute-force computation on a tiny model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiktoken import Encoding
from torch import Tensor

from equiloss.errors import InputError
from equiloss.records.base_run import CheckpointRun, TrainingData
from equiloss.records.probe import Measure, ProbeRecord, load
from equiloss.tokenizer import to_record, train_bpe
from ift.data.formats import read_examples
from pretrain.config import ModelConfig
from pretrain.data.document import Document
from pretrain.data.shard_writer import write_shards, write_source
from pretrain.data.shards import Shards
from pretrain.model.checkpoint import save
from pretrain.model.decoder import GPT
from pretrain.probes import (
    cloze,
    copying,
    domains,
    forgetting,
    items,
    noise,
    run,
    sharpness,
    tolerance,
    weights,
    windows,
)
from pretrain.probes.completions import complete
from pretrain.probes.facts import Fact, read_facts, value_place, world_facts
from pretrain.probes.instructions import AskedItem, read_items
from pretrain.probes.registry import probes
from pretrain.probes.subject import ProbeOptions

CONFIG = ModelConfig(n_layer=1, n_head=2, n_embd=8, context=16, vocab_size=11)
TEXTS = ["Ada Hill lives in Rome.", "Ben Cole lives in Oslo.", "Ada Hill plays the harp.", "Where does Ada live?"] * 3


@pytest.fixture
def model() -> GPT:
    return GPT(CONFIG, seed=1).eval()


@pytest.fixture(scope="module")
def encoding() -> Encoding:
    return train_bpe(TEXTS, 300)


@pytest.fixture
def rows() -> Tensor:
    return torch.randint(0, 11, (4, 9), generator=torch.Generator().manual_seed(0))


def test_mean_of_has_the_standard_error_of_the_mean() -> None:
    found = Measure.mean_of([1.0, 2.0, 4.0], unit="x", keys=["a", "b", "c"])
    assert found.value == pytest.approx(7 / 3)
    assert found.standard_error == pytest.approx(np.std([1, 2, 4], ddof=1) / math.sqrt(3))
    assert found.samples == {"a": 1.0, "b": 2.0, "c": 4.0}


def test_windows_are_slices_of_the_text_that_fit_it() -> None:
    tokens = np.arange(100, dtype=np.uint16)
    found = windows.windows(tokens, context=10, most_tokens=45)
    assert found.shape == (4, 11)
    assert found[0, 0] == 0
    assert found[-1, -1] == 99
    assert (found[:, 1:] - found[:, :-1] == 1).all()
    with pytest.raises(InputError):
        windows.windows(tokens[:2], context=10, most_tokens=45)


def test_token_losses_average_to_the_models_own_loss(model: GPT, rows: Tensor) -> None:
    with torch.no_grad():
        expected = float(model(rows[:, :-1], rows[:, 1:]))
    assert windows.mean_loss(model, rows) == pytest.approx(expected, rel=1e-5)


def test_the_hessians_trace_and_top_eigenvalue_match_the_explicit_matrix(model: GPT, rows: Tensor) -> None:
    model = model.double()
    parameters: list[Tensor] = [model.blocks[0].attention.qkv.weight, model.final_norm.weight]  # type: ignore
    product = sharpness.hessian_product(lambda: sharpness._loss(model, rows), parameters)
    sizes = [p.numel() for p in parameters]
    columns = []
    for index in range(sum(sizes)):
        flat = torch.zeros(sum(sizes), dtype=torch.double)
        flat[index] = 1.0
        parts = [part.view_as(p) for part, p in zip(flat.split(sizes), parameters, strict=True)]
        columns.append(torch.cat([h.flatten() for h in product(parts)]))
    hessian = torch.stack(columns, dim=1)
    assert torch.allclose(hessian, hessian.T, atol=1e-5)
    generator = torch.Generator().manual_seed(3)
    samples = sharpness.trace_samples(product, parameters, 400, generator)
    error = np.std(samples, ddof=1) / math.sqrt(len(samples))
    assert abs(np.mean(samples) - float(hessian.trace())) < 4 * error
    top, _ = sharpness.top_eigenvalue(product, parameters, 300, generator)
    values = torch.linalg.eigvalsh((hessian + hessian.T) / 2)
    assert abs(top) == pytest.approx(float(values.abs().max()), rel=0.02)


def test_the_product_is_the_gradients_finite_difference(model: GPT, rows: Tensor) -> None:
    model = model.double()
    weight = model.final_norm.weight
    product = sharpness.hessian_product(lambda: sharpness._loss(model, rows), [weight])
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    found = product([direction])[0]
    step = 1e-5
    gradients = []
    for sign in (1, -1):
        with torch.no_grad():
            weight += sign * step * direction
        gradients.append(torch.autograd.grad(sharpness._loss(model, rows), weight)[0])
        with torch.no_grad():
            weight -= sign * step * direction
    expected = (gradients[0] - gradients[1]) / (2 * step)
    assert torch.allclose(found, expected, atol=1e-7)


def test_noise_has_the_strength_asked_for_and_leaves_the_model_alone(model: GPT, rows: Tensor) -> None:
    before = {name: p.clone() for name, p in model.named_parameters()}
    found = noise.loss_rises(model, rows, strengths=(0.01, 0.3), draws=3)
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name])
    assert found.measures["rise_at_0.3"].value != 0
    weight = torch.randn(400, 500)
    drawn = noise.disturbance(weight, 0.05, seed=7)
    assert float(drawn.std() / weight.pow(2).mean().sqrt()) == pytest.approx(0.05, rel=0.02)
    assert torch.equal(drawn, noise.disturbance(weight, 0.05, seed=7))


def test_attention_is_what_the_model_itself_computes(model: GPT, rows: Tensor) -> None:
    weights_found = copying.attention(model, rows)[0]  # (N, H, T, T)
    assert torch.allclose(weights_found.sum(-1), torch.ones(4, 2, 9))
    assert float(weights_found.triu(1).abs().max()) == 0
    block = model.blocks[0]
    x = model.token_embedding(rows) + model.position_embedding(torch.arange(9))
    normed = block.attention_norm(x)  # type: ignore[operator]
    qkv = block.attention.qkv(normed)  # type: ignore[union-attr,operator]
    v = qkv.view(4, 9, 3, 2, 4).permute(2, 0, 3, 1, 4)[2]
    mine = block.attention.out((weights_found @ v).transpose(1, 2).reshape(4, 9, 8))  # type: ignore[union-attr,operator]
    theirs = block.attention(normed, None)  # type: ignore[operator]
    assert torch.allclose(mine, theirs, atol=1e-5)


def test_the_induction_score_is_the_mean_attention_to_the_next_token(model: GPT) -> None:
    first = torch.randint(0, 11, (3, 5), generator=torch.Generator().manual_seed(2))
    rows = torch.cat([first, first], dim=1)
    scores = copying.induction_scores(model, rows, 5)
    attention = copying.attention(model, rows)[0]
    expected = np.mean([float(attention[n, 1, 5 + i, i + 1]) for n in range(3) for i in range(4)])
    assert float(scores[0, 1]) == pytest.approx(float(expected), rel=1e-5)


class Copier(torch.nn.Module):
    """Predicts, at each place, the token that followed the last occurrence of the present one."""

    config = CONFIG

    def forward(self, ids: Tensor) -> Tensor:
        logits = torch.zeros(*ids.shape, 11)
        for row in range(len(ids)):
            for place in range(ids.shape[1]):
                earlier = [p for p in range(place) if ids[row, p] == ids[row, place]]
                if earlier:
                    logits[row, place, ids[row, earlier[-1] + 1]] = 50.0
        return logits


def test_a_perfect_copier_has_accuracy_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "induction_scores", lambda model, rows, length: torch.ones(1, 1))
    monkeypatch.setattr(torch, "randint", lambda low, high, size, generator: torch.stack([torch.randperm(11)[:5]] * 4))
    found = copying.copied(Copier(), torch.arange(11), sequences=4, length=5).measures  # type: ignore[arg-type]
    assert found["accuracy"].value == 1.0
    assert found["loss"].value == pytest.approx(0.0, abs=1e-6)
    assert found["lift"].value == pytest.approx(math.log(11), rel=1e-3)


def test_copying_in_text_counts_what_induction_predicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "induction_scores", lambda model, rows, length: torch.ones(1, 1))
    text = torch.tensor([[1, 2, 3, 1, 2, 3], [1, 2, 3, 4, 5, 6], [4, 5, 4, 6, 4, 6]])  # the second holds no pattern
    found = copying.copied(Copier(), torch.arange(11), text, sequences=4, length=5).measures  # type: ignore[arg-type]
    assert found["text_accuracy"].value == 1.0
    assert found["text_loss"].value == pytest.approx(0.0, abs=1e-6)
    assert set(found["text_accuracy"].samples or ()) == {"window 0", "window 2"}


def test_stable_rank_and_anisotropy_in_closed_form() -> None:
    assert weights.stable_rank(torch.eye(6)) == pytest.approx(6.0)
    assert weights.stable_rank(torch.outer(torch.arange(1.0, 5), torch.ones(3))) == pytest.approx(1.0)
    assert weights.anisotropy(torch.eye(5)) == pytest.approx(0.0, abs=1e-6)
    assert weights.anisotropy(torch.ones(4, 3)) == pytest.approx(1.0)
    vectors = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    unit = torch.nn.functional.normalize(vectors, dim=1)
    pairs = [float(unit[i] @ unit[j]) for i in range(7) for j in range(7) if i != j]
    assert weights.anisotropy(vectors) == pytest.approx(np.mean(pairs), abs=1e-5)


def small(encoding: Encoding) -> GPT:
    return GPT(ModelConfig(n_layer=1, n_head=2, n_embd=32, context=32, vocab_size=encoding.n_vocab), seed=0).eval()


def test_cloze_counts_a_value_when_greedy_decoding_would_give_it(encoding: Encoding) -> None:
    model = small(encoding)
    ids = torch.tensor([[encoding.eot_token, *encoding.encode_ordinary("Ada Hill lives in Rome")]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        model(ids[:, :-1], ids[:, 1:]).backward()
        optimizer.step()
    asked = ("Ada Hill lives in",)
    facts = [
        Fact(subject="Ada Hill", attribute="city", value="Rome", told=asked, asked=asked),
        Fact(subject="Ada Hill", attribute="pet", value="Oslo", asked=asked),
    ]
    found = cloze.completed_facts(model, encoding, facts).measures
    assert found["stored_accuracy"].value == 1.0
    assert found["first_mention_accuracy"].samples == {"Ada Hill / city": 1.0, "Ada Hill / pet": 0.0}
    value = encoding.encode_ordinary(" Rome")
    with torch.no_grad():
        logs = torch.log_softmax(model(ids[:, :-1]).float(), -1)[0, -len(value) :]
    expected = -float(sum(logs[i, token] for i, token in enumerate(value)))
    assert found["stored_loss"].value == pytest.approx(expected, abs=1e-4)


def test_padding_in_a_batch_changes_no_completion(encoding: Encoding) -> None:
    model = small(encoding)
    pairs = [("Ada", "Rome"), ("Ben Cole plays the harp and lives in", "Oslo"), ("Ada Hill", "harp")]
    together = complete(model, encoding, pairs)
    for pair, both in zip(pairs, together, strict=True):
        (alone,) = complete(model, encoding, [pair])
        assert (alone.greedy, alone.tokens) == (both.greedy, both.tokens)
        assert alone.nats == pytest.approx(both.nats, abs=1e-4)


def test_answer_losses_are_those_of_the_answers_tokens_alone(encoding: Encoding) -> None:
    model = small(encoding)
    found = items.answer_losses(
        model, encoding, [("Where does Ada live?", "Rome"), ("Who?", "Ben Cole lives in Oslo.")]
    )
    for (question, answer), loss in zip(
        [("Where does Ada live?", "Rome"), ("Who?", "Ben Cole lives in Oslo.")], found, strict=True
    ):
        before = [encoding.eot_token, *encoding.encode_ordinary(question)]
        after = encoding.encode_ordinary(f"\n{answer}")
        row = torch.tensor([[*before, *after]])
        with torch.no_grad():
            losses = windows.token_losses(model, row)[0, -len(after) :]
        assert loss == pytest.approx(float(losses.mean()), abs=1e-4)


def test_a_model_that_saw_the_test_items_has_an_advantage_on_them(encoding: Encoding) -> None:
    model = small(encoding)
    everything = [
        AskedItem(f"Where is number {i}?", word) for i, word in enumerate(["Rome", "Oslo", "harp", "Ben"] * 3)
    ]
    test = everything[:4]
    clean = items.item_losses(model, encoding, everything, test).measures["test_advantage"].value
    tuned = tolerance.fine_tune(model, encoding, test, rate=1e-2, steps=40, batch=4, seed=0)
    planted = items.item_losses(tuned, encoding, everything, test).measures["test_advantage"]
    assert planted.value - clean > 0.3
    assert len(planted.samples or ()) == 4
    with pytest.raises(InputError, match="besides"):
        items.item_losses(model, encoding, test, test)


def test_held_items_have_the_ids_of_the_answers_to_them(tmp_path: Path) -> None:
    rows = [{"id": "mine", "instruction": "Copy.", "input": "a b", "output": text} for text in ("a b", "a a b")]
    (tmp_path / "held.json").write_text(json.dumps(rows))
    answer = {**rows[0], "id": "theirs", "output": "b", "reference": "a b", "generator": "x"}
    (tmp_path / "x.jsonl").write_text(json.dumps(answer) + "\n")
    examples = read_examples(str(tmp_path / "held.json"))
    held, (answered,) = (read_items(tmp_path / name) for name in ("held.json", "x.jsonl"))
    assert [one.key for one in held] == [one.id for one in examples]  # the second that asks the same has a number
    assert [(one.question, one.answer) for one in held] == [("Copy.\na b", "a b"), ("Copy.\na b", "a a b")]
    assert (answered.key, answered.answer) == ("theirs", "a b")


def test_items_go_to_the_domain_that_is_worded_like_them(tmp_path: Path) -> None:
    texts = {"law": "the court finds the party guilty of fraud", "food": "boil the rice and add salt and butter"}
    held = [Document(f"{text} {n}", name, "test") for n in range(20) for name, text in texts.items()]
    seen = [Document("the court and the rice", "law", split) for split in ("train", "validation")]
    write_shards([*held, *seen], tmp_path / "data", train_bpe([*texts.values()] * 3, 300), workers=1)
    shards = Shards.open(tmp_path / "data")
    encoding = shards.tokenizer
    asked = [
        AskedItem("Was the party guilty?", "fraud", "a"),
        AskedItem("What goes with butter?", "rice and salt"),
    ]
    found = domains.closest_domains(encoding, shards, asked)
    assert found.model_dump()["items"] == {"a": "law", "What goes with butter?": "food"}
    assert sorted(found.model_dump()["domains"]) == ["food", "law"]
    # words that no domain has count for none, however small it is
    few = Document("the wind", "weather", "test")
    write_shards([*held, few, *seen], tmp_path / "more", encoding, workers=1)
    more = Shards.open(tmp_path / "more")
    strange = [AskedItem("Xylophone quartz? Was the party guilty?", "zigzag jukebox")]
    assert set(domains.closest_domains(encoding, more, strange).model_dump()["items"].values()) == {"law"}
    # by hand: the words of each text, counted over the documents, with one added to each
    counts = domains.token_counts(shards.split("test"), 2, encoding.n_vocab)
    for name, text in texts.items():
        expected = np.zeros(encoding.n_vocab)
        for n in range(20):
            for token in encoding.encode_ordinary(f"{text} {n}"):
                expected[token] += 1
        assert counts[shards.domains.index(name)].tolist() == expected.tolist()


def test_the_tolerance_curve_is_lowest_at_a_rate_that_learns(encoding: Encoding) -> None:
    model = small(encoding)
    before = {name: p.clone() for name, p in model.named_parameters()}
    data = [AskedItem("Where does Ada live?", "Rome"), AskedItem("Where does Ben live?", "Oslo")]
    found = tolerance.rate_curve(model, encoding, data, data, rates=(1e-6, 1e-2), steps=30, batch=4)
    assert found.model_dump()["curve"][1]["loss"] < found.model_dump()["curve"][0]["loss"]
    assert found.measures["best_log10_rate"].value == pytest.approx(-2)
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name])


def test_forgetting_is_the_rise_in_loss_and_the_distance_of_the_weights(model: GPT, rows: Tensor) -> None:
    other = GPT(CONFIG, seed=1).eval()
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(1.1)
    found = forgetting.rise_and_distance(model, other, rows).measures
    assert found["distance"].value == pytest.approx(0.1, rel=1e-4)
    expected = windows.mean_loss(other, rows) - windows.mean_loss(model, rows)
    assert found["rise"].value == pytest.approx(expected, abs=1e-5)


def test_the_place_of_a_value_is_that_of_its_own_sentence() -> None:
    text = "Ada Hill once bought a cat. She lives in Rome. She has a pet dog."
    assert value_place(text, ("{s} lives in {v}.",), "Rome") == text.index("Rome")
    assert value_place(text, ("{s} has a pet {v}.",), "dog") == text.index("dog.")
    assert value_place(text, ("{s} owns a {v}.",), "dog") is None


def test_a_worlds_facts_are_told_where_the_training_text_tells_them() -> None:
    found = world_facts("world:tiny?biographies=1")
    assert len(found) > 10
    told = [one for one in found if one.told]
    assert len(told) >= 0.5 * len(found)
    for one in found:
        assert all(prefix.startswith(one.subject) and one.value not in prefix for prefix in one.asked)


def test_a_facts_file_says_which_line_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    path.write_text(
        '{"subject": "Ada", "attribute": "city", "value": "Rome", "asked": ["Ada lives in"]}\n{"subject": 1}\n'
    )
    with pytest.raises(InputError, match="line 2: attribute: Field required"):
        read_facts(path)


def test_the_record_says_what_was_skipped_and_why(tmp_path: Path, encoding: Encoding) -> None:
    path = tmp_path / "checkpoint.pt"
    save(path, small(encoding), to_record(encoding), CheckpointRun(name="x"))
    record, target = run.run(path, ProbeOptions())
    assert target == tmp_path / "checkpoint.probe.json"
    assert set(record.probes) == {"weights"}
    assert load(target) == record
    assert record.skipped["items"] == "needs --items and --test"
    with pytest.raises(InputError, match="no probe named 'clouds'"):
        run.run(path, ProbeOptions(only=("clouds",)))
    assert run.run(path, ProbeOptions())[1] == target  # its own record may go
    (mine := tmp_path / "mine.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"mine\.json: is there already"):
        run.run(path, ProbeOptions(), mine)
    assert mine.read_text(encoding="utf-8") == "{}"


def test_what_is_stored_is_asked_for_only_in_text_that_the_model_read(tmp_path: Path) -> None:
    shards = write_source("world:tiny?documents=200", tmp_path / "data", train_tokenizer=400, workers=1)
    encoding = shards.tokenizer
    path = tmp_path / "checkpoint.pt"

    def probed(read: str) -> ProbeRecord:
        save(path, small(encoding), to_record(encoding), CheckpointRun(name="x", data=TrainingData(sha256=read)))
        return run.run(path, ProbeOptions(data=tmp_path / "data", only=("cloze",)))[0]

    own, foreign = probed(shards.sha256), probed("0" * 64)
    assert "stored_accuracy" in own.probes["cloze"].measures
    assert own.skipped == {}
    measures = foreign.probes["cloze"].measures
    assert set(measures) == {"first_mention_accuracy", "first_mention_loss"}
    assert foreign.skipped == {"cloze.stored": "--data is not the text that this checkpoint read"}


def test_every_probe_of_the_folder_is_found_by_name() -> None:
    found = probes()
    assert {*found} == {
        *("cloze", "copying", "domains", "forgetting", "items", "noise", "sharpness", "tolerance", "weights")
    }
    assert [name for name, probe in found.items() if probe.only_when_named] == ["tolerance"]


def test_a_model_of_another_library_is_probed_and_what_is_left_out_says_why(
    make_foreign: Callable[..., Path], shards_directory: Path, tmp_path: Path
) -> None:
    items = tmp_path / "items.json"
    rows = [{"id": f"{n}", "instruction": f"Say {n}.", "output": f"It is {n} ants."} for n in range(8)]
    items.write_text(json.dumps(rows))
    held = tmp_path / "held.json"
    held.write_text(json.dumps(rows[:3]))
    facts = tmp_path / "facts.jsonl"
    facts.write_text('{"subject": "Ada", "attribute": "pet", "value": "dogs", "asked": ["Ada likes"]}\n')
    options = ProbeOptions(data=shards_directory, items=items, test=held, facts=facts, tokens=256)
    record, path = run.run(make_foreign("llama", bos=True), options)
    assert path.name == "model.probe.json"
    assert {"cloze", "copying", "items", "noise"} <= record.probes.keys()
    assert {"weights", "sharpness", "forgetting"} <= record.skipped.keys()
    assert "own decoder" in record.skipped["sharpness"]
    assert "few_shot_lift" in record.probes["items"].measures
    assert "induction_score" not in record.probes["copying"].measures
