"""One study that makes and diagnoses pairs of models, with what they share made once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from equiloss.config import read_toml, validate
from study import graph, spec
from study.graph import Study
from study.spec import CellTemplate, ServiceTemplate, StudyFile, StudyHead, StudyPart
from study.zoo.pairs import SHARED, Pair, directory


def study_of(pairs: Sequence[Pair], seeds: Sequence[int], sets: Sequence[str] = ()) -> Study:
    """The study of every pair with every seed.

    Paths: `s{seed}/shared`, `s{seed}/PAIR`; in the files `{shared}`, `{pair}`, `{name}` and `{seed}`. A pair has the
    parameters of the shared file and its own; `sets` (KEY=VALUE) override the former, with PAIR.KEY=VALUE one pair's.
    Raises: InputError for a mistake in a file.
    """
    names = {pair.name for pair in pairs}
    common = tuple(text for text in sets if text.partition("=")[0].partition(".")[0] not in names)
    path = directory() / f"{SHARED}.toml"
    shared = validate(StudyFile, read_toml(path), str(path))
    parts: list[StudyPart] = []
    for seed in seeds:
        values: spec.Values = {"seed": seed, SHARED: f"s{seed}/{SHARED}"}
        parts.append(StudyPart(path, shared, values, f"s{seed}-{SHARED}-", common))
        for pair in pairs:
            own = tuple(text.removeprefix(f"{pair.name}.") for text in sets if text.startswith(f"{pair.name}."))
            local = {**values, "pair": f"s{seed}/{pair.name}", "name": pair.name}
            parts.append(StudyPart(pair.path, _whole(pair, shared, path), local, f"s{seed}-{pair.name}-", common + own))
    study = spec.assemble(parts)
    wanted = [f"s{seed}-{pair.name}-*" for seed in seeds for pair in pairs]
    return replace(study, name="zoo", cells=graph.only(study.cells, wanted))


def _whole(pair: Pair, shared: StudyFile, path: Path) -> StudyFile:
    """The pair's file with the shared parameters and paths, the simulated judge, and the cells that every pair has."""
    head, file = pair.head, pair.file
    answers = (f"{head.a}.s*.jsonl", f"{head.b}.s*.jsonl")
    simulator = f"judge simulate --port {{port}} --seed {{seed}} {head.judge}"
    judge = CellTemplate(
        name="judge",
        uses=("simulator",),
        run="judge score {inputs} --judge simulated@http://127.0.0.1:{simulator.port}/v1 -o {pair}/verdicts",
        inputs=answers,
        outputs=("{pair}/verdicts",),
        stdout="{pair}/judged.txt",
    )
    judges = any(cell.name.startswith("judge") for cell in file.cell)
    cells = file.cell if judges else (*file.cell, judge)
    if head.explain:
        explained = f"{{pair}}/results/{head.a.rpartition('/')[2]}.vs.{{name}}.explain.json"
        rerun = f"study explain {head.a} {head.b} --verdicts {{pair}}/verdicts"
        explain = CellTemplate(
            name="explain",
            uses=("simulator",),
            run=f"{rerun} --ask simulated@http://127.0.0.1:{{simulator.port}}/v1",
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
        cell=(*cells, diagnose),
        service=(ServiceTemplate(name="simulator", run=simulator), *file.service),
    )


def _outputs(cell: CellTemplate) -> list[str]:
    """What a pair's cells of one template write, as patterns where it stands for several."""
    outputs = [*cell.outputs, *([cell.stdout] if cell.stdout else [])]
    for variable in cell.foreach:
        outputs = [re.sub(rf"\{{{variable}(\.\w+)?\}}", "*", path) for path in outputs]
    return outputs
