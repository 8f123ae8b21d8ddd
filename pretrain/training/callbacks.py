"""What watches a run while it goes on: samples from the model, the run's page, and other people's trackers.

A callback sees what a run logs and changes nothing of it: neither weights nor random states.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from equiloss.config import flatten
from equiloss.files import write_jsonl
from equiloss.records.metrics import SampledText, TrainingMetrics, ValidationMetrics, read_samples
from equiloss.seeds import stream
from pretrain.config import RunConfig
from pretrain.training import page

if TYPE_CHECKING:
    from tiktoken import Encoding

    from pretrain.model.decoder import GPT

PROMPT_TOKENS = 16
SAMPLE_TOKENS = 64
TEMPERATURE = 0.8
TOP_K = 50


Metrics = TrainingMetrics | ValidationMetrics
Tokens = NDArray[np.unsignedinteger]


class Callback:
    """Told what happens in a run, on its main process; each method may stay as it is."""

    def logged(self, row: Metrics) -> None:
        """A line of metrics.jsonl was written."""

    def evaluated(self, step: int, model: GPT) -> None:
        """The validation loss after `step` steps was measured."""

    def finished(self) -> None:
        """The checkpoint is written."""

    def close(self) -> None:
        """The run ends, in whatever way."""


def callbacks_of(
    config: RunConfig, directory: Path, tokenizer: Encoding, validation: Tokens, step: int, whole: bool
) -> list[Callback]:
    """The callbacks of a run that stands at `step`. `whole`: this process holds all weights, so it can sample.

    Raises: InputError when a tracker is asked for that is not installed.
    """
    watching: list[Callback] = []
    if config.train.samples and whole:
        watching.append(Samples(config, directory / "samples.jsonl", tokenizer, validation))
    watching.append(Page(directory))
    if config.train.tracker == "tensorboard":
        watching.append(TensorBoard(directory, step))
    if config.train.tracker == "trackio":
        watching.append(Trackio(config, directory, step))
    return watching


class Page(Callback):
    """Keeps report.html up to date: at each evaluation, and at the end."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @override
    def evaluated(self, step: int, model: GPT) -> None:
        """Write the page anew."""
        page.write(self.directory)

    @override
    def finished(self) -> None:
        """Write the page for the last time."""
        page.write(self.directory)


class Samples(Callback):
    """Lets the model go on from a few beginnings in the validation split, at each evaluation."""

    def __init__(self, config: RunConfig, path: Path, tokenizer: Encoding, validation: Tokens) -> None:
        self.path, self.tokenizer = path, tokenizer
        self.prompts = prompts(validation, tokenizer.eot_token, config.train.samples, config.model.context // 2)
        self.new_tokens = min(SAMPLE_TOKENS, config.model.context - max(map(len, self.prompts), default=0))
        self.seeds = [stream(config.train.seed, "samples", index) for index in range(len(self.prompts))]

    @override
    def evaluated(self, step: int, model: GPT) -> None:
        """Draw the samples of this step; those that a resumed run drew at later steps go."""
        from pretrain.model.generation import generate

        was_training = model.training
        done = generate(
            model,
            self.prompts,
            max_new_tokens=self.new_tokens,
            eos_id=self.tokenizer.eot_token,
            temperature=TEMPERATURE,
            top_k=TOP_K,
            seeds=self.seeds,
        )
        model.train(was_training)
        earlier = [row for row in read_samples(self.path) if row.step < step]
        decode = self.tokenizer.decode
        rows = [
            SampledText(step=step, prompt=decode(prompt), text=decode(sample.tokens))
            for prompt, sample in zip(self.prompts, done, strict=True)
        ]
        write_jsonl(self.path, [*earlier, *rows])


def prompts(tokens: Tokens, eot: int, count: int, longest: int) -> list[list[int]]:
    """The first tokens of `count` documents, spread over a split whose documents end with `eot`."""
    starts = np.concatenate([[0], np.flatnonzero(np.asarray(tokens[: 1 << 24]) == eot) + 1])
    lengths = np.diff(np.append(starts, min(len(tokens), 1 << 24)))
    length = max(1, min(PROMPT_TOKENS, longest))
    able = starts[lengths > length]
    chosen = able[np.linspace(0, len(able) - 1, min(count, len(able))).astype(int)] if len(able) else []
    return [[int(token) for token in tokens[start : start + length]] for start in chosen]


class TensorBoard(Callback):
    """Scalars for TensorBoard, in NAME/tensorboard."""

    def __init__(self, directory: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # What a killed run wrote behind its last state is hidden.
        self.writer: Any = SummaryWriter(str(directory / "tensorboard"), purge_step=step + 1 if step else None)

    @override
    def logged(self, row: Metrics) -> None:
        """Write the row's numbers at its step."""
        for key, value in numbers(row):
            self.writer.add_scalar(key, value, row.step)

    @override
    def evaluated(self, step: int, model: GPT) -> None:
        """Put what was written where TensorBoard sees it."""
        self.writer.flush()

    @override
    def close(self) -> None:
        """Close the event file."""
        self.writer.close()


class Trackio(Callback):
    """Metrics for trackio; its project is the folder of the runs, its run the run's name."""

    def __init__(self, config: RunConfig, directory: Path, step: int) -> None:
        import trackio  # pyright: ignore[reportMissingImports]

        self.trackio: Any = trackio
        with redirect_stdout(sys.stderr):
            self.trackio.init(
                project=directory.resolve().parent.name,
                name=directory.name,
                config=flatten(config.model_dump()),
                resume="allow" if step else "never",
            )

    @override
    def logged(self, row: Metrics) -> None:
        """Log the row's numbers at its step."""
        self.trackio.log(dict(numbers(row)), step=row.step)

    @override
    def close(self) -> None:
        """Send the rest."""
        with redirect_stdout(sys.stderr):
            self.trackio.finish()


def numbers(row: Metrics) -> Sequence[tuple[str, float]]:
    """A metrics row for a tracker: what was measured, by group."""
    group = "validation" if isinstance(row, ValidationMetrics) else "train"
    return [
        (f"{group}/{key.removeprefix('validation_')}", float(value))
        for key, value in row
        if key != "step" and isinstance(value, (int, float))
    ]
