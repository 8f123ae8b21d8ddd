"""The step of `train.backend = "jax"` beside torch's, side by side in one run: tokens per second, and their ratio.

    python benchmarks/jax_twin.py                              # tiny, fp32 and bf16
    python benchmarks/jax_twin.py --shapes gpt2-small --rounds 1
    python benchmarks/jax_twin.py --clock cpu --threads 1      # on a machine that others use too

(Not `jax.py`: the benchmarks beside it would import that for JAX.) Compilation, before the first round, is told apart.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:] = [one for one in sys.path if Path(one or ".").resolve() != HERE]  # pretrain.py beside it is a benchmark

import torch  # noqa: E402

sys.path.append(str(HERE))

from side_by_side import CLOCKS, Target, parser, report, take_turns  # noqa: E402

from pretrain.config import ModelConfig, RunConfig  # noqa: E402

SHAPES = {
    "tiny": (ModelConfig(n_layer=4, n_head=4, n_embd=128, context=128, vocab_size=50257), 16),
    "narrow": (ModelConfig(n_layer=2, n_head=4, n_embd=64, context=64, vocab_size=2048), 16),
    "gpt2-small": (ModelConfig(n_layer=12, n_head=12, n_embd=768, context=256, vocab_size=50257), 4),
}
PRECISIONS = ("fp32", "bf16")
CONTENDERS = [f"{backend} {precision}" for precision in PRECISIONS for backend in ("torch", "jax")]
TARGETS = {
    shape: {f"jax against torch, {p}": Target(f"jax {p}", (f"torch {p}",), 0.5) for p in PRECISIONS} for shape in SHAPES
}
STEPS = 2


def contender(name: str, shape: str, clock: Callable[[], float]) -> Callable[[], float]:
    """A round of a contender: tokens per second of the faster of `STEPS` steps; the first round compiles before."""
    from pretrain.model.decoder import GPT
    from pretrain.training.distributed import World
    from pretrain.training.jax_step import JaxStepper
    from pretrain.training.optimizers import Optimizers
    from pretrain.training.step import Stepper

    (backend, precision), (config, batch) = name.split(), SHAPES[shape]
    settings = {"batch_size": batch, "precision": precision, "backend": backend, "device": "cpu"}
    run = RunConfig.model_validate({"model": config.model_dump(), "train": settings})
    model, world = GPT(config).train(), World(0, 1, torch.device("cpu"))
    optimizers = Optimizers(model, run.train)
    step = (
        JaxStepper(model, optimizers, run, world) if backend == "jax" else Stepper(model, model, optimizers, run, world)
    )
    assert config.vocab_size is not None
    windows = torch.randint(config.vocab_size, (batch, config.context + 1))
    warm: list[float] = []

    def seconds() -> float:
        start = clock()
        step(0, windows[:, :-1], windows[:, 1:], 1e-4)
        return clock() - start

    def round_of_steps() -> float:
        if not warm:
            warm.append(seconds())
            print(f"{shape}: {name}: first step {warm[0]:.1f} s", file=sys.stderr)
        return run.tokens_per_step / min(seconds() for _ in range(STEPS))

    return round_of_steps


def main() -> None:
    arguments = parser(__doc__, list(SHAPES), CONTENDERS, 3).parse_args()
    if find_spec("jax") is None or find_spec("optax") is None:
        print("jax_twin: skipped, JAX is not installed (pip install '.[jax]')", file=sys.stderr)
        return
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    os.environ.setdefault("NPROC", str(torch.get_num_threads()))  # XLA's threads
    from pretrain.training.allocator import keep_freed_memory

    keep_freed_memory()
    shapes = {}
    for shape in arguments.shapes:
        contenders = {name: contender(name, shape, CLOCKS[arguments.clock]) for name in arguments.contenders}
        shapes[shape] = take_turns(shape, contenders, arguments.rounds, "tokens/s")
    report(arguments, shapes, TARGETS, "tokens/s", {"load": os.getloadavg()[0]})


if __name__ == "__main__":
    main()
