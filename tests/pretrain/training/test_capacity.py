"""The largest micro-batch: found by growth, never by trying what cannot fit; and the estimate of the whole run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equiloss.errors import EquilossError
from pretrain.config import ModelConfig, RunConfig, load_run_config
from pretrain.model.decoder import GPT
from pretrain.training import capacity as fitting
from pretrain.training import memory
from pretrain.training.capacity import (
    Bench,
    FittedBatch,
    Trial,
    estimate,
    fit,
    flops_per_token,
    largest_that_fits,
    line,
    search,
)
from pretrain.training.optimizers import Optimizers

SMALL = ["model.n_layer=2", "model.n_embd=32", "model.n_head=2", "model.context=16", "model.vocab_size=100"]


@given(st.integers(0, 10**6), st.integers(1, 10**5), st.integers(10**3, 10**9))
def test_the_search_never_tries_what_cannot_fit_and_finds_the_largest(fixed: int, slope: int, limit: int) -> None:
    tried: list[int] = []

    def bench(size: int) -> Trial:
        tried.append(fixed + slope * size)
        return Trial(size, fixed + slope * size, 0.001 * size)

    if fixed + slope > limit:
        with pytest.raises(EquilossError, match="one sequence needs"):
            search(bench, limit)
        return
    trials = search(bench, limit)
    assert max(tried) <= limit
    if len(trials) > 1:
        assert line(trials) == pytest.approx((fixed, slope), abs=1e-3)
        found = largest_that_fits(*line(trials), limit)
        assert found >= trials[-1].batch_size
        assert (fixed + slope * found) * fitting.SAFETY <= limit * (1 + 1e-9)
        assert found == fitting.LARGEST or (fixed + slope * (found + 1)) * fitting.SAFETY > limit * (1 - 1e-9)


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_parameters_and_memory_follow_the_formulas(tie: bool, bias: bool) -> None:
    model = ModelConfig(n_layer=3, n_head=2, n_embd=32, context=16, vocab_size=100, tie_weights=tie, qkv_bias=bias)
    config = RunConfig(model=model)
    gpt = GPT(model)
    assert fitting.parameter_count(config) == sum(p.numel() for p in gpt.parameters())
    optimizers = Optimizers(gpt, config.train)
    x = torch.arange(16)[None]
    gpt(x, x).backward()
    gradients = sum(p.grad.numel() * 4 for p in gpt.parameters() if p.grad is not None)
    optimizers.step(0.001)
    moments = sum(v.numel() * 4 for s in optimizers.state().values() for k, v in s.items() if k != "step")
    weights = sum(p.numel() * 4 for p in gpt.parameters())
    assert weights + gradients + moments == fitting.expected_bytes(config)


def test_gpt2_small_has_its_published_size() -> None:
    small = load_run_config("gpt2-small", ["model.vocab_size=50257"])
    assert fitting.parameter_count(small) == 124_439_808
    untied = load_run_config("gpt2-small", ["model.vocab_size=50257", "model.tie_weights=false"])
    assert 162.9e6 < fitting.parameter_count(untied) < 163.1e6


def test_flops_equal_those_that_torch_counts() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    config = load_run_config("tiny", [*SMALL, "model.n_embd=64"])
    model = GPT(config.model)
    ids = torch.randint(100, (4, 16))
    with FlopCounterMode(display=False) as counter:
        model(ids, ids).backward()
    # Torch counts attention without the causal mask, and its backward's recomputation: compare the matrices alone.
    attention = 6.0 * 2 * 64 * 16
    matrices = (flops_per_token(config) - attention) * ids.numel()
    counted = {str(op): flops for op, flops in counter.get_flop_counts()["Global"].items()}
    assert sum(flops for op, flops in counted.items() if "mm" in op and "bmm" not in op) == pytest.approx(matrices)


def test_the_command_measures_and_estimates(program: Callable[..., Any]) -> None:
    options = [f"--set={item}" for item in [*SMALL, "train.batch_size=4", "train.accumulate=6", "train.steps=100"]]
    done = program("pretrain", "fit", "tiny", *options, "--memory", "8", "--usd-per-hour", "2.5", "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["batch_size"] * document["accumulate"] == 24
    assert document["batch_size"] <= document["largest_batch_size"]
    assert document["trials"][0]["batch_size"] == 1
    assert max(trial["peak_bytes"] for trial in document["trials"]) <= document["limit_bytes"] == 8 * 2**30
    assert (document["steps"], document["tokens"]) == (100, 100 * 24 * 16)
    assert document["cost_usd"] == pytest.approx(document["hours"] * 2.5)
    assert "largest micro-batch" in done.err


def test_the_measured_step_is_a_real_one() -> None:
    config = load_run_config("tiny", [*SMALL, "train.precision=fp32"])
    bench = Bench(config, torch.device("cpu"))
    before = bench.model.token_embedding.weight.detach().clone()
    trial = bench(3)
    assert trial.batch_size == 3
    assert trial.step_s > 0
    assert trial.peak_bytes > 10 * 2**20
    assert trial.peak_bytes <= memory.peak_bytes(torch.device("cpu"))
    assert bench.optimizers.state()  # the update ran, so its memory is counted
    assert torch.equal(before, bench.model.token_embedding.weight)


def test_growth_that_is_hidden_is_not_believed() -> None:
    """What the process holds free shows no growth at first: the bound from the shape keeps the search careful."""
    tried: list[int] = []

    def bench(size: int) -> Trial:
        tried.append(size)
        return Trial(size, max(1000, 100 * size), 0.001)

    trials = search(bench, limit=1500, floor=90.0)
    assert max(tried) * 100 <= 1500
    assert largest_that_fits(*line(trials, 90.0), 1500) * 100 <= 1500


def test_the_bound_from_the_shape_is_below_what_is_measured() -> None:
    program = (
        "import torch\n"
        "from pretrain.config import load_run_config\n"
        "from pretrain.training.capacity import Bench, least_per_sequence\n"
        "config = load_run_config('tiny', ['model.vocab_size=300', 'model.n_embd=256', 'train.precision=fp32'])\n"
        "bench = Bench(config, torch.device('cpu'))\n"
        "few, many = bench(8), bench(40)\n"
        "print((many.peak_bytes - few.peak_bytes) / 32 / least_per_sequence(config))\n"
    )  # in a process of its own: what others freed before would hide the growth
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(run.stdout) > 1


def test_one_trial_says_what_is_known_and_leaves_the_rest_to_the_sequence() -> None:
    assert line([Trial(1, 1000, 0.1)], floor=90.0, known=700.0) == (700.0, 300.0)
    assert line([Trial(1, 1000, 0.1)], floor=90.0) == (0.0, 1000.0)


def test_what_cannot_fit_is_told_before_anything_is_allocated() -> None:
    config = load_run_config("gpt2-small", ["model.n_layer=48", "model.n_embd=1600", "model.n_head=25"])
    with pytest.raises(EquilossError, match=r"weights, gradients and optimizer alone need 23\.\d+ GiB"):
        fit(config, memory_bytes=4 * 2**30)


def test_the_picture_at_the_end_takes_time_and_memory() -> None:
    program = "from pretrain.training.capacity import drawing; print(*drawing())"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    seconds, taken = map(float, run.stdout.split())
    assert 0 < seconds < 60
    assert not memory.SELF.exists() or 5e6 < taken < 5e8
    assert run.stderr == ""


def test_the_estimate_counts_devices_validation_and_tokens() -> None:
    config = load_run_config("tiny", [*SMALL, "train.tokens=1000000", "train.eval_tokens=3000", "train.eval_every=100"])
    found = FittedBatch(8, True, 1000, 1, 1, 1, 1.0, 500.0, [], config)
    one, two = estimate(found), estimate(found, devices=2, usd_per_hour=3.0)
    assert one.steps == -(-1_000_000 // (16 * 16))
    validations = one.steps // 100 + 1
    assert one.hours == pytest.approx((one.tokens + validations * 2992 / 3) / 500 / 3600)  # 187 windows of 16
    short = estimate(found, validation_tokens=100)  # 6 windows
    assert short.hours == pytest.approx((one.tokens + validations * 96 / 3) / 500 / 3600)
    assert estimate(found, validation_tokens=16).hours == pytest.approx(one.tokens / 500 / 3600)
    steps = replace(found, step_s=2.0, evaluated_tokens_per_s=748.0)
    assert estimate(steps).hours == pytest.approx((2.0 * one.steps + validations * 4) / 3600)
    around = replace(found, start_s=3.0, end_s=1.0)  # once, on however many devices
    assert estimate(around, devices=2).hours == pytest.approx(two.hours + 4 / 3600)
    assert two.hours == pytest.approx(one.hours / 2)
    assert one.cost_usd is None
    assert two.cost_usd == pytest.approx(two.hours * 6)
    with pytest.raises(EquilossError, match="--devices 0"):
        estimate(found, devices=0)


def test_available_memory_respects_a_containers_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\nMemAvailable:     5000 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    cpu = torch.device("cpu")
    assert memory.available_bytes(cpu) == 5000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_bytes(cpu) == 5000 * 1024
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert memory.available_bytes(cpu) == 2_000_000
