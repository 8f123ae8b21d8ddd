"""Generation speed: new tokens per second, 110 prompts at once, against the textbook loop and transformers' generate.

    python benchmarks/generate.py                    # both shapes, about ten minutes on two cores
    python benchmarks/generate.py --shapes tiny --json generate.json

All write 64 tokens after each of 110 prompts with the same weights, greedily, in turns; a contender's figure is its
best round. The textbook loop takes one prompt at a time and computes everything anew for each token; it is measured
on a few prompts of all lengths. transformers runs at batch 16 with its cache, sorted by length.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:] = [one for one in sys.path if Path(one or ".").resolve() != HERE]

import numpy as np  # noqa: E402
import torch  # noqa: E402

from ift.prompt import load as load_template  # noqa: E402
from ift.records import Example  # noqa: E402
from pretrain.config import ModelConfig  # noqa: E402
from pretrain.exchange.layouts import to_hugging_face  # noqa: E402
from pretrain.generate import generate  # noqa: E402
from pretrain.model import GPT  # noqa: E402
from pretrain.runs import provenance, write_json  # noqa: E402
from pretrain.tokenizer import gpt2  # noqa: E402

SHAPES = {
    "tiny": ModelConfig(n_layer=4, n_head=4, n_embd=128, context=512, vocab_size=50257),
    "gpt2-small": ModelConfig(n_layer=12, n_head=12, n_embd=768, context=512, vocab_size=50257),
}
TARGETS = {
    "tiny": {"textbook": 70.0, "transformers": 2.0},
    "gpt2-small": {"textbook": 30.0, "transformers": 1.15, "transformers, bf16": 1.3},
}
PROMPTS, NEW_TOKENS, PEER_BATCH = 110, 64, 16
WORDS = "time year people way day man thing woman life child world school state family student group country".split()  # noqa: SIM905
CLOCK: Callable[[], float] = time.perf_counter


def prompts(count: int) -> list[list[int]]:
    """Stanford's template around made-up questions with the lengths of real ones."""
    random = np.random.default_rng(0)
    template, encode = load_template("alpaca"), gpt2().encode_ordinary

    def text(median: float) -> str:
        return " ".join(random.choice(WORDS, int(np.clip(random.lognormal(np.log(median), 0.5), 1, 28))))

    made = [
        Example(id=str(i), instruction=text(10), input=text(5) if random.random() < 0.3 else "") for i in range(count)
    ]
    return [template.prompt_ids(example, encode) for example in made]


def ours(model: GPT, asked: Sequence[list[int]], new_tokens: int) -> list[list[int]]:
    """`ift respond`'s way."""
    return [one.tokens for one in generate(model, asked, max_new_tokens=new_tokens, eos_id=None)]


@torch.inference_mode()
def textbook(model: GPT, asked: Sequence[list[int]], new_tokens: int) -> list[list[int]]:
    """One prompt at a time, no cache."""
    written = []
    for prompt in asked:
        ids = torch.tensor([prompt])
        for _ in range(new_tokens):
            ids = torch.cat((ids, model(ids)[:, -1].argmax(-1, keepdim=True)), dim=1)
        written.append(ids[0, len(prompt) :].tolist())
    return written


def peer(model: GPT, dtype: torch.dtype) -> Callable[[Sequence[list[int]], int], list[list[int]]]:
    """transformers' generate with the same weights."""
    from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel

    config = model.config
    theirs: Any = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.vocab_size or 0,
            n_positions=config.context,
            n_embd=config.n_embd,
            n_layer=config.n_layer,
            n_head=config.n_head,
        )
    )
    theirs.load_state_dict(to_hugging_face(config, model.state_dict()), strict=False)
    theirs.tie_weights()
    theirs.to(dtype).eval()

    def run(asked: Sequence[list[int]], new_tokens: int) -> list[list[int]]:
        settings = GenerationConfig(
            max_new_tokens=new_tokens, min_new_tokens=new_tokens, do_sample=False, pad_token_id=0, eos_token_id=50256
        )
        order = sorted(range(len(asked)), key=lambda i: -len(asked[i]))
        written: dict[int, list[int]] = {}
        with torch.inference_mode():
            for start in range(0, len(order), PEER_BATCH):
                batch = order[start : start + PEER_BATCH]
                width = max(len(asked[i]) for i in batch)
                ids = torch.tensor([[0] * (width - len(asked[i])) + asked[i] for i in batch])
                mask = torch.tensor([[0] * (width - len(asked[i])) + [1] * len(asked[i]) for i in batch])
                found = theirs.generate(ids, attention_mask=mask, generation_config=settings)[:, width:].tolist()
                written.update(zip(batch, found, strict=True))
        return [written[i] for i in range(len(asked))]

    return run


def measure(name: str, rounds: int, count: int, new_tokens: int) -> dict[str, Any]:
    """All contenders on one shape, in turns; new tokens per second."""
    model = GPT(SHAPES[name], seed=0).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # answers that vary, as a trained model's do
            if parameter.ndim == 2:
                parameter.mul_(3)
    asked = prompts(count)
    few = asked[:: max(1, count // 3)][:3]
    half = copy.deepcopy(model).to(torch.bfloat16)
    contenders: dict[str, tuple[Callable[[Sequence[list[int]], int], list[list[int]]], list[list[int]]]] = {
        "equiloss": (lambda a, n: ours(model, a, n), asked),
        "textbook": (lambda a, n: textbook(model, a, n), few),
    }
    try:
        contenders["transformers"] = (peer(model, torch.float32), asked)
        if "transformers, bf16" in TARGETS[name]:
            contenders["equiloss, bf16"] = (lambda a, n: ours(half, a, n), asked)
            contenders["transformers, bf16"] = (peer(model, torch.bfloat16), asked)
    except ImportError:
        print("transformers is not installed: pip install -e '.[bench]' to compare with it", file=sys.stderr)
    rates: dict[str, list[float]] = {contender: [] for contender in contenders}
    same: dict[str, float] = {}
    for _ in range(rounds):
        reference: list[list[int]] = []
        for contender, (run, items) in contenders.items():
            run(items[:2], 2)
            start = CLOCK()
            written = run(items, new_tokens)
            rates[contender].append(len(items) * new_tokens / (CLOCK() - start))
            print(f"{name}: {contender}: {rates[contender][-1]:.1f} tokens/s", file=sys.stderr, flush=True)
            if contender == "equiloss":
                reference = written
            elif len(items) == len(asked):
                same[contender] = float(np.mean([a == b for a, b in zip(reference, written, strict=True)]))
    best = {contender: max(values) for contender, values in rates.items()}
    ratios = {
        contender: best["equiloss, bf16" if "bf16" in contender else "equiloss"] / best[contender]
        for contender in TARGETS[name]
        if contender in best
    }
    return {"tokens_per_s": best, "rounds": rates, "ratios": ratios, "wanted": TARGETS[name], "same_answers": same}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--prompts", type=int, default=PROMPTS)
    parser.add_argument("--new-tokens", type=int, default=NEW_TOKENS)
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: CPU seconds of the process, for a machine that others use too (best with --threads 1)",
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    if arguments.clock == "cpu":
        globals()["CLOCK"] = time.process_time
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    results: dict[str, Any] = {
        "clock": arguments.clock,
        "threads": torch.get_num_threads(),
        "prompts": arguments.prompts,
        "new_tokens": arguments.new_tokens,
        "provenance": provenance(),
        "shapes": {},
    }
    for name in arguments.shapes:
        results["shapes"][name] = measure(name, arguments.rounds, arguments.prompts, arguments.new_tokens)
    for name, result in results["shapes"].items():
        for contender, rate in result["tokens_per_s"].items():
            print(f"{name:12} {contender:20} {rate:10.1f} tokens/s")
        for contender, ratio in result["ratios"].items():
            wanted = result["wanted"][contender]
            print(f"{name:12} {ratio:.2f} x {contender} (wanted {wanted}: {'yes' if ratio >= wanted else 'NO'})")
        for contender, share in result["same_answers"].items():
            print(f"{name:12} {share:.0%} of the answers equal {contender}'s")
    if arguments.json:
        write_json(arguments.json, results)
    else:
        print(json.dumps({name: result["ratios"] for name, result in results["shapes"].items()}))


if __name__ == "__main__":
    main()
