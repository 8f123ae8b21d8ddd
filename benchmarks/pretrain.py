"""Pretraining speed: tokens per second of forward, backward and optimizer, beside the peers, side by side in one run.

    python benchmarks/pretrain.py                          # both shapes, both precisions
    python benchmarks/pretrain.py --shapes tiny --json pretrain.json
    python benchmarks/pretrain.py --parts                  # where the time of this trainer's step goes
    python benchmarks/pretrain.py --device cuda            # GPT-2 small at context 1024 in bf16 (benchmarks/gpu.sh)

All train a GPT-2 of the same shape on the same random ids with AdamW and clipping, in turns; a contender's figure is
its best round, since another program's load can only slow it down. Peers run as they come out of the box: a textbook
implementation (below), transformers' GPT2LMHeadModel, and litgpt where it can be imported (it wants an older
huggingface_hub: install it into a directory of its own and name that in PYTHONPATH). Also reported: the share of
the machine's measured matrix-product peak, and the peak memory of each contender (each round is a process of its own).
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:] = [one for one in sys.path if Path(one or ".").resolve() != HERE]  # this file is no `pretrain` to import

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from equiloss.files import write_json  # noqa: E402
from equiloss.provenance import provenance  # noqa: E402
from pretrain.config import ModelConfig, RunConfig, TrainConfig  # noqa: E402

SHAPES = {
    "tiny": (ModelConfig(n_layer=4, n_head=4, n_embd=128, context=128, vocab_size=50257), 16),
    "gpt2-small": (ModelConfig(n_layer=12, n_head=12, n_embd=768, context=256, vocab_size=50257), 4),
    "gpt2-small-1024": (ModelConfig(n_layer=12, n_head=12, n_embd=768, context=1024, vocab_size=50304), 16),
}
STEPS = {"tiny": 8, "gpt2-small": 3, "gpt2-small-1024": 20}
PRECISIONS = ("fp32", "bf16")
CONTENDERS = ("equiloss", "textbook", "transformers", "litgpt")
ON_GPU = ("equiloss", "equiloss-compiled", "nanogpt", "nanogpt-compiled", "transformers")
"""nanogpt: fused queries, keys and values, torch's fused attention, every logit, a vocabulary padded to 50,304."""
WANTED = {"tiny": {"equal precision": 1.3, "best fp32 peer": 2.2}, "gpt2-small": {"bf16": 1.15, "best fp32 peer": 2.0}}
WANTED["gpt2-small-1024"] = {"bf16": 1.0}
Step = Callable[[Tensor, Tensor], object]


class TextbookBlock(nn.Module):
    """A pre-norm block with the attention written out, as tutorials have it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, self.heads = config.n_embd, config.n_head
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))
        self.register_buffer("mask", torch.triu(torch.ones(config.context, config.context), 1).bool())

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        h = self.norm1(x)
        q, k, v = (f(h).view(b, t, self.heads, -1).transpose(1, 2) for f in (self.query, self.key, self.value))
        scores = q @ k.transpose(2, 3) / math.sqrt(c / self.heads)
        scores = scores.masked_fill(self.mask[:t, :t], -math.inf)  # type: ignore[index]
        x = x + self.out((torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(b, t, c))
        return x + self.mlp(self.norm2(x))


class FusedBlock(nn.Module):
    """A pre-norm block with one matrix for queries, keys and values, and torch's fused attention."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, self.heads = config.n_embd, config.n_head
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1)).transpose(1, 3).unbind(2)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class Textbook(nn.Module):
    """GPT-2 as tutorials write it: every logit is formed, then cross_entropy."""

    def __init__(self, config: ModelConfig, block: type[nn.Module] = TextbookBlock) -> None:
        super().__init__()
        assert config.vocab_size
        self.tokens = nn.Embedding(config.vocab_size, config.n_embd)
        self.positions = nn.Embedding(config.context, config.n_embd)
        self.blocks = nn.Sequential(*(block(config) for _ in range(config.n_layer)))
        self.norm = nn.LayerNorm(config.n_embd)
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.head.weight = self.tokens.weight
        nn.init.normal_(self.tokens.weight, std=0.02)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        logits = self.head(self.norm(self.blocks(x)))
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def plain_step(model: nn.Module, loss_of: Callable[[Tensor, Tensor], Tensor], precision: str) -> Step:
    """The loop that everyone writes: autocast, backward, clip, AdamW."""
    place = next(model.parameters()).device.type
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=place == "cuda")

    def step(ids: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(place, torch.bfloat16, enabled=precision == "bf16"):
            loss = loss_of(ids, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def ours(config: ModelConfig, batch: int, precision: str, device: str = "cpu", compiled: bool = False) -> Step:
    """What `pretrain run` does in a step."""
    from pretrain.model.decoder import GPT
    from pretrain.training.allocator import keep_freed_memory
    from pretrain.training.distributed import World
    from pretrain.training.optimizers import Optimizers
    from pretrain.training.step import Stepper

    keep_freed_memory()
    settings = TrainConfig.model_validate({"batch_size": batch, "precision": precision, "clip_norm": 1.0})
    run = RunConfig(model=config, train=settings)
    model = GPT(config).train().to(device)
    forward: Any = torch.compile(model, dynamic=False) if compiled else model
    stepper = Stepper(model, forward, Optimizers(model, settings), run, World(0, 1, torch.device(device)))
    return lambda ids, targets: stepper(0, ids, targets, 1e-4)


def transformers_gpt2(config: ModelConfig, precision: str, device: str) -> Step:
    """transformers' GPT2LMHeadModel with its own loss."""
    from transformers import GPT2Config, GPT2LMHeadModel

    own: Any = config
    shape: dict[str, Any] = {
        "n_layer": own.n_layer,
        "n_head": own.n_head,
        "n_embd": own.n_embd,
        "n_positions": own.context,
    }
    dropout: dict[str, Any] = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=own.vocab_size, use_cache=False, **shape, **dropout)).train()
    model.to(device)  # pyright: ignore
    # It shifts the labels itself: hand it the ids, as its users do.
    return plain_step(model, lambda ids, _targets: model(input_ids=ids, labels=ids).loss, precision)


def litgpt_gpt(config: ModelConfig, precision: str, device: str) -> Step:
    """litgpt's GPT in GPT-2's size, with its chunked cross-entropy."""
    from litgpt.config import Config  # pyright: ignore[reportMissingImports]
    from litgpt.model import GPT  # pyright: ignore[reportMissingImports]
    from litgpt.utils import chunked_cross_entropy  # pyright: ignore[reportMissingImports]

    shape = {"n_layer": config.n_layer, "n_head": config.n_head, "n_embd": config.n_embd, "block_size": config.context}
    style = {"norm_class_name": "LayerNorm", "mlp_class_name": "GptNeoxMLP", "bias": True, "parallel_residual": False}
    model = (
        GPT(Config(vocab_size=config.vocab_size, padded_vocab_size=config.vocab_size, **shape, **style))
        .train()
        .to(device)
    )
    return plain_step(model, lambda ids, targets: chunked_cross_entropy(model(ids), targets), precision)


def build(contender: str, shape: str, precision: str, device: str) -> Step:
    """A contender's step on a shape."""
    config, batch = SHAPES[shape]
    torch.manual_seed(0)
    name, _, compiled = contender.partition("-")
    if name == "equiloss":
        return ours(config, batch, precision, device, bool(compiled))
    if name in ("textbook", "nanogpt"):
        model = Textbook(config, TextbookBlock if name == "textbook" else FusedBlock).train().to(device)
        return plain_step(model, torch.compile(model) if compiled else model, precision)
    return (transformers_gpt2 if name == "transformers" else litgpt_gpt)(config, precision, device)


def one_round(contender: str, shape: str, precision: str, steps: int, device: str) -> dict[str, float]:
    """Tokens per second over `steps` steps after two to warm up, and the peak memory in MB (the device's on a GPU)."""
    config, batch = SHAPES[shape]
    step = build(contender, shape, precision, device)
    on_gpu = device == "cuda"
    generator = torch.Generator().manual_seed(1)
    windows = torch.randint(config.vocab_size or 0, (steps + 2, batch, config.context + 1), generator=generator)
    windows = windows.to(device)
    for window in windows[:2]:
        step(window[:, :-1], window[:, 1:])
    if on_gpu:
        torch.cuda.synchronize()
    start = time.perf_counter()
    for window in windows[2:]:
        step(window[:, :-1], window[:, 1:])
    if on_gpu:
        torch.cuda.synchronize()
    rate = steps * batch * config.context / (time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"tokens_per_s": rate, "peak_mb": peak / 2**20}


def parts(shape: str, precision: str, rounds: int = 4) -> dict[str, float]:
    """Seconds of a step of this trainer: whole, its vocabulary head, its optimizer, and the rest (the blocks)."""
    from pretrain.model.cross_entropy import linear_cross_entropy
    from pretrain.model.decoder import GPT
    from pretrain.training.optimizers import Optimizers

    config, batch = SHAPES[shape]
    ids = torch.randint(config.vocab_size or 0, (batch, config.context))
    step = ours(config, batch, precision)
    model = GPT(config).train()
    hidden = torch.randn(ids.numel(), config.n_embd, requires_grad=True)
    optimizers = Optimizers(model, TrainConfig())

    def head() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = linear_cross_entropy(hidden, model.head_weight, ids.flatten())
        loss.backward()
        model.zero_grad()

    def optimizer() -> None:
        for parameter in model.parameters():
            parameter.grad = parameter.detach()
        optimizers.step(1e-4)

    def best(work: Callable[[], object]) -> float:
        times: list[float] = []
        for _ in range(rounds):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        return min(times[1:])

    found = {"step": best(lambda: step(ids, ids)), "head": best(head), "optimizer": best(optimizer)}
    return {**found, "blocks": found["step"] - found["head"] - found["optimizer"]}


def flops_per_token(config: ModelConfig) -> float:
    """Operations of a training step per token: 6 a weight, and 12 L T C of attention (arXiv 2204.02311, appendix B)."""
    weights = 12 * config.n_layer * config.n_embd**2 + (config.vocab_size or 0) * config.n_embd
    return 6 * weights + 12 * config.n_layer * config.context * config.n_embd


def matmul_peak(precision: str, device: str) -> float:
    """The fastest of five square matrix products, in FLOP/s: what the card reaches, a little below its data sheet."""
    size = 8192 if device == "cuda" else 1536
    a = torch.randn(size, size, dtype=torch.bfloat16 if precision == "bf16" else torch.float32, device=device)
    times: list[float] = []
    for _ in range(6):
        start = time.perf_counter()
        torch.mm(a, a)
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times[1:])


def measure(shape: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """All contenders at both precisions (bf16 alone on a GPU), in turns, each round a process of its own."""
    steps, rounds, device = arguments.steps or STEPS[shape], arguments.rounds, arguments.device
    best: dict[str, dict[str, float]] = {}
    precisions: list[str] = arguments.precisions
    peaks: dict[str, float] = dict.fromkeys(precisions, 0.0)
    missing: set[str] = set()
    for _ in range(rounds):
        for precision in precisions:
            peaks[precision] = max(peaks[precision], matmul_peak(precision, device))
        for contender in arguments.contenders:
            for precision in precisions:
                if contender in missing:
                    continue
                command = [sys.executable, __file__, "--round", contender, shape, precision, str(steps), device]
                run = subprocess.run(command, capture_output=True, text=True)
                if run.returncode:
                    missing.add(contender)
                    print(f"{contender} is left out: {run.stderr.strip().splitlines()[-1]}", file=sys.stderr)
                    continue
                found = json.loads(run.stdout.splitlines()[-1])
                name = f"{contender}, {precision}"
                print(f"{shape}: {name}: {found['tokens_per_s']:.0f} tokens/s", file=sys.stderr, flush=True)
                if name not in best or found["tokens_per_s"] > best[name]["tokens_per_s"]:
                    best[name] = found
    flops = flops_per_token(SHAPES[shape][0])
    for name, found in best.items():
        found["share_of_peak"] = found["tokens_per_s"] * flops / peaks[name.rpartition(", ")[2]]
    return {"best": best, "peak_flops": peaks, "ratios": ratios(best)}


def ratios(best: dict[str, dict[str, float]]) -> dict[str, float]:
    """Ours over the best peer: at each precision, and our faster precision over the best fp32 peer."""
    rate = {name: found["tokens_per_s"] for name, found in best.items()}
    own, peers = (
        {
            p: max(v for name, v in rate.items() if name.endswith(p) and name.startswith("equi") == is_own)
            for p in PRECISIONS
            if any(name.endswith(p) for name in rate)
        }
        for is_own in (True, False)
    )
    result = {precision: value / peers[precision] for precision, value in own.items()}
    result["equal precision"] = min(result.values())
    return result if "fp32" not in peers else {**result, "best fp32 peer": max(own.values()) / peers["fp32"]}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES))
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--contenders", nargs="+", choices=sorted({*CONTENDERS, *ON_GPU}))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="steps of a round (default: 8 tiny, 3 gpt2-small, 20 on a GPU)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument(
        "--round", nargs=5, metavar=("CONTENDER", "SHAPE", "PRECISION", "STEPS", "DEVICE"), help=argparse.SUPPRESS
    )
    parser.add_argument("--parts", action="store_true", help="where the time of this trainer's step goes, alone")
    arguments = parser.parse_args()
    on_gpu = arguments.device == "cuda"
    arguments.shapes = arguments.shapes or (["gpt2-small-1024"] if on_gpu else ["tiny", "gpt2-small"])
    arguments.contenders = arguments.contenders or (ON_GPU if on_gpu else CONTENDERS)
    arguments.precisions = arguments.precisions or (["bf16"] if on_gpu else PRECISIONS)
    if arguments.parts:
        for shape in arguments.shapes:
            for precision in PRECISIONS:
                found = parts(shape, precision)
                shares = ", ".join(
                    f"{name} {found[name] / found['step']:.0%}" for name in ("head", "blocks", "optimizer")
                )
                print(f"{shape:12} {precision} {found['step'] * 1e3:6.0f} ms a step: {shares}")
        return
    if arguments.round:
        contender, shape, precision, steps, device = arguments.round
        print(json.dumps(one_round(contender, shape, precision, int(steps), device)))
        return
    card = torch.cuda.get_device_name() if on_gpu else "cpu"
    results: dict[str, Any] = {
        "device": card,
        "threads": torch.get_num_threads(),
        "provenance": provenance(),
        "shapes": {},
    }
    for shape in arguments.shapes:
        found = results["shapes"][shape] = measure(shape, arguments)
        for name, one in found["best"].items():
            share = f"{one['share_of_peak']:6.1%} of the peak"
            print(f"{shape:12} {name:22} {one['tokens_per_s']:9.0f} tokens/s {share} {one['peak_mb']:7.0f} MB")
        for name, wanted in WANTED[shape].items():
            if (ratio := found["ratios"].get(name)) is None:
                continue
            print(f"{shape:12} {ratio:.2f} x {name} (wanted {wanted}: {'yes' if ratio >= wanted else 'NO'})")
    if arguments.json:
        write_json(arguments.json, results)


if __name__ == "__main__":
    main()
