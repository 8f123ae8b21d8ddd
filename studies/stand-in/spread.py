"""What studies/stand-in.toml does outside the programs: weights of a state as a checkpoint, and the spreads compared.

python spread.py take runs/cosine-1 --step 1900 -o earlier/checkpoint.pt
python spread.py compare verdicts
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections import defaultdict
from pathlib import Path

NAME = re.compile(r"(?P<recipe>[a-z]+)-(?P<seed>\d+)-(?P<which>last-4|last-5|\d+)")


def take(run: Path, step: int, output: Path) -> None:
    """Write the weights that a run had at a step as a checkpoint of its own."""
    from pretrain.model import checkpoint

    last = checkpoint.load(run / "checkpoint.pt")
    state = checkpoint.load_plain(run / "state" / f"step-{step:08d}" / "state.pt", "run the study again")
    last.model.load_state_dict(state["model"])
    checkpoint.save(output, last.model, last.tokenizer, last.run)


def compare(verdicts: Path) -> dict[str, object]:
    """The ratio of two standard deviations of scores: over the checkpoints of a run, and over runs of a recipe.

    Both hold a fine-tuning's own noise; it is taken off in `base_ratio` (None where nothing is left of either). The
    interval is that of a ratio of variances of independent normal scores (F).
    """
    import numpy as np
    from scipy.stats import f

    from judge.data.scores import Scores, choose_panel
    from judge.data.verdicts import kind_of, load_judged

    judged = load_judged(path for path in sorted(verdicts.glob("*.jsonl")) if kind_of(path) == "verdicts")
    scores = Scores.of(judged, choose_panel(judged))
    means = dict(zip(scores.generators, np.nanmean(scores.by_item(), axis=1).tolist(), strict=True))
    found: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for name, mean in means.items():
        if match := NAME.fullmatch(name):
            found[match["recipe"]][match["seed"]][match["which"]] = mean

    def sums(recipes: list[str]) -> dict[str, object]:
        within, between, again = [], [], []  # sums of squares, each with its degrees of freedom
        for recipe in recipes:
            runs = list(found[recipe].values())
            for run in runs:
                checkpoints = [value for which, value in run.items() if which != "last-5"]
                within.append((np.var(checkpoints) * len(checkpoints), len(checkpoints) - 1))
                again.append(((run["last-4"] - run["last-5"]) ** 2 / 2, 1))
            last = [run["last-4"] for run in runs]
            between.append((np.var(last) * len(last), len(last) - 1))
        (inside, n), (across, m), (tuning, k) = (
            (float(sum(s for s, _ in rows) / sum(d for _, d in rows)), sum(d for _, d in rows))
            for rows in (within, between, again)
        )
        base, stand_in = across - tuning, inside - tuning
        return {
            "sd_of_checkpoints": math.sqrt(inside),
            "sd_of_runs": math.sqrt(across),
            "sd_of_fine_tunings": math.sqrt(tuning),
            "degrees_of_freedom": {"checkpoints": n, "runs": m, "fine_tunings": k},
            "ratio": math.sqrt(inside / across),
            "low": math.sqrt(inside / across / f.ppf(0.975, n, m)),
            "high": math.sqrt(inside / across / f.ppf(0.025, n, m)),
            "base_ratio": math.sqrt(stand_in / base) if base > 0 and stand_in > 0 else None,
        }

    return {**{recipe: sums([recipe]) for recipe in sorted(found)}, "all": sums(sorted(found))}


def main() -> None:
    """Parse and call."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("take", help="a state's weights as a checkpoint")
    one.add_argument("run", type=Path)
    one.add_argument("--step", type=int, required=True)
    one.add_argument("-o", dest="output", type=Path, required=True)
    one = commands.add_parser("compare", help="the spread over checkpoints beside that over runs")
    one.add_argument("verdicts", type=Path)
    options = parser.parse_args()
    if options.command == "take":
        take(options.run, options.step, options.output)
    else:
        json.dump(compare(options.verdicts), sys.stdout, indent=2)
        print()


if __name__ == "__main__":
    main()
