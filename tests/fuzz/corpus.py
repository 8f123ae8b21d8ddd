"""The corpus: a small real file of every kind that the programs read, most of them written by the programs themselves.

Versions 0.1.0's own files come from tests/golden; formats of others are written here as their tools write them.
"""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
PROMPTS = Path(__file__).resolve().parents[2] / "prompts"
WORDS = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "ibis", "jay")

RECIPE = """# A recipe that trains for a moment.
template = "alpaca-short"
epochs = 1
batch_size = 4
lr = 1e-3

[decoding]
max_new_tokens = 3
"""
STUDY = """[study]
name = "little"
description = "two cells"

[params]
word = "ant"
many = ["1", "2"]

[[cell]]
name = "rubrics-{one}"
foreach = { one = "many" }
run = "judge rubrics"
stdout = "rubrics-{one}.txt"

[[cell]]
name = "after"
run = "judge rubrics correctness"
inputs = ["rubrics-1.txt"]
stdout = "after-{word}.txt"
"""
PAIR = """[pair]
cause = "recipe-rate"
level = 4
description = "B learns faster."

[[cell]]
name = "ift-{run}"
foreach = { run = "runs" }
run = "ift run --base {shared}/runs/base/checkpoint.pt --name {name}.s{run} -o {pair}/results --seed {run}"
inputs = ["{shared}/runs/base/checkpoint.pt"]
outputs = ["{pair}/results/{name}.s{run}.jsonl"]
"""
PRICES = """as_of = "2026-01"
source = "a test"

[models]
"gpt-4.1" = { input = 2.0, cached_input = 0.5, output = 8.0 }
"""
JUDGINGS = "model,recipe,data,base,run1,run2,run3\na,r,d,b1,11.5,12,12.25\nb,r,d,b2,10,9.5,\nc,r,e,b3,14,13,12\n"


def items(count: int = 30) -> list[dict[str, str]]:
    """Alpaca items: repeat or reverse a few words."""
    rows: list[dict[str, str]] = []
    for number in range(count):
        chosen = [WORDS[(number * 3 + i * (1 + number // 10)) % 10] for i in range(1 + number % 3)] + [str(number)]
        copy = number % 2 == 0
        rows.append(
            {
                "instruction": "Repeat the words." if copy else f"Reverse {' '.join(chosen)}.",
                "input": " ".join(chosen) if copy else "",
                "output": " ".join(chosen if copy else chosen[::-1]),
                "category": "copy" if copy else "reverse",
            }
        )
    return rows


def write_json(path: Path, document: object) -> None:
    """A JSON document, as other tools write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, ensure_ascii=False, indent=1), encoding="utf-8")


def write_lines(path: Path, rows: list[Any]) -> None:
    """JSON Lines, as other tools write them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


Run = Callable[..., int]
"""Runs a program: its command line, the directory, and what is done first; gives the exit code."""


def build(root: Path, run: Run) -> None:
    """Write the corpus into `root`, an absent directory.

    Raises: RuntimeError when a program does not write what it should.
    """
    shutil.copytree(GOLDEN, root)

    def made(line: str) -> None:
        argv = line.split()
        if code := run(argv, root):
            raise RuntimeError(f"{line}: exit code {code}")

    _texts(root)
    _items(root)
    _exchanged(root)
    (root / "recipe.toml").write_text(RECIPE)
    (root / "template.j2").write_text((PROMPTS / "ift" / "alpaca-short.j2").read_text())
    (root / "rubric.j2").write_text((PROMPTS / "judge" / "correctness.j2").read_text())
    (root / "study.toml").write_text(STUDY)
    (root / "pair.toml").write_text(PAIR)
    (root / "prices.toml").write_text(PRICES)
    (root / "judgings.csv").write_text(JUDGINGS)
    _reply(root / "reply.json")
    half = root / "runs" / "half"
    shutil.copytree(root / "runs" / "base", half)
    for name in ("checkpoint.pt", "checkpoint.probe.json", "world.test.eval.json", "world.test.eval.npz"):
        (half / name).unlink()
    (half / "metrics.jsonl").write_text("".join((half / "metrics.jsonl").read_text().splitlines(True)[:2]))
    long = "--set train.steps=4 --set model.context=96"
    made(f"pretrain run runs/base/config.toml --data data/world --name two -o runs --seed 1 {long}")
    made("pretrain eval runs/two/checkpoint.pt --data data/world")
    for seed, name in enumerate(("baseline-0", "baseline-1", "other-0")):
        less = f"--seed {seed} --set train.steps=2 --set train.lr={0.002 if seed < 2 else 0.01}"
        made(f"pretrain run runs/base/config.toml --data data/world --name {name} -o runs {less}")
        made(f"pretrain eval runs/{name}/checkpoint.pt --data data/world -o evals")
    tuning = "ift run --base runs/two/checkpoint.pt --data items.json --recipe recipe.toml"
    made(f"{tuning} --name tuned -o tuned --models models")
    made(f"{tuning} --name tuned2 -o tuned --models models --set lr=0.002 --seed 2")
    _unfinished(root, tuning, run)
    made("pretrain export models/tuned/checkpoint.pt hf")
    _layouts(root)
    made(
        "judge score results/gentle.s1.jsonl results/brisk.s1.jsonl -o scored --judge served@http://127.0.0.1:{port}/v1"
    )
    for kind, name in (("csv", "table.csv"), ("parquet", "table.parquet")):
        made(f"judge exchange results/gentle.s1.jsonl results/brisk.s1.jsonl --to {kind} -o {name}")
    for kind, name in (("alpaca-eval", "answers.json"), ("inspect", "inspect.json"), ("diary", "diary.json")):
        made(f"judge exchange results/gentle.s1.jsonl --to {kind} -o {name}")
    made("study noise --table judgings.csv -o noise.json")
    made("study run study.toml -o studied")


def _texts(root: Path) -> None:
    texts = [f"The {WORDS[n % 10]} saw {n} of the {WORDS[(n * 7 + 3) % 10]}s in the garden." for n in range(40)]
    folder = root / "texts"
    folder.mkdir()
    (folder / "plain.txt").write_text("\n###\n".join(texts))
    rows = [{"text": text, "domain": WORDS[n % 3], "meta": {"source": "a"}} for n, text in enumerate(texts)]
    write_lines(folder / "lines.jsonl", rows)
    write_json(folder / "list.json", {"data": rows})
    (folder / "packed.jsonl.gz").write_bytes(gzip.compress((folder / "lines.jsonl").read_bytes(), mtime=0))
    import pyarrow
    import pyarrow.parquet

    packed = pyarrow.compress((folder / "lines.jsonl").read_bytes(), codec="zstd", asbytes=True)
    (folder / "packed.jsonl.zst").write_bytes(packed)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "table.parquet")
    import numpy as np
    from safetensors.numpy import save_file

    ids = [*(ord(letter) for text in texts[:20] for letter in text + "\n")]
    save_file({"tokens": np.array([n % 256 for n in ids], np.uint16)}, folder / "tokens.safetensors")
    write_lines(folder / "facts.jsonl", _facts())


def _facts() -> list[dict[str, Any]]:
    return [
        {
            "subject": name,
            "attribute": "job",
            "value": job,
            "told": [f"{name} is a", f"The job of {name} is"],
            "asked": [f"Ask {name}, the"],
        }
        for name, job in (("Ella", "baker"), ("Tom", "nurse"), ("Ida", "pilot"))
    ]


def _items(root: Path) -> None:
    rows = items()
    write_json(root / "items.json", rows)
    write_lines(root / "items.jsonl", rows)
    chats = [
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": f"{row['instruction']} {row['input']}"},
                {"role": "assistant", "content": row["output"]},
            ]
        }
        for row in rows
    ]
    write_lines(root / "chats.jsonl", chats)
    shared = [
        {"conversations": [{"from": "human", "value": row["instruction"]}, {"from": "gpt", "value": row["output"]}]}
        for row in rows
    ]
    write_json(root / "sharegpt.json", shared)
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), root / "items.parquet")


def _exchanged(root: Path) -> None:
    """Files of other tools, as they write them."""
    write_lines(
        root / "lm_eval.jsonl",
        [
            {
                "doc_id": number,
                "doc": {"question": f"What is {number} + 1?"},
                "target": str(number + 1),
                "arguments": {"gen_args_0": {"arg_0": f"Q: What is {number} + 1?\nA:", "arg_1": {"until": ["Q:"]}}},
                "resps": [[f" It is {number + 1}."]],
                "filtered_resps": [f"It is {number + 1}."],
                "filter": "none",
                "metrics": ["exact_match"],
                "exact_match": 1.0,
            }
            for number in range(3)
        ],
    )
    write_json(
        root / "annotations.json",
        [
            {
                "instruction": f"Say {word}.",
                "output_1": word,
                "generator_1": "gpt",
                "output_2": f"{word}!",
                "generator_2": "mine",
                "annotator": "judge-1",
                "preference": 1.0 + number % 2,
                "dataset": "d",
            }
            for number, word in enumerate(WORDS[:4])
        ],
    )
    write_json(
        root / "annotated.json",
        [
            {
                "instruction": row["instruction"],
                "input": row["input"],
                "output": row["output"],
                "model_response": "u...",
                "llm_score": 40 + number,
                "llm_comments": "fair",
            }
            for number, row in enumerate(items(5))
        ],
    )
    write_json(root / "scores.json", [50, 60.5, 70, 1, 2])


def _reply(path: Path) -> None:
    verdict = {
        "A": {"explanation": "as the reference has it", "correctness": 70},
        "B": {"explanation": "no", "correctness": 20},
    }
    write_json(
        path,
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": "served-model",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": json.dumps(verdict)},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 80, "completion_tokens": 20, "total_tokens": 100},
        },
    )


def _unfinished(root: Path, tuning: str, run: Run) -> None:
    """models/broken: a fine-tuning as Ctrl-C leaves it when some items are answered."""

    def interrupt() -> None:
        from ift.generation import partial_answers

        append, calls = partial_answers.append_jsonl, iter(range(9))

        def append_or_stop(path: Path, row: object) -> None:
            if next(calls) == 2:
                raise KeyboardInterrupt
            append(path, row)

        partial_answers.append_jsonl = append_or_stop

    code = run(f"{tuning} --name broken -o tuned --models models".split(), root, interrupt)
    if code != 130:
        raise RuntimeError(f"the interrupted run ended with {code}")


def _layouts(root: Path) -> None:
    """A nanoGPT checkpoint and the diary's two layouts, with the weights of the golden base model's shape."""
    import torch
    from safetensors.torch import save_file

    n, width, context, vocabulary = 1, 8, 16, 280
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * 0.1

    nano: dict[str, torch.Tensor] = {
        "transformer.wte.weight": noise(vocabulary, width),
        "transformer.wpe.weight": noise(context, width),
        "transformer.ln_f.weight": noise(width),
    }
    for layer in range(n):
        block = f"transformer.h.{layer}"
        nano |= {
            f"{block}.ln_1.weight": noise(width),
            f"{block}.attn.c_attn.weight": noise(3 * width, width),
            f"{block}.attn.c_proj.weight": noise(width, width),
            f"{block}.ln_2.weight": noise(width),
            f"{block}.mlp.c_fc.weight": noise(4 * width, width),
            f"{block}.mlp.c_proj.weight": noise(width, 4 * width),
        }
    nano["lm_head.weight"] = nano["transformer.wte.weight"]
    shape = {
        "n_layer": n,
        "n_head": 1,
        "n_embd": width,
        "block_size": context,
        "bias": False,
        "vocab_size": vocabulary,
        "dropout": 0.0,
    }
    torch.save({"model": nano, "model_args": shape, "iter_num": 5, "config": {"batch_size": 4}}, root / "nano.pt")
    flax = {
        "token_embedding.embedding": noise(vocabulary, width),
        "position_embedding.embedding": noise(context, width),
        "output_head.kernel": noise(width, vocabulary),
        "output_norm.scale": noise(1, 1, width),
        "output_norm.bias": noise(1, 1, width),
    }
    block = "transformers_layers.layers.0"
    for part in ("W_q", "W_k", "W_v", "output_projection"):
        flax[f"{block}.attention.{part}.kernel"] = noise(width, width)
    flax[f"{block}.attention.output_projection.bias"] = noise(width)
    for norm in ("attention_norm", "ffn_norm"):
        flax[f"{block}.{norm}.scale"], flax[f"{block}.{norm}.bias"] = noise(1, 1, width), noise(1, 1, width)
    for number, (rows, columns) in {0: (width, 4 * width), 2: (4 * width, width)}.items():
        flax[f"{block}.ffn.layers.{number}.kernel"] = noise(rows, columns)
        flax[f"{block}.ffn.layers.{number}.bias"] = noise(columns)
    folder = root / "flax"
    folder.mkdir()
    save_file(flax, folder / "model.safetensors")
    sizes = {"vocab_size": vocabulary, "context_length": context, "emb_dim": width, "n_heads": 1, "n_layers": 1}
    write_json(folder / "model.json", {**sizes, "qkv_bias": False, "drop_rate": 0.0})
    train = {
        "microbatch_size": 3,
        "dataset": "someone/tokens",
        "min_train_tokens": 3000,
        "learning_rate": 0.0014,
        "schedule_learning_rate": True,
        "warmup_period_percent": 5,
        "gradient_accumulation_steps": 2,
    }
    write_json(folder / "train.json", train)
    meta = {"train_loss": 3.5, "val_loss": 3.6, "global_step": 20, "learning_rate": 1e-3, "is_best": True}
    write_json(folder / "meta.json", meta)


if __name__ == "__main__":
    sys.exit("run fuzz.py")
