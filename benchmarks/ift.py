"""Fine-tuning speed: items per second, packed, against the textbook loop and TRL's SFTTrainer, side by side in one run.

    python benchmarks/ift.py                         # both shapes, about ten minutes on two cores
    python benchmarks/ift.py --shapes tiny --json ift.json
    python benchmarks/ift.py --base-kind llama --data alpaca.json    # a Llama of 135 M beside TRL and transformers
    python benchmarks/ift.py --shapes gpt2-small --contenders trl "trl, packing" --rounds 1 --json ift.json --add

All train a model of the same shape on the same items (Stanford's template, loss on the answers alone, AdamW, fp32),
in turns; a contender's figure is its best round, since another program's load can only slow it down. The textbook
loop pads a batch to its longest item and computes all logits. TRL runs with and without packing, and its better one
counts. Without `--data` the items are made up, with the lengths of real ones.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:] = [one for one in sys.path if Path(one or ".").resolve() != HERE]  # this file is no `ift` to import

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

from benchmarks.side_by_side import CLOCKS, Target, parser, report, take_turns  # noqa: E402
from equiloss.files import write_json  # noqa: E402
from equiloss.provenance import provenance  # noqa: E402
from equiloss.records.response import Example  # noqa: E402
from equiloss.tokenizer import gpt2  # noqa: E402
from ift.data.formats import read_examples  # noqa: E402
from ift.prompts import Tokens  # noqa: E402
from ift.prompts import load as load_template  # noqa: E402
from ift.training.batches import Batch, Encoded, encode_examples  # noqa: E402
from pretrain.config import ModelConfig  # noqa: E402
from pretrain.model.cross_entropy import IGNORE  # noqa: E402
from pretrain.model.decoder import GPT  # noqa: E402

SHAPES = {
    "tiny": ModelConfig(n_layer=4, n_head=4, n_embd=128, context=512, vocab_size=50257),
    "gpt2-small": ModelConfig(n_layer=12, n_head=12, n_embd=768, context=512, vocab_size=50257),
}
BATCH = 16
TRL = ("trl", "trl, packing")
TARGETS = {
    "tiny": {"textbook": Target("equiloss", ("textbook",), 3.0), "trl (best)": Target("equiloss", TRL, 4.5)},
    "gpt2-small": {"textbook": Target("equiloss", ("textbook",), 1.6), "trl (best)": Target("equiloss", TRL, 1.5)},
}
CONTENDERS = ("equiloss", "equiloss, beginnings not shared", "textbook", *TRL)
WORDS = "time year people way day man thing woman life child world school state family student group country".split()  # noqa: SIM905
END = gpt2().eot_token
Clock = Callable[[], float]


def made_up(count: int) -> list[Example]:
    """Items with the lengths of the 1,100 that the diary uses: 3 in 10 have an input."""
    random = np.random.default_rng(0)

    def text(median: float, spread: float, most: int) -> str:
        length = int(np.clip(random.lognormal(np.log(median), spread), 1, most))
        return " ".join(random.choice(WORDS, length))

    return [
        Example(
            id=str(number),
            instruction=text(10, 0.4, 28),
            input=text(5, 0.5, 14) if random.random() < 0.3 else "",
            reference=text(10, 0.7, 50),
        )
        for number in range(count)
    ]


class Ours:
    """What `ift run` does in a step."""

    def __init__(self, config: ModelConfig, share: bool = True) -> None:
        self.model = GPT(config).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)
        self.share = share

    def step(self, items: Sequence[Encoded]) -> float:
        batch = Batch([one.tokens for one in items], share=self.share)
        loss = batch.loss_sum(self.model) / batch.loss_tokens
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())


class Textbook:
    """Pad to the longest item of the batch, compute every logit."""

    def __init__(self, config: ModelConfig) -> None:
        self.model = GPT(config).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4)

    def step(self, items: Sequence[Encoded]) -> float:
        longest = max(len(one.tokens.ids) for one in items) - 1
        ids = torch.full((len(items), longest), END)
        targets = torch.full((len(items), longest), IGNORE)
        for row, one in enumerate(items):
            length = len(one.tokens.ids) - 1
            ids[row, :length] = torch.tensor(one.tokens.ids[:-1])
            carries = torch.tensor(one.tokens.loss[1:])
            targets[row, :length] = torch.where(carries, torch.tensor(one.tokens.ids[1:]), IGNORE)
        logits = self.model(ids)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())


def own_rate(contender: Any, batches: Sequence[Sequence[Encoded]], clock: Clock) -> float:
    """Items per second over the batches, after one step to warm up."""
    contender.step(batches[0])
    start = clock()
    for batch in batches:
        contender.step(batch)
    return sum(map(len, batches)) / (clock() - start)


def hugging_face(config: ModelConfig) -> Any:
    """transformers' model of a shape."""
    from transformers import GPT2Config, GPT2LMHeadModel

    own: Any = config
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=own.vocab_size,
            n_positions=own.context,
            n_embd=own.n_embd,
            n_layer=own.n_layer,
            n_head=own.n_head,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            use_cache=False,
            bos_token_id=END,
            eos_token_id=END,
        )
    )


def trl_rate(
    model: Any, context: int, items: Sequence[Tokens], packing: bool, steps: int, clock: Clock, precision: str = "fp32"
) -> float:
    """Items per second of TRL's SFTTrainer on the same token ids, from the end of its first step on."""
    from datasets import Dataset  # pyright: ignore[reportMissingImports]
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl.trainer.sft_config import SFTConfig  # pyright: ignore[reportMissingImports]
    from trl.trainer.sft_trainer import SFTTrainer  # pyright: ignore[reportMissingImports]

    rows = [{"input_ids": one.ids, "completion_mask": [int(x) for x in one.loss]} for one in items]
    per_item = sum(len(row["input_ids"]) for row in rows) / len(rows)
    marks: list[float] = []
    seen: list[int] = []

    class Marks(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
            marks.append(clock())

    with tempfile.TemporaryDirectory() as directory:
        settings: dict[str, Any] = {
            "output_dir": directory,
            "use_cpu": next(model.parameters()).device.type == "cpu" and not torch.cuda.is_available(),
            "max_steps": steps + 1,
            "learning_rate": 1e-4,
            "lr_scheduler_type": "constant",
            "completion_only_loss": True,
            "packing": packing,
            "max_length": context,
            # The same number of items in a step, packed or not.
            "per_device_train_batch_size": max(1, round(BATCH * per_item / context)) if packing else BATCH,
            "gradient_checkpointing": False,
            "logging_strategy": "no",
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "bf16": precision == "bf16",
            "dataset_num_proc": None,
        }
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(**settings),
            train_dataset=Dataset.from_list(rows),
            processing_class=_tokenizer(PreTrainedTokenizerFast),
            callbacks=[Marks()],
        )
        collate = trainer.data_collator

        def counting(features: list[dict[str, Any]]) -> Any:
            lengths = [len(one["input_ids"]) for one in features]
            seen.append(
                sum(len(one["seq_lengths"]) for one in features) if "seq_lengths" in features[0] else len(lengths)
            )
            return collate(features)

        trainer.data_collator = counting
        trainer.train()
    return sum(seen[1 : len(marks)]) / (marks[-1] - marks[0])


def _tokenizer(kind: Any) -> Any:
    """A tokenizer object for TRL, which asks for one although the items are token ids already."""
    from tokenizers import Tokenizer
    from tokenizers.models import BPE

    tokenizer = Tokenizer(BPE(vocab={"<|endoftext|>": 0}, merges=[]))
    return kind(tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|endoftext|>")


def measure(name: str, items: Sequence[Encoded], arguments: Any) -> dict[str, Any]:
    """The contenders on one shape, in turns; items per second."""
    config, clock = SHAPES[name], CLOCKS[arguments.clock]
    tokens = [one.tokens for one in items]
    steps = arguments.steps or {"tiny": 20, "gpt2-small": 3}[name]
    batches = [items[i * BATCH : (i + 1) * BATCH] for i in range(steps)]
    runs: dict[str, Callable[[], float]] = {
        "equiloss": lambda: own_rate(Ours(config), batches, clock),
        "equiloss, beginnings not shared": lambda: own_rate(Ours(config, share=False), batches, clock),
        "textbook": lambda: own_rate(Textbook(config), batches, clock),
        "trl": lambda: trl_rate(hugging_face(config), config.context, tokens, False, steps, clock),
        "trl, packing": lambda: trl_rate(hugging_face(config), config.context, tokens, True, steps, clock),
    }
    wanted = set(arguments.contenders)
    if wanted & set(TRL) and not find_spec("trl"):
        print("trl is not installed: pip install -e '.[bench]' to compare with it", file=sys.stderr)
        wanted -= set(TRL)
    return take_turns(name, {one: run for one, run in runs.items() if one in wanted}, arguments.rounds, "items/s")


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, list(SHAPES), CONTENDERS, rounds=3)
    options.add_argument("--data", help="instruction data to take the items from")
    options.add_argument("--steps", type=int, help="steps of a round (default: 20 tiny, 3 gpt2-small, 3 llama)")
    options.add_argument("--base-kind", choices=["own", "llama"], default="own")
    llama = options.add_argument_group("--base-kind llama")
    llama.add_argument("--shape", choices=["smollm2", "tiny"], default="smollm2")
    llama.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    llama.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    llama.add_argument("--only", dest="contenders_of_llama", nargs="+", metavar="NAME", help="these contenders")
    llama.add_argument("--prompts", type=int, default=110)
    llama.add_argument("--new-tokens", type=int, default=64)
    llama.add_argument("--one", help=argparse.SUPPRESS)
    llama.add_argument("--precision", help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    examples = read_examples(arguments.data) if arguments.data else made_up(1000)
    encoding = gpt2()
    items, _ = encode_examples(examples, load_template("alpaca"), encoding.encode_ordinary, END, 512)
    order = np.random.default_rng(1).permutation(len(items))
    items = [items[i] for i in order]
    if arguments.base_kind == "llama":
        from benchmarks.peers import llama_base

        arguments.steps, arguments.contenders = arguments.steps or 3, arguments.contenders_of_llama
        if arguments.one:
            print(json.dumps(llama_base.one_round(arguments, [one.tokens for one in items])))
            return
        found = llama_base.measure(arguments, Path(__file__))
        if arguments.json:
            write_json(arguments.json, {**found, "data": arguments.data, "provenance": provenance().model_dump()})
        return
    tokens, with_loss = (
        sum(len(one.tokens.ids) for one in items) / len(items),
        sum(one.loss_tokens for one in items) / len(items),
    )
    print(f"{tokens:.0f} tokens an item, {with_loss:.0f} of them with loss")
    shapes = {name: measure(name, items, arguments) for name in arguments.shapes}
    about = {
        "batch": BATCH,
        "data": arguments.data,
        "tokens_per_item": tokens,
        "loss_tokens_per_item": with_loss,
    }
    report(arguments, shapes, TARGETS, "items/s", about)


if __name__ == "__main__":
    main()
