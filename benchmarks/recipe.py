"""Recipes compared on a base and data of your own: each choice alone, over several seeds, by loss and answers.

    python benchmarks/recipe.py --base runs/speeches/checkpoint.pt --data alpaca.json -o recipes --seeds 3 \\
        --vary lr=3e-4,1e-3,3e-3 --vary epochs=3,6,12 --vary loss_on=response,prompt+response

Every value of a `--vary` is one row: the recipe with that one field changed. The loss is that of the answers on all
validation items, whatever a recipe trains on, so that rows compare; chrF, ROUGE-L and exact match are of the test
items. Each figure is the mean over the seeds, with their standard deviation where there are several. Finished runs in
the output directory are not run again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:] = [one for one in sys.path if Path(one or ".").resolve() != HERE]

import torch  # noqa: E402

from equiloss.files import write_json  # noqa: E402
from ift import recipe as recipes  # noqa: E402
from ift.prompts import load as load_template  # noqa: E402
from ift.training.batches import encode_examples  # noqa: E402
from ift.training.fine_tune import fine_tune  # noqa: E402
from ift.training.loop import mean_loss  # noqa: E402
from ift.training.prepared import prepare  # noqa: E402
from pretrain.model import checkpoint  # noqa: E402
from pretrain.training.distributed import World  # noqa: E402

ALONE = World(0, 1, torch.device("cpu"))


def answer_loss(model: Path, base: Path, data: str, sets: list[str], recipe: str) -> float:
    """The loss in nats per token of the answers to all validation items, whatever the recipe trained on."""
    chosen = recipes.load(recipe, sets)
    loaded = checkpoint.load(model)
    prepared = prepare(checkpoint.load(base), data, chosen)
    items, _ = encode_examples(
        prepared.parts["validation"],
        load_template(chosen.template),
        loaded.encoding.encode_ordinary,
        loaded.encoding.eot_token,
        prepared.context,
    )
    loss = mean_loss(loaded.model, items, chosen, ALONE)
    assert loss is not None
    return loss


def row(name: str, sets: list[str], arguments: Any) -> dict[str, Any]:
    """One recipe over the seeds."""
    found: dict[str, list[float]] = {key: [] for key in ("loss", "epoch", "chrf", "rouge_l", "exact_match", "seconds")}
    place = arguments.output / name.replace("/", "_")
    runs = fine_tune(
        arguments.base,
        data=arguments.data,
        name="run",
        results=place,
        models=place / "models",
        seed=0,
        seeds=arguments.seeds,
        recipe=arguments.recipe,
        sets=sets,
    )
    records = [one.record.model_dump() for one in runs]
    for record in records:
        model = Path(record["files"]["model"]) / "checkpoint.pt"
        found["loss"].append(answer_loss(model, arguments.base, arguments.data, sets, arguments.recipe))
        found["epoch"].append(record["selected_epoch"])
        found["seconds"].append(record["environment"]["train_s"])
        for key in ("chrf", "rouge_l", "exact_match"):
            found[key].append(record["answers"]["all"][key])
    return {"name": name, "sets": sets, "unfinished": _unfinished(records), **found}


def _unfinished(records: list[dict[str, Any]]) -> float:
    return fmean(one["answers"]["all"]["finish_reason"]["length"] for one in records)


def _with_spread(values: list[float], digits: int) -> str:
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{digits}f}{spread}"


def main() -> None:
    """Run, print a table in Markdown, and write all figures to OUTPUT/recipes.json."""
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--base", type=Path, required=True, help="checkpoint.pt of the base model")
    options.add_argument("--data", required=True, help="instruction data")
    options.add_argument("-o", "--output", type=Path, default=Path("recipes"))
    options.add_argument("--recipe", default="default")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--set", dest="sets", action="append", default=[], metavar="KEY=VALUE", help="of every row")
    options.add_argument("--vary", action="append", default=[], metavar="KEY=A,B,...", help="a row for each value")
    arguments = options.parse_args()
    choices: list[tuple[str, list[str]]] = [] if arguments.vary else [("as it is", [])]
    for one in arguments.vary:
        key, _, values = one.partition("=")
        # "schedule=constant&warmup=0" is one row that changes two fields
        choices += [(f"{key}={value}", f"{key}={value}".split("&")) for value in values.split(",")]
    rows: list[dict[str, Any]] = []
    for name, changed in choices:
        rows.append(row(name, [*arguments.sets, *changed], arguments))
        document = {"recipe": arguments.recipe, "sets": arguments.sets, "seeds": arguments.seeds, "rows": rows}
        write_json(arguments.output / "recipes.json", document)
    print("| choice | loss of the answers | epoch | chrF | ROUGE-L | exact match | unfinished | s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for one in rows:
        print(
            f"| {one['name']} | {_with_spread(one['loss'], 4)} | {fmean(one['epoch']):.1f}"
            f" | {_with_spread(one['chrf'], 2)} | {_with_spread(one['rouge_l'], 3)}"
            f" | {fmean(one['exact_match']):.1%} | {one['unfinished']:.0f} | {fmean(one['seconds']):.0f} |"
        )


if __name__ == "__main__":
    main()
