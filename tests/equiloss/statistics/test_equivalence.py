from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from equiloss import loss_comparison
from equiloss.errors import InputError
from equiloss.files import json_line
from equiloss.records import evaluation as evaluations
from equiloss.records.evaluation import EvaluatedCheckpoint, EvaluatedData, Evaluation, EvaluationMethod
from equiloss.statistics.equivalence import equivalence_test, mean_over_tokens
from equiloss.statistics.multiplicity import holm

RNG = np.random.default_rng(0)


def test_equal_documents_give_the_plain_mean_and_t_interval() -> None:
    losses = RNG.normal(3, 1, 40)
    estimate = mean_over_tokens(losses * 7, np.full(40, 7.0))
    interval = stats.ttest_1samp(losses, 0).confidence_interval(0.95)
    assert estimate.value == pytest.approx(losses.mean())
    assert (estimate.low, estimate.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.slow
def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Documents of unequal length whose loss depends on it: the ratio's truth is not the mean of means."""
    rng = np.random.default_rng(1)
    pool_tokens = rng.integers(10, 400, 200_000).astype(float)
    pool = pool_tokens * (3 + 0.002 * pool_tokens + rng.normal(0, 0.5, 200_000))
    truth = pool.sum() / pool_tokens.sum()
    hits = 0
    for _ in range(2000):
        chosen = rng.integers(0, 200_000, 60)
        estimate = mean_over_tokens(pool[chosen], pool_tokens[chosen])
        assert estimate.low is not None
        assert estimate.high is not None
        hits += estimate.low <= truth <= estimate.high
    assert 0.925 < hits / 2000 < 0.965


@given(st.floats(-0.2, 0.2), st.floats(0.001, 0.5), st.integers(2, 60), st.floats(0.01, 0.2))
def test_tost_equals_two_one_sided_t_tests(shift: float, spread: float, count: int, margin: float) -> None:
    differences = np.random.default_rng(count).normal(shift, spread, count)
    result = equivalence_test(differences * 3, np.full(count, 3.0), margin)
    low = stats.ttest_1samp(differences, -margin, alternative="greater").pvalue
    high = stats.ttest_1samp(differences, margin, alternative="less").pvalue
    assert result.p_equivalence == pytest.approx(max(low, high), rel=1e-6, abs=1e-12)
    assert result.p_difference == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, rel=1e-6, abs=1e-12)


def test_the_verdicts() -> None:
    tokens = np.full(200, 100.0)
    noise = RNG.normal(0, 1, 200)
    noise -= noise.mean()
    assert equivalence_test(noise, tokens).verdict == "equivalent"
    assert equivalence_test(0.02 * tokens + noise, tokens).verdict == "equivalent"  # not nought, yet within the margin
    assert equivalence_test(0.2 * tokens + noise, tokens).verdict == "different"
    assert equivalence_test(noise * 100, tokens).verdict == "undetermined"
    assert equivalence_test(noise[:1], tokens[:1]).verdict == "undetermined"
    assert equivalence_test(np.zeros(5), tokens[:5]).verdict == "equivalent"
    assert equivalence_test(tokens, tokens).verdict == "different"
    with pytest.raises(InputError, match="margin"):
        equivalence_test(noise, tokens, 0.0)


def test_holm_equals_the_published_example() -> None:
    # p values 0.01, 0.04, 0.03, 0.005: R's p.adjust(p, "holm") gives 0.03, 0.06, 0.06, 0.02
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([None, 0.5, None]) == [None, 0.5, None]


def evaluation(name: str, nats: np.ndarray, **changes: Any) -> Evaluation:
    count = len(nats)
    tokens = np.arange(1, count + 1) * 10.0
    halves = np.stack([tokens / 2, tokens / 2], 1)
    deciles = np.zeros((count, 10))
    deciles[:, :2] = halves
    confidence = np.zeros((count, 15))
    confidence[:, 3] = tokens
    arrays = {
        "index": np.arange(count),
        "domain": np.arange(count) % 2,
        "tokens": tokens,
        "nats": nats * tokens,
        "bytes": tokens * 4,
        "correct": tokens / 4,
        "decile_tokens": deciles,
        "decile_nats": deciles * nats[:, None],
        "position_tokens": halves,
        "position_nats": halves * nats[:, None],
        "confidence_tokens": confidence,
        "confidence_sum": confidence * 0.22,
        "confidence_correct": confidence * 0.3,
    }
    data = EvaluatedData.model_validate({"sha256": "d", "split": "test", "domains": ["law", "news"]} | changes)
    method = EvaluationMethod(context_tokens=8, stride_tokens=4, precision="fp32")
    checkpoint = EvaluatedCheckpoint(name=name, path=f"{name}/checkpoint.pt", sha256=name)
    return Evaluation(loss_comparison.summary(checkpoint, data, method, arrays), arrays)


def test_a_difference_confined_to_one_domain_is_found_there() -> None:
    base = RNG.normal(3, 0.5, 60)
    worse = base + np.where(np.arange(60) % 2 == 1, 0.3, 0.0) + RNG.normal(0, 0.01, 60)
    result = loss_comparison.compare(evaluation("a", worse), evaluation("b", base))
    assert result.verdict == "different"
    law, news = result.domains
    assert (law.name, news.name) == ("law", "news")
    assert abs(law.value) < 0.01
    assert news.value == pytest.approx(0.3, abs=0.01)
    assert (news.p_holm or 0) < 1e-6 < (law.p_holm or 0)
    assert [row.name for row in result.positions] == ["0", "1-2"]
    assert [row.name for row in result.frequency_deciles] == ["1", "2"]
    assert result.calibration_error == {"a": pytest.approx(0.08), "b": pytest.approx(0.08)}
    json_line(result)  # no NaN


def test_exchanging_the_two_changes_the_sign_alone() -> None:
    a, b = (evaluation(name, RNG.normal(3, 0.5, 30)) for name in "ab")
    there, back = loss_comparison.compare(a, b), loss_comparison.compare(b, a)
    assert there.difference_nats.value == pytest.approx(-back.difference_nats.value)
    assert there.difference_nats.low == pytest.approx(-(back.difference_nats.high or 0))
    assert there.p_equivalence == pytest.approx(back.p_equivalence)


def test_what_is_not_comparable_is_refused() -> None:
    nats = np.ones(5)
    with pytest.raises(InputError, match="another split"):
        loss_comparison.compare(evaluation("a", nats), evaluation("b", nats, split="validation"))
    with pytest.raises(InputError, match="another data"):
        loss_comparison.compare(evaluation("a", nats), evaluation("b", nats, sha256="e"))
    with pytest.raises(InputError, match="other documents"):
        loss_comparison.compare(evaluation("a", nats), evaluation("b", np.ones(6)))


def test_files_are_found_beside_the_checkpoint_by_its_hash(tmp_path: Path) -> None:
    stored = evaluation("a", np.ones(5))
    base = tmp_path / "x.test.eval.json"
    assert evaluations.save(stored, tmp_path / "x.test") == base
    assert evaluations.load(base).name == "a"
    assert evaluations.load(base.with_suffix(".npz")).arrays["nats"].tolist() == stored.arrays["nats"].tolist()
    assert len(evaluations.find(tmp_path / "checkpoint.pt")) == 1
    assert len(evaluations.find(tmp_path / "checkpoint.pt", "a")) == 1
    assert evaluations.find(tmp_path / "checkpoint.pt", "other") == []
    base.with_suffix(".npz").write_bytes(b"PK broken")
    with pytest.raises(InputError, match="run `pretrain eval` again"):
        evaluations.load(base)
    base.write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="not of the format"):
        evaluations.load(base)


def test_it_imports_no_torch() -> None:
    code = "import sys, equiloss.loss_comparison; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
