"""The commands that a diagnosis suggests about its case: what supplies what is missing, and what tests a cause."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from equiloss import commands
from equiloss.records.ift_run import IftRespond, RunData
from judge import rubrics
from judge.diagnose.case import Arm, Base, Case
from judge.diagnose.differences import Difference, decoding_of

RESULTS = Path("results")
FLAGS = ("max_new_tokens", "temperature", "top_k", "top_p", "repetition_penalty", "template")
"""The decoding settings that `ift respond` takes."""
LENGTH_TOKENS, PENALTY = 512, 1.2
"""What mends answers that are cut off, where no length is recorded, and answers that repeat themselves."""


def _files(case: Case) -> list[Path | str]:
    """The answers of all runs, or what their files would be called."""
    return [run.path or f"{run.generator}.jsonl" for arm in case.arms for run in arm.runs]


def score(case: Case) -> str:
    """Have all answers judged together."""
    return commands.judge_score(_files(case), output=_verdicts(case))


def rescore(case: Case, *, rubric: str = "", repeats: int | None = None, retry_failures: bool = False) -> str:
    """Judge the answers again as they were judged, but for what is named."""
    judge = case.panel.judge if case.panel else commands.MODEL
    rubric = rubric or (case.panel.rubric if case.panel else "")
    known = rubric if rubric in rubrics.names() else commands.RUBRIC if rubric else None
    return commands.judge_score(
        _files(case),
        judge=judge,
        rubric=known,
        repeats=repeats,
        output=_verdicts(case),
        retry_failures=retry_failures,
    )


def audit(case: Case) -> str:
    """See how far the judge can be trusted."""
    elsewhere = [path for path in _verdict_files(case) if path.suffix == ".jsonl"]
    return commands.judge_audit([*_files(case), *elsewhere])


def with_answers(case: Case) -> str:
    """Diagnose again with the answers beside the verdicts."""
    return commands.judge_diagnose(*(f"{arm.name}.jsonl" for arm in case.arms))


def fine_tune(case: Case) -> str:
    """Fine-tune each side that has no record."""
    return commands.both(*(_fine_tuning(arm) for arm in case.arms if arm.record is None))


def more_seeds(case: Case) -> str:
    """Fine-tune both sides with several seeds."""
    return commands.both(*(_fine_tuning(arm, seeds=5) for arm in case.arms))


def _fine_tuning(arm: Arm, seeds: int | None = None) -> str:
    data = arm.record.data if arm.record else RunData()
    return commands.ift_run(arm.base.path, data.source, arm.name, seeds=seeds, skip_bad=data.skip_bad)


def evaluate(case: Case) -> str:
    """Evaluate both base models on the same documents: those that one was evaluated on, or both were trained beside."""
    evaluated = {one.record.data.path for arm in case.arms for one in arm.base.evaluations}
    data = evaluated or {_data_of(arm.base) for arm in case.arms}
    return commands.pretrain_eval([arm.base.path for arm in case.arms], data.pop() if len(data) == 1 else None)


def probe(bases: Sequence[Base], text: str | None = None) -> str:
    """Probe these base models, on a text where one is named."""
    return commands.both(*(commands.pretrain_probe(base.path, _data_of(base), text) for base in bases))


def probe_on_one_text(bases: Sequence[Base]) -> str:
    """Probe both base models on the test text that the first was probed on."""
    first = bases[0].probe
    read = (first.text or first.data) if first else None
    return probe(bases, read.path if read else None)


def explain(case: Case, only: str | None = None, seeds: int | None = None) -> str | None:
    """Make what differs between the recipes equal, and run again; None where the records lack what a rerun needs."""
    if not all(arm.base.path and arm.record and arm.record.recipe for arm in case.arms):
        return None
    panels = {panel for arm in case.arms for run in arm.runs for panel in run.panels()}
    chosen = case.panel if len(panels) > 1 else None
    return commands.study_explain(
        *(_target(arm) for arm in case.arms),
        only=only,
        seeds=seeds,
        verdicts=_verdicts(case),
        rubric=chosen.rubric if chosen else None,
        judge=chosen.judge if chosen else None,
    )


def pretrain_again(case: Case) -> str:
    """Pretrain both base models with another seed."""
    return commands.both(*(_pretraining(arm) for arm in (case.b, case.a)))


def _pretraining(arm: Arm) -> str:
    config = Path(arm.base.path).with_name("config.toml") if arm.base.path else None
    return commands.pretrain_run(config, _data_of(arm.base), f"{arm.name}-again", seed=1)


def respond(case: Case, worse: Arm, fault: str, settings: Sequence[Difference]) -> str:
    """Let the losing side answer again as the other side does, or without the fault; else look at its answers."""
    run = next(one for one in worse.runs if one.path is not None or one is worse.runs[-1])
    others = {one.field.removeprefix("decoding."): one.a if worse is case.b else one.b for one in settings}
    options = {key: value for key, value in others.items() if key in FLAGS and isinstance(value, (int, float, str))}
    if fault == "truncated":
        length = decoding_of(worse.record).get("max_new_tokens")
        options.setdefault("max_new_tokens", 2 * length if isinstance(length, int) else LENGTH_TOKENS)
    if fault == "repetition":
        options.setdefault("repetition_penalty", PENALTY)
    answers = run.path or f"{run.generator}.jsonl"
    if not options:
        return commands.ift_show(answers)
    record = worse.record
    model = record.model.path if isinstance(record, IftRespond) else record.files.model if record else None
    folder = run.path.parent if run.path and run.path.parent != RESULTS else None
    model = model or f"runs/ift/{run.generator}"
    return commands.ift_respond(model, answers, f"{worse.name}-again", output=folder, **options)


def _target(arm: Arm) -> Path | str:
    """How a command finds an arm: by its name among the results, by its file, or by its name in another folder."""
    path = next((run.path for run in arm.runs if run.path), None)
    if path is None or path.parent == RESULTS:
        return path or arm.name if len(arm.runs) == 1 else arm.name
    return path if len(arm.runs) == 1 else path.parent.resolve() / arm.name


def _verdict_files(case: Case) -> list[Path]:
    """The files that are not beside the answers: verdicts that were written to another folder."""
    runs = [run for arm in case.arms for run in arm.runs]
    return [path for run in runs if run.path for path in run.files if path.parent != run.path.parent]


def _verdicts(case: Case) -> Path | None:
    folders = {path.parent for path in _verdict_files(case)}
    return folders.pop() if len(folders) == 1 else None


def _data_of(base: Base) -> str | None:
    data = base.record.run.data if base.record.run else None
    return data.directory or None if data else None
