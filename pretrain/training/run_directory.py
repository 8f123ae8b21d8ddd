"""A run's directory: whether a run may start there, go on, or is done already."""

from __future__ import annotations

from pathlib import Path

from equiloss.config import differences, read_toml, to_toml, validate
from equiloss.console import say
from equiloss.errors import InputError
from equiloss.files import claim, write_text
from equiloss.provenance import provenance
from equiloss.records.base_run import TrainingData
from pretrain.config import FREE_FIELDS, RunConfig
from pretrain.training import state
from pretrain.training.distributed import restarted_run_id


def prepare(directory: Path, config: RunConfig, data: TrainingData, resume: bool) -> str | None:
    """The state to continue from, "" to start anew, None when the run is done; writes config.toml.

    A run that torchrun starts again goes on without `resume`. Raises: InputError for an unfinished run without
    `resume`, for a changed configuration (each field named), and for data that changed since the state was written.
    """
    written, done, states = directory / "config.toml", directory / "checkpoint.pt", directory / "state"
    restarted, launch = restarted_run_id()
    mark = states / "launch"
    if written.is_file():
        same_launch = restarted or (launch is not None and mark.is_file() and mark.read_text() == launch)
        changed = differences(validate(RunConfig, read_toml(written), str(written)), config, FREE_FIELDS)
        if changed:
            raise InputError(
                f"{directory}: the run was started with another configuration: {'; '.join(changed)}",
                "use its own, or another --name",
            )
        if done.is_file():
            return None
        if not (resume or same_launch):
            raise InputError(
                f"{directory}: an unfinished run is there", "add --resume to go on with it, or use another --name"
            )
    elif done.is_file():
        raise InputError(f"{directory}: a checkpoint without its config.toml is there", "use another --name")
    else:
        for name in ("metrics.jsonl", "samples.jsonl", "report.html", "state"):
            claim(directory / name, ours=False, hint="choose another --name, or move that file away")
    directory.mkdir(parents=True, exist_ok=True)
    state.prune(states, config.train.keep)
    last = last_state(directory)
    if last is None:
        (directory / "metrics.jsonl").unlink(missing_ok=True)
    else:
        _same_data(last, data)
        say(f"{directory.name}: going on from {last.name}")
    write_text(written, _config_toml(config, data))
    if launch is not None:
        write_text(mark, launch)
    return str(last or "")


def last_state(directory: Path) -> Path | None:
    """The newest whole state of a run."""
    return next(reversed(state.states_in(directory / "state")), None)


def _same_data(path: Path, data: TrainingData) -> None:
    before = state.read_record(path).data
    for name in ("train", "validation"):
        if getattr(before, name) != getattr(data, name) or before.sha256 != data.sha256:
            raise InputError(
                f"the data in {data.directory} changed since {path} was written ({name} split)",
                "bring the old data back, or start a new run under another --name",
            )


def _config_toml(config: RunConfig, data: TrainingData) -> str:
    versions = provenance()
    lines = [
        "# What `pretrain run` used, all fields filled in: `pretrain run` with this file repeats the run.",
        f"# data: {data.directory} (sha256 {data.sha256})",
        f"# equiloss {versions.equiloss}, commit {versions.git_commit}, torch {versions.libraries.get('torch')}",
    ]
    return "\n".join(lines) + "\n\n" + to_toml(config.model_dump())
