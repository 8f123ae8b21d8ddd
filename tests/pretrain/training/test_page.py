"""The pages that runs leave, and what watches a run."""

import json
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equiloss.cli import EXTRAS
from equiloss.config import validate
from equiloss.errors import InputError
from equiloss.files import read_jsonl
from equiloss.records.metrics import TrainingMetrics, read_metrics
from equiloss.records.token_data import TextSource
from equiloss.tokenizer import train_bpe
from pretrain.config import RunConfig
from pretrain.data.document import Document
from pretrain.data.shard_writer import write_shards
from pretrain.model import checkpoint
from pretrain.training import page as report
from pretrain.training.callbacks import numbers, prompts
from pretrain.training.comparison import compare
from pretrain.training.run import train

MODEL = {"n_layer": 1, "n_head": 2, "n_embd": 16, "context": 32, "dropout": 0.1}
TRAIN = {"steps": 12, "batch_size": 4, "log_every": 2, "eval_every": 4, "eval_tokens": 256, "precision": "fp32"}


def config(**changes: Any) -> RunConfig:
    return validate(RunConfig, {"model": MODEL, "train": TRAIN | changes}, "test")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = [
        f"<script>alert({i})</script> The {i}th president spoke of {i * 7} things, and of {i} more." for i in range(60)
    ]
    documents = [Document(text, "speeches", "validation" if i % 5 == 0 else "train") for i, text in enumerate(texts)]
    directory = tmp_path_factory.mktemp("data")
    write_shards(documents, directory, train_bpe(texts, 300), source=TextSource(name="test"), workers=1)
    return directory


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs")
    train(config(), data, directory / "a")
    train(config(seed=1), data, directory / "b")
    train(config(lr=0.01, samples=0), data, directory / "c")
    return directory


def embedded(page: Path) -> dict[str, Any]:
    body = page.read_text().partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    return json.loads(body)


def test_a_run_leaves_its_page(runs: Path) -> None:
    document = embedded(runs / "a" / "report.html")
    (run,) = document["runs"]
    rows = read_jsonl(runs / "a" / "metrics.jsonl")
    assert [point["loss_max"] for point in run["train"]] == [row["loss_max"] for row in rows if "loss" in row]
    assert [point["step"] for point in run["validation"]] == [4, 8, 12]
    assert run["summary"]["finished"]
    assert run["summary"]["validation_loss"] == rows[-1]["validation_loss"]
    assert [sample["step"] for sample in run["samples"]] == [4] * 3 + [8] * 3 + [12] * 3
    text = (runs / "a" / "report.html").read_text()
    assert "<script>alert" not in text
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")


def test_samples_start_with_documents_and_change_no_weights(runs: Path, data: Path, tmp_path: Path) -> None:
    train(config(samples=0), data, tmp_path / "a")
    one, other = (checkpoint.load(d / "a" / "checkpoint.pt").model.state_dict() for d in (runs, tmp_path))
    assert all(torch.equal(one[name], other[name]) for name in one)
    samples = read_jsonl(runs / "a" / "samples.jsonl")
    assert all(sample["prompt"].startswith("<script>alert(") for sample in samples)
    assert not (tmp_path / "a" / "samples.jsonl").exists()


def test_a_resumed_run_has_each_sample_once(runs: Path, data: Path, tmp_path: Path) -> None:
    config_ = config(save_every=4)
    directory = tmp_path / "a"
    train(config_, data, directory)
    before = (directory / "samples.jsonl").read_bytes()
    assert before == (runs / "a" / "samples.jsonl").read_bytes()
    (directory / "checkpoint.pt").unlink()  # as if killed after the state of step 8
    train(config_, data, directory, resume=True)
    assert (directory / "samples.jsonl").read_bytes() == before


def test_compare_overlays_runs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compare([runs / name for name in "abc"], None, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["page"] == str(runs / "compare.html")
    assert document["differences"] == {
        "train.lr": [0.001, 0.001, 0.01],
        "train.samples": [3, 3, 0],
        "train.seed": [0, 1, 0],
    }
    assert [row["run"] for row in document["runs"]] == ["a", "b", "c"]
    assert [run["group"] for run in embedded(runs / "compare.html")["runs"]] == [0, 0, 1]
    compare([runs / name for name in "abc"], None, as_json=False)
    assert "train.lr: 0.001 (a, b); 0.01 (c)" in capsys.readouterr().out


def test_what_is_no_run_is_named(runs: Path) -> None:
    with pytest.raises(InputError, match="no run of `pretrain run` is there"):
        report.load(runs)
    with pytest.raises(InputError, match="a run is named twice"):
        report.labels([report.load(runs / "a"), report.load(runs / "b" / ".." / "a")])


def test_equal_names_are_told_apart(runs: Path, data: Path, tmp_path: Path) -> None:
    train(config(steps=2), data, tmp_path / "others" / "a")
    names = report.labels([report.load(runs / "a"), report.load(tmp_path / "others" / "a")])
    assert names == [f"{runs.name}/a", "others/a"]


rows = st.lists(
    st.tuples(st.integers(1, 20), st.floats(0, 20), st.one_of(st.none(), st.floats(0, 9)), st.floats(0, 1)), max_size=60
)


@given(rows, st.integers(1, 12))
def test_thinning_keeps_extremes_and_means(drawn: list[tuple[int, float, float | None, float]], intervals: int) -> None:
    metrics: list[TrainingMetrics] = []
    step = 0
    for width, loss, norm, clipped in drawn:
        step += width
        row = {"step": step, "loss": loss, "loss_min": loss - 1, "loss_max": loss + 1, "lr": 0.1, "grad_norm": norm}
        row |= {"clipped": clipped, "tokens_per_s": 5.0, "elapsed_s": float(step), "skipped": 0, "tokens": step}
        metrics.append(TrainingMetrics.model_validate(row | {"epoch": 0.0}))
    points = report.thinned(metrics, intervals)
    assert len(points) <= intervals
    if not metrics:
        assert points == []
        return
    assert points[-1].step == step
    assert min(point.loss_min for point in points) == min(row.loss_min for row in metrics)
    assert max(point.loss_max for point in points) == max(row.loss_max for row in metrics)
    ends = np.array([0, *(point.step for point in points)])
    mean = sum(point.loss * width for point, width in zip(points, np.diff(ends), strict=True)) / step
    assert mean == pytest.approx(sum(row[1] * row[0] for row in drawn) / step, abs=1e-9)


def test_prompts_are_beginnings_of_documents() -> None:
    tokens = np.array([5, 6, 7, 9, 1, 9, 2, 3, 4, 4, 9, 8, 8, 8], dtype=np.uint16)
    assert prompts(tokens, eot=9, count=2, longest=3) == [[5, 6, 7], [2, 3, 4]]
    assert prompts(tokens, eot=9, count=9, longest=1) == [[5], [1], [2], [8]]
    assert prompts(np.array([9, 9], dtype=np.uint16), eot=9, count=3, longest=4) == []


def test_tensorboard_gets_what_metrics_got(data: Path, tmp_path: Path) -> None:
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    train(config(tracker="tensorboard"), data, tmp_path / "a")
    (file,) = (tmp_path / "a" / "tensorboard").iterdir()
    seen = {
        (event.step, value.tag): value.tensor.float_val[0]
        for event in loader.EventFileLoader(str(file)).Load()
        for value in event.summary.value
    }
    for row in (row for kind in read_metrics(tmp_path / "a" / "metrics.jsonl") for row in kind):
        for key, value in numbers(row):
            assert seen[row.step, key] == pytest.approx(value, rel=1e-6)
    assert (12, "validation/loss") in seen
    assert (12, "train/loss") in seen


def test_trackio_gets_what_metrics_got(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when trackio is imported
    pytest.importorskip("trackio")
    train(config(tracker="trackio"), data, tmp_path / "runs" / "a")
    (file,) = (tmp_path / "trackio").glob("runs*.db")
    with sqlite3.connect(file) as connection:
        logged = [(step, json.loads(text)) for step, text in connection.execute("select step, metrics from metrics")]
    train_rows, validation_rows = read_metrics(tmp_path / "runs" / "a" / "metrics.jsonl")
    rows = sorted([*train_rows, *validation_rows], key=lambda row: row.step)
    assert logged == [(row.step, dict(numbers(row))) for row in rows]


@pytest.fixture
def without_trackers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    for name in ("tensorboard", "trackio"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize("tracker", ["tensorboard", "trackio"])
def test_a_tracker_that_is_not_installed(tracker: str, data: Path, tmp_path: Path, without_trackers: None) -> None:
    with pytest.raises(ModuleNotFoundError) as error:
        train(config(tracker=tracker), data, tmp_path / "a")
    assert error.value.name in EXTRAS  # the programs say how to install it


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_draw_in_a_browser(runs: Path, tmp_path: Path, scheme: Any) -> None:
    api = pytest.importorskip("playwright.sync_api")
    compare([runs / name for name in "abc"], tmp_path / "compare.html", as_json=True)
    with api.sync_playwright() as driver:
        try:
            browser = driver.chromium.launch()
        except api.Error:
            if not Path("/usr/bin/chromium").exists():
                pytest.skip("no Chromium here")
            browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        problems: list[str] = []
        page = browser.new_page(color_scheme=scheme)
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append("a sample ran as code"))
        page.goto((runs / "a" / "report.html").resolve().as_uri())
        assert page.locator("#chart-loss svg path").count() == 2  # the curve and its band
        assert page.locator("#chart-loss svg circle").count() == 3
        assert "alert(" in page.locator(".sample").first.inner_text()
        page.locator("#samples select").select_option("4")
        page.locator("#across").select_option("tokens")
        page.locator("#log").check()
        page.locator("#chart-lr svg").hover()
        assert page.locator("#chart-lr .read").inner_text().startswith("step ")
        page.goto((tmp_path / "compare.html").resolve().as_uri())
        assert page.locator("#chart-validation path.curve").count() == 3
        page.locator("#legend input").first.uncheck()
        assert page.locator("#chart-validation path.curve").count() == 2
        assert page.locator("#tables table").nth(1).inner_text().count("0.01") >= 1
        browser.close()
    assert problems == []


def test_runs_that_read_other_data_are_not_set_side_by_side(program: Callable[..., Any], tmp_path: Path) -> None:
    for name, sha in (("a", "1" * 64), ("b", "2" * 64), ("c", "1" * 64)):
        (run := tmp_path / name).mkdir()
        config = f"# data: data/x (sha256 {sha})\n[model]\nn_layer = 2\n[train]\nseed = 1\n"
        (run / "config.toml").write_text(config, encoding="utf-8")
        row = {"step": 1, "loss": 2.5, "loss_min": 2.5, "loss_max": 2.5, "lr": 0.1, "grad_norm": 1.0, "clipped": 0.0}
        row |= {"tokens": 9, "epoch": 0.1, "skipped": 0, "tokens_per_s": 5.0, "elapsed_s": 1.0}
        (run / "metrics.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    done = program("pretrain", "compare", tmp_path / "a", tmp_path / "b", tmp_path / "c")
    assert done.code == 0, done.err
    assert done.out.count("training loss") == 2
    assert "the runs read other data" in done.err
    assert "data: sha256 111111111111 (a, c); sha256 222222222222 (b)" in done.out
    done = program("pretrain", "compare", tmp_path / "a", tmp_path / "c", "--json", "--overwrite")
    assert json.loads(done.out)["comparable"]
