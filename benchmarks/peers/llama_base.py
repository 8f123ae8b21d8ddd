"""`benchmarks/ift.py --base-kind llama`: a Llama of 135 M (SmolLM2's shape), fine-tuned and asked, beside its peers.

Each round is a process of its own, so that its peak memory is its own; rounds are taken in turns. Peers get their best
setting: TRL with and without packing, `transformers` with padding to the longest of a batch sorted by length, and its
`generate` at batch 16, sorted by length, padded on the left. Token ids are GPT-2's, folded into 49,152.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from ift.prompts import Tokens
from ift.training.batches import Batch
from pretrain.model.cross_entropy import IGNORE
from pretrain.model.generation import generate
from pretrain.model.huggingface_model import HuggingFaceModel, library
from pretrain.model.precision import autocast

VOCABULARY, CONTEXT, BATCH = 49152, 512, 16
SHAPES = {
    "smollm2": {"num_hidden_layers": 30, "hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9,
                "num_key_value_heads": 3},
    "tiny": {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4,
             "num_key_value_heads": 2},
}  # fmt: skip
TRAINING = ("equiloss", "transformers", "trl", "trl-packing")
ASKING = ("equiloss-asked", "transformers-asked")
WANTED = {"items/s": 2.0, "tokens/s": 1.5}


def network(shape: str) -> Any:
    """The same weights for all; answers that vary, as a trained model's do."""
    transformers = library()
    settings = {"vocab_size": VOCABULARY, "max_position_embeddings": CONTEXT, "tie_word_embeddings": True}
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings, **SHAPES[shape], use_cache=True))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "embed" not in name:
                parameter.mul_(3)
    return model


def optimized(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)


def train(contender: str, given: argparse.Namespace, items: Sequence[Tokens], device: torch.device) -> float:
    """Items per second, after one step to warm up."""
    steps = [items[i * BATCH : (i + 1) * BATCH] for i in range(given.steps + 1)]
    if contender.startswith("trl"):
        from benchmarks.ift import trl_rate

        flat = [item for step in steps for item in step]
        packing = contender.endswith("packing")
        return trl_rate(network(given.shape), CONTEXT, flat, packing, given.steps, time.perf_counter, given.precision)
    inner = network(given.shape)
    model = HuggingFaceModel(inner).to(device).train() if contender == "equiloss" else inner.to(device).train()
    optimizer = optimized(model)

    def step(batch: Sequence[Tokens]) -> None:
        with autocast(given.precision, device):
            if isinstance(model, HuggingFaceModel):
                packed = Batch(batch, device=device)
                loss = packed.loss_sum(model) / packed.loss_tokens
            else:
                width = max(len(item.ids) for item in batch)
                pad = [width - len(item.ids) for item in batch]
                ids = torch.tensor([item.ids + [0] * more for item, more in zip(batch, pad, strict=True)])
                mask = torch.tensor([[1] * len(item.ids) + [0] * more for item, more in zip(batch, pad, strict=True)])
                carries = torch.tensor([item.loss + [False] * more for item, more in zip(batch, pad, strict=True)])
                labels = torch.where(carries, ids, IGNORE)
                rows = (x.to(device) for x in (ids, mask, labels))
                loss = model(**dict(zip(("input_ids", "attention_mask", "labels"), rows, strict=True))).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    if contender == "transformers":  # its best: batches of like length
        ordered = sorted((item for batch in steps for item in batch), key=lambda item: len(item.ids))
        steps = [ordered[i * BATCH : (i + 1) * BATCH] for i in range(len(steps))]
    step(steps[0])
    seconds = _timed(lambda: [step(batch) for batch in steps[1:]], device)
    return sum(map(len, steps[1:])) / seconds


@torch.inference_mode()
def ask(contender: str, given: argparse.Namespace, items: Sequence[Tokens], device: torch.device) -> float:
    """New tokens per second."""
    prompts = [item.ids[: item.prompt_tokens] for item in items[: given.prompts]]
    inner = network(given.shape).eval()
    if contender == "equiloss-asked":
        model = HuggingFaceModel(inner).eval()
        for parameter in model.parameters():
            parameter.data = parameter.data.to(device, torch.bfloat16 if given.precision == "bf16" else torch.float32)
        model.to(device)

        def write(new: int) -> None:
            generate(model, prompts, max_new_tokens=new, eos_id=None)
    else:
        inner.to(device, torch.bfloat16 if given.precision == "bf16" else torch.float32)
        ordered = sorted(prompts, key=len)

        def write(new: int) -> None:
            for start in range(0, len(ordered), BATCH):
                batch = ordered[start : start + BATCH]
                width = max(map(len, batch))
                ids = torch.tensor([[0] * (width - len(one)) + one for one in batch], device=device)
                mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in batch], device=device)
                inner.generate(ids, attention_mask=mask, max_new_tokens=new, min_new_tokens=new, do_sample=False)

    write(1)
    return len(prompts) * given.new_tokens / _timed(lambda: write(given.new_tokens), device)


def _timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of some work, the device's included."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start


def one_round(given: argparse.Namespace, items: Sequence[Tokens]) -> dict[str, float]:
    """A contender's rate and its peak memory in MB (the device's on a GPU)."""
    device = torch.device(given.device)
    folded = [Tokens([one % VOCABULARY for one in item.ids], item.loss, item.prompt_tokens) for item in items]
    rate = (ask if given.one in ASKING else train)(given.one, given, folded, device)
    on_gpu = device.type == "cuda"
    peak = torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"rate": rate, "peak_mb": peak / 2**20}


def measure(given: argparse.Namespace, script: Path) -> dict[str, Any]:
    """All contenders in turns, each round by `script` in a process of its own; the best of each, and the ratios."""
    best: dict[str, dict[str, float]] = {}
    missing: set[str] = set()
    for _ in range(given.rounds):
        for precision in given.precisions:
            for contender in given.contenders or (*TRAINING, *ASKING):
                name = f"{contender}, {precision}"
                if name in missing:
                    continue
                command = [sys.executable, str(script), *sys.argv[1:], "--one", contender, "--precision", precision]
                run = subprocess.run(command, capture_output=True, text=True, check=False)
                if run.returncode:
                    missing.add(name)
                    print(f"{name} is left out: {(run.stderr.strip() or '?').splitlines()[-1]}", file=sys.stderr)
                    continue
                row = json.loads(run.stdout.splitlines()[-1])
                print(f"{name}: {row['rate']:.2f}, {row['peak_mb']:.0f} MB", file=sys.stderr, flush=True)
                best[name] = max(best.get(name, row), row, key=lambda one: one["rate"])
    ratios: dict[str, float] = {}
    for precision in given.precisions:
        for unit, names in (("items/s", TRAINING), ("tokens/s", ASKING)):
            rates = [best[f"{name}, {precision}"]["rate"] for name in names if f"{name}, {precision}" in best]
            for name in names:
                if (row := best.get(f"{name}, {precision}")) is not None:
                    print(f"{name:20} {precision} {row['rate']:9.2f} {unit:9} {row['peak_mb']:7.0f} MB")
            if f"{names[0]}, {precision}" in best and len(rates) > 1:
                ratio = ratios[f"{unit}, {precision}"] = rates[0] / max(rates[1:])
                enough = "yes" if ratio >= WANTED[unit] else "NO"
                print(f"{ratio:.2f} x the best peer's {unit} in {precision} (wanted {WANTED[unit]}: {enough})")
    return {"best": best, "ratios": ratios, "wanted": WANTED}
