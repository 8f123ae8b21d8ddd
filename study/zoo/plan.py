"""One study that makes and diagnoses pairs of models, with what they share made once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import JsonValue

from equiloss.config import read_toml, validate
from study import graph, spec
from study.graph import Study
from study.spec import CellTemplate, ServiceTemplate, StudyFile, StudyHead, StudyPart
from study.zoo.pairs import SHARED, Pair

SIMULATED = "simulated@http://127.0.0.1:{simulator.port}/v1"
"""The pair's simulated judge, in a cell's command."""


def study_of(pairs: Sequence[Pair], seeds: Sequence[int], sets: Sequence[str] = ()) -> Study:
    """The study of every pair with every seed.

    Paths: `s{seed}/shared`, `s{seed}/PAIR`; in the files `{shared}`, `{pair}`, `{name}` and `{seed}`. A pair has the
    parameters of the shared file and its own; `sets` (KEY=VALUE) override the former, with PAIR.KEY=VALUE one pair's.
    Raises: InputError for a mistake in a file.
    """
    names = {pair.name for pair in pairs}
    common = tuple(text for text in sets if text.partition("=")[0].partition(".")[0] not in names)
    path = pairs[0].shared
    shared = validate(StudyFile, read_toml(path), str(path))
    arms = {arm.name: arm for pair in pairs if pair.file.factor for arm in pair.arms.values()}
    alone = {one.name: one for arm in arms.values() for one in arm.alone}
    listed: list[JsonValue] = [{"name": one.name, "base": one.bases[0], "flags": one.flags} for one in alone.values()]
    several: list[JsonValue] = [
        {"name": arm.name, "nth": nth, "of": one.name}
        for arm in arms.values()
        if len(arm.bases) > 1
        for nth, one in enumerate(arm.alone, 1)
    ]
    planted = spec.values_of(StudyPart(path, shared, sets=common)).get("planted", True)
    lists: dict[str, object] = {"arms": listed, "parts": several, "planted": planted}
    cells = (*shared.cell, *(_gathered(*one) for one in (("arm", "arms", "runs"), ("planted", "planted", "planted"))))
    made = tuple(cell for cell in cells if all(lists.get(str(axis), True) for axis in cell.foreach.values()))
    parts: list[StudyPart] = []
    for seed in seeds:
        values: spec.Values = {"seed": seed, SHARED: f"s{seed}/{SHARED}"}
        with_arms = shared.model_copy(update={"cell": made})
        local = {**values, "arms": listed, "parts": several}
        parts.append(StudyPart(path, with_arms, local, f"s{seed}-{SHARED}-", common))
        for pair in pairs:
            own = tuple(text.removeprefix(f"{pair.name}.") for text in sets if text.startswith(f"{pair.name}."))
            local = {**values, "pair": f"s{seed}/{pair.name}", "name": pair.name}
            whole = _whole(pair, shared, path, bool(planted))
            parts.append(StudyPart(pair.path, whole, local, f"s{seed}-{pair.name}-", common + own))
    study = spec.assemble(parts)
    wanted = [f"s{seed}-{pair.name}-*" for seed in seeds for pair in pairs]
    return replace(study, name="zoo", cells=graph.only(study.cells, wanted))


def _gathered(name: str, folder: str, runs: str) -> CellTemplate:
    """The cell that gathers a side of several base models from the fine-tunings of each."""
    kinds = (".jsonl", ".run.json")
    return CellTemplate(
        name=f"{name}-{{part.name}}-{{part.nth}}{{run}}",
        foreach={"part": "parts", "run": runs},
        run=f"python {{plant}} mix {{shared}}/{folder}/{{part.of}}.s1{{run}}.jsonl --name {{part.name}} "
        f"--seed s{{part.nth}}{{run}} -o {{shared}}/{folder}",
        inputs=(*(f"{{shared}}/{folder}/{{part.of}}.s1{{run}}{kind}" for kind in kinds), "{plant}"),
        outputs=tuple(f"{{shared}}/{folder}/{{part.name}}.s{{part.nth}}{{run}}{kind}" for kind in kinds),
    )


def _whole(pair: Pair, shared: StudyFile, path: Path, with_planted: bool) -> StudyFile:
    """The pair's file with the shared parameters and paths, the simulated judge, and the cells that every pair has."""
    head, file = pair.head, pair.file
    planted: tuple[CellTemplate, ...] = ()
    if file.factor:
        arms = pair.arms
        first, last = (arms[letter * len(file.factor)] for letter in "ab")
        differ = dict.fromkeys((*first.bases, *last.bases)) if first.bases != last.bases else {}
        needs = [f"{{shared}}/probe-{base}.txt" for base in differ]
        needs += [f"{{shared}}/premise-{base}.txt" for base in differ if base != pair.plain]
        sides = {"a": f"{{shared}}/arms/{first.name}", "b": f"{{shared}}/arms/{last.name}"}
        head = head.model_copy(update={**sides, "needs": (*head.needs, *needs)})
        planted = _planted(pair) if pair.causes and with_planted else ()
    answers = (f"{head.a}.s*.jsonl", f"{head.b}.s*.jsonl")
    simulator = f"judge simulate --port {{port}} --seed {{seed}} {head.judge}"
    judge = _judging("judge", answers, "{pair}/verdicts", "{pair}/judged.txt")
    judges = any(cell.name.startswith("judge") for cell in file.cell)
    cells = file.cell if judges else (*file.cell, judge)
    if head.explain:
        explained = f"{head.b.rpartition('/')[0]}/{_name(head.a)}.vs.{_name(head.b)}.explain.json"
        rerun = f"study explain {head.a} {head.b} --verdicts {{pair}}/verdicts"
        explain = CellTemplate(
            name="explain",
            uses=("simulator",),
            run=f"{rerun} --everything --ask {SIMULATED} --runs {{shared}}/reruns",
            inputs=(*answers, "{pair}/verdicts"),
            outputs=(explained,),
            stdout="{pair}/explained.txt",
        )
        cells = (*cells, explain)
    diagnose = CellTemplate(
        name="diagnose",
        run=f"judge diagnose {head.a} {head.b} --verdicts {{pair}}/verdicts --json",
        inputs=tuple(dict.fromkeys([*answers, *(path for cell in cells for path in _outputs(cell)), *head.needs])),
        stdout="{pair}/diagnosis.json",
    )
    paths = {key: str((path.parent / value).resolve()) for key, value in shared.paths.items()}
    return StudyFile(
        study=StudyHead(name=pair.name),
        params={**shared.params, **file.params},
        paths={**paths, **file.paths},
        cell=(*cells, diagnose, *planted),
        service=(ServiceTemplate(name="simulator", run=simulator), *file.service),
    )


def _judging(name: str, answers: tuple[str, ...], verdicts: str, stdout: str) -> CellTemplate:
    """The cell in which the pair's simulated judge scores answers."""
    return CellTemplate(
        name=name,
        uses=("simulator",),
        run=f"judge score {{inputs}} --judge {SIMULATED} -o {verdicts}",
        inputs=answers,
        outputs=(verdicts,),
        stdout=stdout,
    )


def _planted(pair: Pair) -> tuple[CellTemplate, ...]:
    """Judge every combination of the factors in fine-tunings of other seeds, and take the factors' points from them."""
    answers = tuple(dict.fromkeys(f"{{shared}}/planted/{arm.name}.s*.jsonl" for arm in pair.arms.values()))
    judge = _judging("planted-verdicts", answers, "{pair}/planted", "{pair}/planted.txt")
    names = " ".join(f"{letters}={arm.name}" for letters, arm in pair.arms.items())
    factors = zip("0123", pair.file.factor, strict=False)
    causes = " ".join(f"{letter}={':'.join([one.cause, *one.items])}" for letter, one in factors)
    points = CellTemplate(
        name="planted-points",
        run=f"python {{plant}} points {{pair}}/planted {{shared}}/planted {names} {causes} -o {{pair}}/planted.json",
        inputs=("{pair}/planted", *answers, "{plant}"),
        outputs=("{pair}/planted.json",),
    )
    return judge, points


def _name(run: str) -> str:
    return run.rpartition("/")[2]


def _outputs(cell: CellTemplate) -> list[str]:
    """What a pair's cells of one template write, as patterns where it stands for several."""
    outputs = [*cell.outputs, *([cell.stdout] if cell.stdout else [])]
    for variable in cell.foreach:
        outputs = [re.sub(rf"\{{{variable}(\.\w+)?\}}", "*", path) for path in outputs]
    return outputs
