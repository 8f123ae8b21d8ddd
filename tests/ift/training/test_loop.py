"""Training: what is selected is what is kept, and nothing but the named seeds decides anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from equiloss.records.ift_run import Epoch, RunSeeds
from equiloss.records.response import Example
from ift.prompts import load as load_template
from ift.recipe import Recipe
from ift.training import lora
from ift.training.batches import Encoded, encode_examples
from ift.training.loop import Trained, add_noise, fine_tune, mean_loss
from pretrain.config import ModelConfig
from pretrain.model.decoder import GPT
from pretrain.training.distributed import World

ALONE = World(0, 1, torch.device("cpu"))
SEEDS = RunSeeds(order=1, dropout=2, noise=3)
CONFIG = ModelConfig(n_layer=2, n_head=2, n_embd=32, context=96, vocab_size=257)


def encoded(count: int, start: int = 0, answer: str | None = None) -> list[Encoded]:
    template = load_template("plain")
    examples = [
        Example(id=str(i), instruction=f"Say {i}{i % 3}", reference=(answer or str(i % 3)) * (1 + i % 4))
        for i in range(start, count)
    ]
    return encode_examples(examples, template, lambda text: list(text.encode()), 256, 96)[0]


TRAIN, VALIDATION = encoded(40), encoded(52, 40)
ZEROS, ONES = encoded(40, answer="0"), encoded(40, answer="1")
"""The same items with answers of zeros, and of ones: what learns the former, unlearns the latter."""


def recipe(**fields: Any) -> Recipe:
    return Recipe(**{"lr": 0.01, "epochs": 3, "patience": None, "batch_size": 8, "template": "plain", **fields})


def test_the_best_epoch_is_restored_not_the_last() -> None:
    model = GPT(CONFIG, seed=0)
    chosen = recipe(lr=0.01, epochs=8, schedule="constant", warmup=0.0, clip_norm=None)
    result = fine_tune(model, ZEROS, ONES, chosen, SEEDS, ALONE)
    losses = [one.validation_loss for one in result.epochs]
    assert len(losses) == 8
    assert result.selected_epoch == losses.index(min(losses)) + 1  # type: ignore[type-var]
    assert result.selected_epoch < 8, "the case must overfit to show anything"
    assert mean_loss(model, ONES, chosen, ALONE) == pytest.approx(result.selected_validation_loss, abs=1e-6)
    assert mean_loss(model, ONES, chosen, ALONE) != pytest.approx(losses[-1], abs=1e-3)


def test_patience_stops_and_last_keeps_the_last() -> None:
    fields = {"lr": 0.01, "epochs": 8, "schedule": "constant", "warmup": 0.0, "clip_norm": None}
    model = GPT(CONFIG, seed=0)
    stopped = fine_tune(model, ZEROS, ONES, recipe(patience=1, **fields), SEEDS, ALONE)
    assert stopped.stopped == "patience"
    assert len(stopped.epochs) == stopped.selected_epoch + 1 < 8
    model = GPT(CONFIG, seed=0)
    last = fine_tune(model, ZEROS, ONES, recipe(select="last", **fields), SEEDS, ALONE)
    assert last.selected_epoch == 8
    assert mean_loss(model, ONES, recipe(), ALONE) == pytest.approx(last.epochs[-1].validation_loss, abs=1e-6)


def test_without_validation_items_the_last_epoch_is_kept() -> None:
    model = GPT(CONFIG, seed=0)
    result = fine_tune(model, TRAIN, [], recipe(select="last", patience=1), SEEDS, ALONE)
    assert (result.selected_epoch, len(result.epochs), result.selected_validation_loss) == (3, 3, None)


def test_validation_loss_is_weighted_by_tokens_and_takes_every_item() -> None:
    model = GPT(CONFIG, seed=0).eval()
    total = count = 0.0
    for item in VALIDATION:
        ids = torch.tensor([item.tokens.ids])
        losses = torch.nn.functional.cross_entropy(model(ids[:, :-1])[0], ids[0, 1:], reduction="none")
        carries = torch.tensor(item.tokens.loss[1:])
        total += float(losses[carries].sum().detach())
        count += int(carries.sum())
    for most in (1, 50, 100_000):
        chosen = recipe(micro_batch_tokens=most)
        assert mean_loss(model, VALIDATION, chosen, ALONE) == pytest.approx(total / count, rel=1e-5)


def test_cutting_a_step_into_micro_batches_changes_nothing() -> None:
    results = []
    for most in (1, 100_000):
        result = fine_tune(GPT(CONFIG, seed=0), TRAIN, VALIDATION, recipe(micro_batch_tokens=most), SEEDS, ALONE)
        results.append([one.validation_loss for one in result.epochs])
    assert results[0] == pytest.approx(results[1], rel=1e-3)


def test_order_and_dropout_do_not_depend_on_what_was_drawn_before() -> None:
    losses = []
    for before in (0, 1000):
        torch.manual_seed(before)
        torch.randn(before + 1)
        result = fine_tune(GPT(CONFIG, dropout=0.2, seed=0), TRAIN, VALIDATION, recipe(dropout=0.2), SEEDS, ALONE)
        losses.append([one.train_loss for one in result.epochs])
    assert losses[0] == losses[1]


@pytest.mark.parametrize("changed", ["order", "dropout", "noise"])
def test_each_seed_moves_its_own_draws(changed: str) -> None:
    chosen = recipe(epochs=1, dropout=0.2, noise=0.05)

    def loss(seeds: RunSeeds) -> float:
        model = GPT(CONFIG, dropout=0.2, seed=0)
        return fine_tune(model, TRAIN, VALIDATION, chosen, seeds, ALONE).epochs[0].train_loss

    assert loss(SEEDS) == loss(SEEDS)
    assert loss(SEEDS) != loss(SEEDS.model_copy(update={changed: 99}))


class Killed(Exception):
    """Stands for a process that dies."""


@pytest.mark.parametrize("rank", [None, 4])
def test_a_killed_run_ends_bit_equal_to_one_that_was_not(tmp_path: Path, rank: int | None) -> None:
    chosen = recipe(epochs=4, dropout=0.1, noise=0.01, lora_rank=rank)
    path = tmp_path / "state.pt"

    def train(model: GPT, kill_at: int | None, state: Path | None) -> Trained:
        def on_step(step: int, steps: int, loss: float, lr: float) -> None:
            if step == kill_at:
                raise Killed

        return fine_tune(
            model, TRAIN, VALIDATION, chosen, SEEDS, ALONE, state_path=state, fingerprint="x", on_step=on_step
        )

    whole = GPT(CONFIG, dropout=0.1, seed=0)
    expected = train(whole, None, None)
    for kill_at in (2, 8, 13):  # in the first, second and third epoch
        with pytest.raises(Killed):
            train(GPT(CONFIG, dropout=0.1, seed=0), kill_at, path)
    resumed = GPT(CONFIG, dropout=0.1, seed=0)
    found = train(resumed, None, path)

    def plain(result: Trained) -> list[Epoch]:
        return [one.model_copy(update={"seconds": 0.0}) for one in result.epochs]

    assert plain(found) == plain(expected)
    assert found.base_validation_loss == expected.base_validation_loss
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_a_state_of_another_run_or_half_a_state_is_not_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    model = GPT(CONFIG, seed=0)
    fine_tune(model, TRAIN, VALIDATION, recipe(epochs=1), SEEDS, ALONE, state_path=path, fingerprint="one")
    other = fine_tune(
        GPT(CONFIG, seed=0), TRAIN, VALIDATION, recipe(epochs=2), SEEDS, ALONE, state_path=path, fingerprint="two"
    )
    assert len(other.epochs) == 2
    path.write_bytes(path.read_bytes()[:1000])
    again = fine_tune(
        GPT(CONFIG, seed=0), TRAIN, VALIDATION, recipe(epochs=2), SEEDS, ALONE, state_path=path, fingerprint="two"
    )
    assert [one.train_loss for one in again.epochs] == [one.train_loss for one in other.epochs]


def test_low_rank_training_moves_only_its_additions_and_merges_them() -> None:
    model = GPT(CONFIG, seed=0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = fine_tune(model, TRAIN, VALIDATION, recipe(lora_rank=4, lr=0.02), SEEDS, ALONE)
    after = model.state_dict()
    assert after.keys() == before.keys()
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert moved == {name for name in after if name.startswith("blocks.") and after[name].ndim == 2}
    change = after["blocks.0.mlp.up.weight"] - before["blocks.0.mlp.up.weight"]
    assert torch.linalg.matrix_rank(change, tol=1e-4) == 4
    assert mean_loss(model, VALIDATION, recipe(), ALONE) == pytest.approx(result.selected_validation_loss, abs=1e-5)
    assert result.selected_validation_loss < result.base_validation_loss  # type: ignore[operator]


def test_a_new_low_rank_addition_changes_nothing() -> None:
    model = GPT(CONFIG, seed=0).eval()
    ids = torch.arange(10)[None]
    before = model(ids)
    lora.add(model, 4, 16.0, seed=0)
    torch.testing.assert_close(model(ids), before)


def test_noise_is_relative_to_each_matrix_and_leaves_vectors_alone() -> None:
    model, before = GPT(CONFIG, seed=0), GPT(CONFIG, seed=0)
    add_noise(model, 0.1, seed=5)
    for (name, a), b in zip(model.named_parameters(), before.parameters(), strict=True):
        if a.ndim < 2:
            assert torch.equal(a, b), name
        else:
            assert float((a - b).detach().std() / b.detach().std()) == pytest.approx(0.1, rel=0.1), name
