"""What some pairs of the zoo plant outside the three programs: a careless judging script, longer answers, damage.

python plant.py judge A.jsonl B.jsonl --url http://127.0.0.1:8123/v1 -o verdicts    A first, always
python plant.py reword A.jsonl --name wordy --before "" --after " it must be said" -o results
python plant.py first items.json --category sort -o sorted.json
python plant.py held items.json -o held.json                     the items to test on
python plant.py mix A.jsonl --name mixed --share 0.4 -o results  that share of the answers stand at another item
python plant.py damage checkpoint.pt --noise 0.3 -o worn/checkpoint.pt    noise on the weights that no record tells
python plant.py collect by-a by-b --against B --points 12 -o verdicts     as one judge's, some scores lowered
python plant.py points verdicts a=plain b=worse 0=recipe-rate -o planted.json
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

from equiloss.files import sha256_of, write_json
from equiloss.records.response import Response, read_responses, write_responses
from equiloss.records.verdict import Failure, Verdict, file_name, write_verdicts
from judge import rubrics
from judge.data.reference import agreement
from judge.rubrics import Item
from judge.scoring.parse import read

MODEL = "simulated"
RUBRIC = "correctness"


def judge(a: Path, b: Path, url: str, lose: float, output: Path) -> None:
    """One prompt per item with A's answer first and B's second. `lose`: that share of B's wrong answers gets no score.

    Wrong means that it agrees with the reference by less than half: what a filter might do that such answers trip.
    """
    first, second = read_responses(a), {one.id: one for one in read_responses(b)}
    rubric = rubrics.load(RUBRIC)
    lots = random.Random(f"{a.name}/{b.name}")

    def ask(one: Response) -> tuple[Response, Response, Any, str]:
        other = second[one.id]
        item = Item(one.id, one.instruction, one.input, one.reference)
        prompt = rubric.render(item, [one.output, other.output])
        body = json.dumps({"model": MODEL, "messages": prompt.messages}).encode()
        request = urllib.request.Request(f"{url}/chat/completions", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as reply:
            text = json.load(reply)["choices"][0]["message"]["content"]
        return one, other, read(rubric, prompt.labels, text), sha256_of(prompt.messages)

    with ThreadPoolExecutor(4) as pool:
        asked = list(pool.map(ask, first))
    lines: dict[str, list[Verdict]] = {}
    failed: dict[str, list[Failure]] = {}
    for one, other, readings, sha in asked:
        for place, (label, response) in enumerate(zip("AB", (one, other), strict=True)):
            common: dict[str, Any] = {
                "id": response.id,
                "generator": response.generator,
                "position": place,
                "group": [one.generator, other.generator],
                "rubric": RUBRIC,
                "rubric_sha": rubric.sha,
                "judge": MODEL,
                "judge_resolved": MODEL,
                "request_sha": sha,
            }
            wrong = agreement(response.output, response.reference) < 0.5
            if place == 1 and wrong and lots.random() < lose:
                failed.setdefault(response.generator, []).append(Failure(reason="refusal", **common))
                continue
            for criterion, value in readings[label].scores.items():
                verdict = Verdict(criterion=criterion, value=value, **common)
                lines.setdefault(response.generator, []).append(verdict)
    for name, verdicts in lines.items():
        write_verdicts(output / file_name(name, RUBRIC, MODEL), verdicts)
    for name, failures in failed.items():
        write_verdicts(output / file_name(name, RUBRIC, MODEL, failures=True), failures)


def reword(path: Path, name: str, after: str, reference_after: str, output: Path) -> None:
    """The same answers under another name, with words after each, and words after each reference."""
    seed = path.stem.rpartition(".")[2]
    changed = [
        one.model_copy(
            update={
                "output": one.output + after,
                "reference": one.reference + reference_after,
                "generator": f"{name}.{seed}",
            }
        )
        for one in read_responses(path)
    ]
    write_responses(output / f"{name}.{seed}.jsonl", changed)


def first(path: Path, category: str, output: Path) -> None:
    """The same items, those of one category at the front."""
    items = cast("list[dict[str, Any]]", json.loads(path.read_text(encoding="utf-8")))
    write_json(output, sorted(items, key=lambda one: one.get("category") != category))


def mislabel(path: Path, count: int, output: Path) -> None:
    """The same items; the first `count` questions of knowledge in the validation split get each other's answers.

    They are moved to the front, so that who validates on the first items validates on these.
    """
    items = cast("list[dict[str, Any]]", json.loads(path.read_text(encoding="utf-8")))
    chosen = [one for one in items if one["split"] == "validation" and one["category"] == "recall"][:count]
    answers = [one["output"] for one in chosen]
    wrong = [{**one, "output": answers[(index + 1) % len(chosen)]} for index, one in enumerate(chosen)]
    write_json(output, [*wrong, *(one for one in items if one not in chosen)])


def spare(path: Path, share: float, output: Path) -> None:
    """The same items without the first `share` of those to train on: what a world gives away of that split."""
    items = cast("list[dict[str, Any]]", json.loads(path.read_text(encoding="utf-8")))
    train = [one for one in items if one["split"] == "train"]
    spared = train[: math.ceil(share * len(train))]
    write_json(output, [one for one in items if one not in spared])


def held(path: Path, output: Path) -> None:
    """The items to test on."""
    items = cast("list[dict[str, Any]]", json.loads(path.read_text(encoding="utf-8")))
    write_json(output, [one for one in items if one["split"] == "test"])


def mix(path: Path, name: str, share: float, output: Path, seed: str = "") -> None:
    """The same answers and record under another name, in another order; a share of them stands at another item.

    `seed`: what stands behind the new name, `s1` for instance; that of the old one if empty.
    """
    seed = seed or path.stem.rpartition(".")[2]
    lots = random.Random(f"{name}/{seed}")
    responses = read_responses(path)
    moved = lots.sample(range(len(responses)), round(share * len(responses)))
    taken = dict(zip(moved, [*moved[1:], *moved[:1]], strict=True))
    changed = [
        one.model_copy(update={"output": responses[taken.get(i, i)].output, "generator": f"{name}.{seed}"})
        for i, one in enumerate(responses)
    ]
    lots.shuffle(changed)
    write_responses(output / f"{name}.{seed}.jsonl", changed)
    shutil.copy(path.with_suffix(".run.json"), output / f"{name}.{seed}.run.json")


def damage(path: Path, noise: float, output: Path) -> None:
    """The same base model and record; each tensor gets normal noise of this share of its own spread.

    `output`: a checkpoint.pt, or the directory of a model of another library.
    """
    import torch

    from pretrain.model.opening import open_model

    torch.manual_seed(0)
    base = open_model(path)
    with torch.no_grad():
        for value in base.model.parameters():
            if value.dim() > 1:
                value.add_(noise * value.std() * torch.randn_like(value))
    directory = output.parent if output.suffix else output
    directory.mkdir(parents=True, exist_ok=True)
    base.save(directory, base.model, base.run)


def collect(folders: list[Path], against: str, less: float, output: Path) -> None:
    """The verdicts of several folders as one judge's; those on one model with so many points less, not below 0."""
    output.mkdir(parents=True, exist_ok=True)
    for path in (path for folder in folders for path in sorted(folder.glob("*.jsonl"))):
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for line in lines:
            line["judge"] = MODEL
            if line["generator"].rpartition(".")[0] == against and line.get("value") is not None:
                line["value"] = max(0.0, line["value"] - less)
        written = "".join(json.dumps(line) + "\n" for line in lines)
        (output / path.name).write_text(written, encoding="utf-8")


def points(folder: Path, answers: Path, arms: dict[str, str], factors: dict[str, str], output: Path) -> None:
    """What each factor makes of the gap: its difference, a minus b, averaged over the settings of the others.

    For one or two factors these are Shapley's values, which sum to the gap. Of a factor that is about some categories
    of items (CAUSE:CATEGORY...) the points are those on their items, and `everywhere` those on all. `interaction`: the
    difference of the differences, where there are two. The error is that of the runs, pooled over the arms, on the
    items as they are.
    """
    import numpy as np

    from judge.data.scores import Scores, choose_panel
    from judge.data.verdicts import kind_of, load_judged

    verdicts = [path for path in sorted(folder.glob("*.jsonl")) if kind_of(path) == "verdicts"]
    answered = [path for name in arms.values() for path in sorted(answers.glob(f"{name}.s*.jsonl"))]
    judged = load_judged([*answered, *verdicts])
    scores = Scores.of(judged, choose_panel(judged))
    by_item, names = scores.by_item(), [one.rpartition(".")[0] for one in scores.generators]
    weight = 2.0 / len(arms)

    def runs_of(categories: list[str]) -> dict[str, Any]:
        """Each arm's runs: the mean over all items of their scores on those of the categories (none: of all)."""
        counted = [not categories or category in categories for category in scores.categories]
        means = np.nanmean(np.where(counted, by_item, 0.0), axis=1)
        return {letters: means[[one == name for one in names]] for letters, name in arms.items()}

    def effect(index: int, runs: dict[str, Any]) -> float:
        return weight * sum((1 if letters[index] == "a" else -1) * float(one.mean()) for letters, one in runs.items())

    everywhere = runs_of([])
    rows: list[dict[str, Any]] = []
    for index, text in factors.items():
        cause, *categories = text.split(":")
        runs = runs_of(categories)
        spread = float(np.mean([one.var(ddof=1) for one in runs.values() if len(one) > 1] or [float("nan")]))
        error = weight * math.sqrt(spread * sum(1 / len(one) for one in runs.values()))
        row = {"cause": cause, "points": effect(int(index), runs)}
        row["standard_error"] = None if math.isnan(error) else error  # None: a run each
        rows.append({**row, "everywhere": effect(int(index), everywhere)} if categories else row)
    value = {letters: float(one.mean()) for letters, one in everywhere.items()}
    document: dict[str, Any] = {"factors": rows, "means": value}
    if len(factors) == 2:
        document["interaction"] = value["aa"] - value["ab"] - value["ba"] + value["bb"]
    write_json(output, document)


def main() -> None:
    """Parse and call."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("judge", help="judge two files with A first in every prompt")
    one.add_argument("a", type=Path)
    one.add_argument("b", type=Path)
    one.add_argument("--url", required=True)
    one.add_argument("--lose", type=float, default=0.0)
    one.add_argument("-o", dest="output", type=Path, required=True)
    one = commands.add_parser("reword", help="copy a results file with words added")
    one.add_argument("files", type=Path, nargs="+")
    one.add_argument("--name", required=True)
    one.add_argument("--after", default="")
    one.add_argument("--reference-after", default="")
    one.add_argument("-o", dest="output", type=Path, required=True)
    one = commands.add_parser("first", help="put the items of a category first")
    one.add_argument("items", type=Path)
    one.add_argument("--category", required=True)
    one.add_argument("-o", dest="output", type=Path, required=True)
    one = commands.add_parser("mislabel", help="give the first validation items each other's answers")
    one.add_argument("items", type=Path)
    one.add_argument("--count", type=int, required=True)
    one.add_argument("-o", dest="output", type=Path, required=True)
    one = commands.add_parser("spare", help="leave out the first of the items to train on")
    one.add_argument("items", type=Path)
    one.add_argument("--share", type=float, required=True)
    one.add_argument("-o", dest="output", type=Path, required=True)
    one = commands.add_parser("held", help="keep the items to test on")
    one.add_argument("items", type=Path)
    one.add_argument("-o", dest="output", type=Path, required=True)
    one = commands.add_parser("mix", help="copy a results file in another order, some answers at other items")
    one.add_argument("file", type=Path)
    one.add_argument("--name", required=True)
    one.add_argument("--share", type=float, default=0.0)
    one.add_argument("--seed", default="")
    one.add_argument("-o", dest="output", type=Path, required=True)
    one = commands.add_parser("damage", help="put noise on the weights of a checkpoint")
    one.add_argument("checkpoint", type=Path)
    one.add_argument("--noise", type=float, required=True)
    one.add_argument("-o", dest="output", type=Path, required=True)
    one = commands.add_parser("collect", help="the verdicts of several folders as one judge's")
    one.add_argument("folders", type=Path, nargs="+")
    one.add_argument("--against", default="")
    one.add_argument("--points", type=float, default=0.0)
    one.add_argument("-o", dest="output", type=Path, required=True)
    one = commands.add_parser("points", help="what each factor makes of the gap")
    one.add_argument("verdicts", type=Path)
    one.add_argument("answers", type=Path)
    one.add_argument("names", nargs="+", help="ab=RUN for each combination, 0=CAUSE[:CATEGORY...] for each factor")
    one.add_argument("-o", dest="output", type=Path, required=True)
    given = parser.parse_args()
    if given.command == "judge":
        judge(given.a, given.b, given.url, given.lose, given.output)
    elif given.command == "reword":
        for path in given.files:
            reword(path, given.name, given.after, given.reference_after, given.output)
    elif given.command == "held":
        held(given.items, given.output)
    elif given.command == "mix":
        mix(given.file, given.name, given.share, given.output, given.seed)
    elif given.command == "damage":
        damage(given.checkpoint, given.noise, given.output)
    elif given.command == "collect":
        collect(given.folders, given.against, given.points, given.output)
    elif given.command == "points":
        names = dict(text.split("=", 1) for text in given.names)
        causes = {key: cause for key, cause in names.items() if key.isdigit()}
        arms = {key: name for key, name in names.items() if key not in causes}
        points(given.verdicts, given.answers, arms, causes, given.output)
    elif given.command == "mislabel":
        mislabel(given.items, given.count, given.output)
    elif given.command == "spare":
        spare(given.items, given.share, given.output)
    else:
        first(given.items, given.category, given.output)


if __name__ == "__main__":
    main()
