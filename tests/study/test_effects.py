"""Effects against seed noise, checked against scipy's Welch test and on files as `pretrain eval` writes them."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from equiloss.config import to_toml, validate
from equiloss.errors import InputError
from equiloss.files import write_json
from equiloss.records.evaluation import (
    Calibration,
    EvaluatedCheckpoint,
    EvaluatedData,
    EvaluationMethod,
    EvaluationRecord,
)
from equiloss.statistics.estimate import ClusteredMean
from pretrain.config import RunConfig
from study.cli.tables import emit_effects
from study.effects import Measured, arm_of, compare, load, welch
from study.effects_page import html
from study.executors.process import argv_of

losses = st.lists(st.floats(1, 10), min_size=2, max_size=8)


@given(losses, losses)
def test_welch_is_that_of_statsmodels(first: list[float], second: list[float]) -> None:
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    if np.var(first) + np.var(second) < 1e-6:
        return  # where nothing varies there is nothing to divide by
    ours, detectable = welch(first, second)
    theirs = weightstats.CompareMeans.from_data(first, second)
    _, p, df = theirs.ttest_ind(usevar="unequal")
    assert ours.p == pytest.approx(p, abs=1e-9)
    assert (ours.low, ours.high) == pytest.approx(theirs.tconfint_diff(usevar="unequal"), rel=1e-6, abs=1e-9)
    seen = theirs.std_meandiff_separatevar * (stats.t.ppf(0.975, df) + stats.t.ppf(0.8, df))
    assert detectable == pytest.approx(seen, rel=1e-6)


def test_welch_where_it_cannot_tell_and_where_nothing_varies() -> None:
    assert welch([3.0], [3.5, 3.6])[0].p is None
    assert welch([3.0, 3.0], [3.0, 3.0])[0].p == 1.0
    assert welch([3.0, 3.0], [3.5, 3.5])[0].p == 0.0


def measured(**arms: list[float]) -> list[Measured]:
    return [
        Measured(f"{arm}-{seed}", arm, loss, {"train.lr": 0.1 if arm == "base" else 0.2})
        for arm, values in arms.items()
        for seed, loss in enumerate(values)
    ]


def test_noise_is_called_noise_at_the_rate_promised() -> None:
    """Under no effect at all, some arm of eight is called real in at most about 5 % of studies (Holm)."""
    rng = np.random.default_rng(0)
    wrong = 0
    studies = 400
    for _ in range(studies):
        draws = {f"arm{k}": list(rng.normal(4, 0.02, 3)) for k in range(8)}
        effects = compare(measured(base=list(rng.normal(4, 0.02, 5)), **draws), "base")
        wrong += any(effect.verdict in ("better", "worse") for effect in effects.effects)
    assert wrong / studies < 0.05 + 3 * (0.05 * 0.95 / studies) ** 0.5


def test_the_detectable_effect_is_seen_four_times_in_five() -> None:
    rng = np.random.default_rng(1)
    sizes, sd = (5, 5), 0.02
    error = sd * (1 / 5 + 1 / 5) ** 0.5
    effect = float(stats.t(8).ppf(0.975) + stats.t(8).ppf(0.8)) * error
    seen = [welch(rng.normal(effect, sd, sizes[0]), rng.normal(0, sd, sizes[1]))[0].p for _ in range(600)]  # type: ignore[arg-type]
    assert np.mean([p is not None and p < 0.05 for p in seen]) == pytest.approx(0.8, abs=0.06)


def test_rows_are_sorted_and_say_what_changed() -> None:
    found = measured(
        base=[4.0, 4.01, 3.99, 4.0, 4.02],
        bad=[4.3, 4.31, 4.29],
        good=[3.5, 3.52, 3.51],
        one=[2.0],
        same=[4.0, 4.02, 3.98],
    )
    effects = compare(found, "base")
    assert [(effect.arm, effect.verdict) for effect in effects.effects] == [
        ("one", "one seed: cannot tell"),
        ("good", "better"),
        ("same", "in the noise"),
        ("bad", "worse"),
    ]
    assert effects.effects[0].changed == {"train.lr": 0.2}
    page = html(effects, found)
    assert page.count('class="run"') == len(found)
    with pytest.raises(InputError, match="no run belongs to the baseline 'x'"):
        compare(found, "x")
    with pytest.raises(InputError, match="nothing but the baseline"):
        compare(measured(base=[1.0, 2.0]), "base")


@pytest.mark.parametrize(
    ("run", "arm"),
    [("no-dropout-12", "no-dropout"), ("lr-3.5x-0", "lr-3.5x"), ("a.seed3", "a"), ("a", "a"), ("gpt2", "gpt2")],
)
def test_arms_are_named_before_the_seed(run: str, arm: str) -> None:
    assert arm_of(run) == arm


def evaluation(tmp_path: Path, run: str, loss: float, data: str = "d", seen: int | None = None, **train: Any) -> Path:
    directory = tmp_path / "runs" / run
    directory.mkdir(parents=True, exist_ok=True)
    config = validate(RunConfig, {"train": train}, "test")
    (directory / "config.toml").write_text(to_toml(config.model_dump()))
    path = tmp_path / "evals" / f"{run}.data.test.eval.json"
    path.parent.mkdir(exist_ok=True)
    mean = ClusteredMean(value=loss)
    record = EvaluationRecord(
        checkpoint=EvaluatedCheckpoint(name=run, path=f"runs/{run}/checkpoint.pt", sha256=run, seen_documents=seen),
        data=EvaluatedData(sha256=data, split="test", tokens=1000),
        method=EvaluationMethod(context_tokens=8, stride_tokens=4, precision="fp32"),
        loss_nats=mean,
        perplexity=1.0,
        bits_per_byte=mean,
        accuracy=mean,
        calibration=Calibration(expected_calibration_error=0.0, bins=[]),
        domains=[],
        frequency_deciles=[],
        positions=[],
    )
    write_json(path, record)
    return path


def test_the_command_reads_evaluations_and_writes_the_page(tmp_path: Path) -> None:
    for seed in range(5):
        evaluation(tmp_path, f"baseline-{seed}", 4.0 + 0.001 * seed, seed=seed)
    for seed in range(3):
        evaluation(tmp_path, f"fast-{seed}", 3.5 + 0.001 * seed, seen=7 if seed == 1 else 0, seed=seed, lr=0.01)
    flags = ["study", "effects", "evals", "-o", "effects.html", "--document", "effects.json", "--json"]
    done = subprocess.run(argv_of(flags), cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["mean_nats"] == pytest.approx(4.002)
    (effect,) = document["effects"]
    assert effect["changed"] == {"train.lr": 0.01}
    assert effect["effect_nats"] == pytest.approx(-0.501)
    assert effect["verdict"] == "better"
    assert json.loads((tmp_path / "effects.json").read_text())["effects"] == [effect]
    page = (tmp_path / "effects.html").read_text()
    assert "train.lr=0.01" in page
    assert document["contaminated"] == {"fast": 7}
    assert "Test documents stand in the training text, so that the loss is lower for it: fast (7 documents)." in page


def test_what_does_not_belong_together_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = evaluation(tmp_path, "a-0", 1.0)
    with pytest.raises(InputError, match="not of the same test documents"):
        load([first, evaluation(tmp_path, "b-0", 1.0, data="other")])
    with pytest.raises(InputError, match=r"a-0 and a-1 differ in train.lr, not in seeds alone"):
        load([first, evaluation(tmp_path, "a-1", 1.0, lr=0.5)])
    with pytest.raises(InputError, match="the run a-0 is there twice"):
        load([first, first])
    other = tmp_path / "x.json"
    other.write_text("{}")
    with pytest.raises(InputError, match="not of the format"):
        load([other])


def test_the_table_has_a_row_for_every_arm(capsys: pytest.CaptureFixture[str]) -> None:
    emit_effects(compare(measured(base=[4.0, 4.01, 3.99], fast=[3.5, 3.51, 3.49], one=[4.0]), "base"))
    shown = capsys.readouterr().out
    assert [name in shown for name in ("(the baseline)", "no: better", "one seed: cannot tell")] == [True] * 3
