"""docs/for-the-diary.md: its commands run on files of the diary's layouts, its figures are the published ones."""

from __future__ import annotations

import csv
import json
import math
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from safetensors.numpy import save_file as save_arrays  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch import Tensor  # noqa: E402

from equiloss import tokenizer  # noqa: E402
from equiloss.statistics.nested import range_of_equals  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "for-the-diary.md").read_text(encoding="utf-8")
V, C, T, H, L = 50257, 8, 160, 2, 1
GPT2 = tokenizer.gpt2()
SHORT = ["--set", "epochs=1", "--set", "decoding.max_new_tokens=4"]
"""What the test adds to a fine-tuning: it is the commands that are tested, not the models."""


def commands() -> list[list[str]]:
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


def weights(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    drawn = {name: torch.randn(shape, generator=generator) * 0.1 for name, shape in shapes.items()}
    return {name: torch.ones_like(value) if name.endswith("scale") else value for name, value in drawn.items()}


def torch_model(seed: int) -> dict[str, Tensor]:
    shapes: dict[str, tuple[int, ...]] = {"tok_emb.weight": (V, C), "pos_emb.weight": (T, C), "out_head.weight": (V, C)}
    for layer in range(L):
        block = f"trf_blocks.{layer}"
        shapes |= {f"{block}.att.{part}.weight": (C, C) for part in ("W_query", "W_key", "W_value", "out_proj")}
        shapes |= {f"{block}.att.out_proj.bias": (C,), f"{block}.ff.layers.0.weight": (4 * C, C)}
        shapes |= {f"{block}.ff.layers.0.bias": (4 * C,), f"{block}.ff.layers.2.weight": (C, 4 * C)}
        shapes |= {f"{block}.ff.layers.2.bias": (C,)}
        shapes |= {f"{block}.{norm}.{part}": (C,) for norm in ("norm1", "norm2") for part in ("scale", "shift")}
    shapes |= {"final_norm.scale": (C,), "final_norm.shift": (C,)}
    return weights(shapes, seed)


def jax_model(seed: int) -> dict[str, Tensor]:
    shapes: dict[str, tuple[int, ...]] = {
        "token_embedding.embedding": (V, C), "position_embedding.embedding": (T, C), "output_head.kernel": (C, V),
        "output_norm.scale": (1, 1, C), "output_norm.bias": (1, 1, C),
    }  # fmt: skip
    for layer in range(L):
        block = f"transformers_layers.layers.{layer}"
        shapes |= {f"{block}.attention.{p}.kernel": (C, C) for p in ("W_q", "W_k", "W_v", "output_projection")}
        shapes |= {f"{block}.attention.output_projection.bias": (C,)}
        shapes |= {
            f"{block}.{norm}.{p}": (1, 1, C) for norm in ("attention_norm", "ffn_norm") for p in ("scale", "bias")
        }
        shapes |= {f"{block}.ffn.layers.0.kernel": (C, 4 * C), f"{block}.ffn.layers.0.bias": (4 * C,)}
        shapes |= {f"{block}.ffn.layers.2.kernel": (4 * C, C), f"{block}.ffn.layers.2.bias": (C,)}
    return weights(shapes, seed)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the diary's files, small: run directories, instructions, annotated answers, judgings, tokens."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    shape = {"vocab_size": V, "context_length": T, "emb_dim": C, "n_heads": H, "n_layers": L, "qkv_bias": False}
    recipe = {
        "microbatch_size": 6, "dataset": "gpjt/fineweb-gpt2-tokens",
        "min_train_tokens": 3260190720, "start_train_token": 0,
        "learning_rate": 0.0014, "schedule_learning_rate": True, "warmup_period_percent": 5,
        "clipping_max_norm": 3.5, "weight_decay": 0.01,
    }  # fmt: skip
    models = {
        "stacked-1x": (torch_model(1), {"gradient_accumulation_steps": 16}),
        "stacked-8x": (torch_model(2), {"microbatch_size": 12, "gradient_accumulation_steps": 1}),
        "jax-mha": (jax_model(3), {"gradient_accumulation_steps": 16}),
    }
    for name, (state, changes) in models.items():
        run = tmp_path / "runs" / name
        run.mkdir(parents=True)
        save_file(state, run / "model.safetensors")
        (run / "model.json").write_text(json.dumps(shape | ({} if "jax" in name else {"drop_rate": 0.0})))
        (run / "train.json").write_text(json.dumps(recipe | changes))
    items = [{"instruction": f"Name number {n}.", "input": "", "output": f"It is {n}."} for n in range(40)]
    Path("instruction-data.json").write_text(json.dumps(items))
    for name, better in (("stacked-1x", 5), ("stacked-8x", 0)):
        scored = [
            {**item, "model_response": f"{name} says {n}", "llm_score": 20 + n % 7 + better, "llm_comments": "fair"}
            for n, item in enumerate(items)
        ]
        Path(f"{name}-annotated.json").write_text(json.dumps(scored))
    rows = [["model", "test_loss", *(f"run{n}" for n in range(1, 6)), "mean"]]
    rows += [
        [f"m{k}", "3.5", *(str(10 + 2 * k + 0.3 * ((7 * k + 3 * n) % 5)) for n in range(5)), "0"] for k in range(6)
    ]
    Path("judgings.csv").write_text("\n".join(map(",".join, rows)))
    rng = np.random.default_rng(0)
    Path("fineweb-gpt2-tokens").mkdir()
    documents = [rng.integers(1000, 40_000, 60) for _ in range(200)]
    for split, part in (("train", documents[:160]), ("validation", documents[150:])):  # ten stand in both
        ids = np.concatenate([np.append(d, GPT2.eot_token) for d in part]).astype(np.uint16)
        save_arrays({"tokens": ids}, f"fineweb-gpt2-tokens/{split}.safetensors")
    for name in ("wiki", "edu", "fineweb-sample"):
        texts = [" ".join(map(str, rng.integers(0, 1000, 20))) for _ in range(40)]
        Path(f"{name}.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    shutil.copytree(ROOT / "studies", tmp_path / "studies")
    return tmp_path


def test_every_command_of_the_page_runs(files: Path, program: Callable[..., Any]) -> None:
    printed: dict[str, str] = {}
    for name, *arguments in commands():
        if (name, arguments[0]) != ("study", "run"):
            done = program(name, *arguments, *(SHORT if name == "ift" else []))
            assert done.code == 0, (name, arguments, done.err)
            printed[f"{name} {' '.join(arguments)}"] = done.out
    assert len(printed) >= 14
    ledger = next(out for line, out in printed.items() if line.startswith("study noise --table"))
    assert "not measured" in ledger
    diagnosis = next(out for line, out in printed.items() if line.startswith("judge diagnose"))
    assert "wiki" in diagnosis
    assert "fineweb" in diagnosis
    whole, by_file = (out for line, out in printed.items() if line.startswith("pretrain overlap"))
    assert whole.startswith("10 of 33 documents")
    assert by_file.split(" of ")[:3] == whole.split(" of ")[:3]
    assert (files / "noise.html").is_file()


@pytest.mark.slow
def test_the_study_of_the_page_runs(files: Path, program: Callable[..., Any]) -> None:
    (command,) = [arguments for name, *arguments in commands() if (name, arguments[0]) == ("study", "run")]
    short = ["--set", f"recipe=--recipe diary {' '.join(SHORT)}", "--set", "seeds=[1, 2]", "--jobs", "2"]
    done = program("study", *command, *short)
    assert done.code == 0, done.err
    assert (files / "diary" / "noise.json").is_file()
    assert "stacked-1x" in (files / "diary" / "compare.txt").read_text()


def test_the_table_of_equal_models_is_that_of_the_range() -> None:
    rows = re.findall(r"^\| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", PAGE, flags=re.MULTILINE)
    assert len(rows) == 4
    for row in rows:
        sd, *shown = map(float, row)
        expected = [range_of_equals(k, sd, q) for k in (6, 24) for q in (0.5, 0.95)]
        assert shown == pytest.approx(expected, abs=0.006)


def test_the_contrasts_are_those_of_the_published_figures(shared_data: Path) -> None:
    with (shared_data / "diary" / "ift-judge-runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    values = np.array([[float(row[f"run{n}"]) for n in range(1, 6)] for row in rows])  # (24, 5)
    assert math.sqrt(values.var(1, ddof=1).mean()) == pytest.approx(0.42, abs=0.005)
    centred = values - values.mean(0)
    within = ((centred - centred.mean(1, keepdims=True)) ** 2).sum() / (23 * 4)
    assert math.sqrt(within) == pytest.approx(0.31, abs=0.005)
    assert math.sqrt(within / 5) == pytest.approx(0.14, abs=0.005)
    pairs = re.findall(r"^\| .+ \| ([\d.]+), ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", PAGE, flags=re.MULTILINE)
    assert len(pairs) == 10
    means = values.mean(1)
    losses = [float(row["test_loss"]) for row in rows]
    for first, second, gap, limit in pairs:
        fitting = [
            means[i] - means[j]
            for i in range(24)
            for j in range(24)
            if f"{losses[i]:.3f}" == first and f"{losses[j]:.3f}" == second
        ]
        assert any(f"{abs(value):.2f}" == gap for value in fitting), (first, second, gap, fitting)
        assert float(gap) / (1.96 * math.sqrt(2)) == pytest.approx(float(limit), abs=0.006)
