"""How well `pretrain fit` foretells a run: its time and its peak memory, beside those of the run itself.

    python benchmarks/fit.py
    python benchmarks/fit.py --steps 40

Three shapes of model on the built-in world's text, with validations, states and a checkpoint as the run makes them. The
time is the wall clock of the whole command `pretrain run`, the memory the greatest resident size of its process, as the
kernel counts it. It fails where the time is off by more than 25 % or the memory by more than 10 %.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from measured import measure

TIME_OFF, MEMORY_OFF = 0.25, 0.10
SHAPES = {
    "small, accumulated": ("n_layer=4 n_head=4 n_embd=128 context=128", "batch_size=8 accumulate=4"),
    "wide, with validations": ("n_layer=4 n_head=8 n_embd=512 context=128", "batch_size=8 eval_every=10"),
    "deep, long": ("n_layer=8 n_head=4 n_embd=256 context=512", "batch_size=4 optimizer=muon"),
}


def main() -> None:
    """Foretell and run each shape, print both, and fail where they differ by more than is allowed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=80)
    steps = parser.parse_args().steps
    missed: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = str(folder / "data")
        measure(["pretrain", "data", "world:demo", "-o", text, "--train-tokenizer", "1200", "--workers", "1"])
        print("| shape | time foretold | taken | memory foretold | taken |\n| --- | ---: | ---: | ---: | ---: |")
        for number, (shape, (model, train)) in enumerate(SHAPES.items()):
            fields = [f"model.{part}" for part in model.split()] + [f"train.{part}" for part in train.split()]
            sets = [part for field in (*fields, f"train.steps={steps}") for part in ("--set", field)]
            common = ["tiny", "--data", text, *sets]
            told = json.loads(measure(["pretrain", "fit", *common, "--memory", "3", "--json"]).stdout)
            batch = [f"train.batch_size={told['batch_size']}", f"train.accumulate={told['accumulate']}"]
            common += [part for field in batch for part in ("--set", field)]  # as fit says to use
            run = measure(["pretrain", "run", *common, "--name", f"run{number}", "-o", str(folder / "runs")])
            told_s, told_bytes = told["hours"] * 3600, told["run_peak_bytes"]
            print(
                f"| {shape} | {told_s:.1f} s | {run.wall_s:.1f} s ({told_s / run.wall_s - 1:+.0%}) "
                f"| {told_bytes / 2**20:.0f} MiB | {run.peak_bytes / 2**20:.0f} MiB "
                f"({told_bytes / run.peak_bytes - 1:+.0%}) |",
                flush=True,
            )
            if abs(told_s / run.wall_s - 1) > TIME_OFF:
                missed.append(f"{shape}: time")
            if abs(told_bytes / run.peak_bytes - 1) > MEMORY_OFF:
                missed.append(f"{shape}: memory")
    print("\n" + ("MISSED: " + "; ".join(missed) if missed else "every figure is within its limit"))
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
