"""Generation speed: new tokens per second, 110 prompts at once, against the textbook loop and transformers' generate.

    python benchmarks/generate.py                    # both shapes, about ten minutes on two cores
    python benchmarks/generate.py --shapes tiny --json generate.json

    python benchmarks/generate.py --shapes gpt2-small --contenders textbook --rounds 1 --json generate.json --add

All write 64 tokens after each of 110 prompts with the same weights, greedily, in turns; a contender's figure is its
best round. The textbook loop takes one prompt at a time and computes everything anew for each token; it is measured
on three prompts, a short, a middle and a long one. transformers runs at batch 16 with its cache, sorted by length.
Without `--data` the prompts are made up, with the lengths of real ones.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:] = [one for one in sys.path if Path(one or ".").resolve() != HERE]

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks.side_by_side import CLOCKS, Target, parser, report, take_turns  # noqa: E402
from equiloss.records.response import Example  # noqa: E402
from equiloss.tokenizer import gpt2  # noqa: E402
from ift.data.formats import read_examples  # noqa: E402
from ift.prompts import load as load_template  # noqa: E402
from pretrain.config import ModelConfig  # noqa: E402
from pretrain.exchange.layouts import to_hugging_face  # noqa: E402
from pretrain.model.decoder import GPT  # noqa: E402
from pretrain.model.generation import generate  # noqa: E402

SHAPES = {
    "tiny": ModelConfig(n_layer=4, n_head=4, n_embd=128, context=512, vocab_size=50257),
    "gpt2-small": ModelConfig(n_layer=12, n_head=12, n_embd=768, context=512, vocab_size=50257),
}
TARGETS = {
    "tiny": {
        "textbook": Target("equiloss", ("textbook",), 70.0),
        "transformers": Target("equiloss", ("transformers",), 2.0),
    },
    "gpt2-small": {
        "textbook": Target("equiloss", ("textbook",), 30.0),
        "transformers": Target("equiloss", ("transformers",), 1.15),
        "transformers, bf16": Target("equiloss, bf16", ("transformers, bf16",), 1.3),
    },
}
CONTENDERS = ("equiloss", "textbook", "transformers", "equiloss, bf16", "transformers, bf16")
PROMPTS, NEW_TOKENS, PEER_BATCH = 110, 64, 16
WORDS = "time year people way day man thing woman life child world school state family student group country".split()  # noqa: SIM905


def prompts(count: int, data: str | None = None) -> list[list[int]]:
    """Stanford's template around the last questions of `data`, or made-up ones with the lengths of real ones."""
    random = np.random.default_rng(0)
    template, encode = load_template("alpaca"), gpt2().encode_ordinary
    if data is not None:
        return [template.prompt_ids(example, encode) for example in read_examples(data)[-count:]]

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


Writer = Callable[[Sequence[list[int]], int], list[list[int]]]


def contenders(name: str, wanted: Sequence[str]) -> dict[str, Writer]:
    """Those of a shape that are wanted, all with the same weights."""
    model = GPT(SHAPES[name], seed=0).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # answers that vary, as a trained model's do
            if parameter.ndim == 2:
                parameter.mul_(3)
    found: dict[str, Writer] = {}
    for contender in wanted:
        if contender == "textbook":
            found[contender] = partial(textbook, model)
        elif contender == "equiloss":
            found[contender] = partial(ours, model)
        elif contender == "equiloss, bf16":
            found[contender] = partial(ours, copy.deepcopy(model).to(torch.bfloat16))
        else:
            try:
                found[contender] = peer(model, torch.bfloat16 if "bf16" in contender else torch.float32)
            except ImportError:
                print("transformers is not installed: pip install -e '.[bench]' to compare with it", file=sys.stderr)
    return found


def measure(name: str, arguments: Any) -> dict[str, Any]:
    """The contenders on one shape, in turns; new tokens per second, and the share of answers equal to ours."""
    asked = prompts(arguments.prompts, arguments.data)
    by_length = sorted(asked, key=len)
    few = by_length[len(by_length) // 6 :: max(1, len(by_length) // 3)][:3]
    clock = CLOCKS[arguments.clock]
    last: dict[str, list[list[int]]] = {}

    def rate(contender: str, write: Writer) -> float:
        items = few if contender == "textbook" else asked
        write(items[:2], 2)
        start = clock()
        written = write(items, arguments.new_tokens)
        took = clock() - start
        if items is asked:
            last[contender] = written
        return len(items) * arguments.new_tokens / took

    wanted = [one for one in arguments.contenders if "bf16" not in one or "transformers, bf16" in TARGETS[name]]
    runs = {one: partial(rate, one, write) for one, write in contenders(name, wanted).items()}
    found = take_turns(name, runs, arguments.rounds, "tokens/s")
    reference = last.get("equiloss")
    for contender, written in last.items():
        if reference is not None and contender != "equiloss":
            same = float(np.mean([a == b for a, b in zip(reference, written, strict=True)]))
            found.setdefault("same_answers", {})[contender] = same
            print(f"{name:12} {same:.0%} of the answers of {contender} equal ours in fp32")
    return found


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, list(SHAPES), CONTENDERS, rounds=2)
    options.add_argument("--data", help="instruction data to take the prompts from")
    options.add_argument("--prompts", type=int, default=PROMPTS)
    options.add_argument("--new-tokens", type=int, default=NEW_TOKENS)
    arguments = options.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    shapes = {name: measure(name, arguments) for name in arguments.shapes}
    about = {"prompts": arguments.prompts, "new_tokens": arguments.new_tokens, "data": arguments.data}
    report(arguments, shapes, TARGETS, "tokens/s", about)


if __name__ == "__main__":
    main()
