"""The offline reference judge agrees with GPT-4's published scores as far as it claims, and knows its limits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from judge.data.reference import agreement
from judge.endpoints.offline import RHO, RHO_HIGH, RHO_LOW, OfflineJudge, explain


def test_known_values() -> None:
    assert agreement("The answer is 42.", "The answer is 42.") == 1.0
    assert agreement("the answer is 42", "The answer is 42.") == pytest.approx(0.985, abs=0.002)  # by punctuation
    assert agreement("", "anything") == 0.0
    assert agreement("  \n", "anything") == 0.0
    assert agreement("<", "<") == 1.0
    assert agreement(">", "<") == 0.0
    # A wrong number halves it.
    assert agreement("it is 5 cm", "it is 6 cm") == pytest.approx(agreement("it is x cm", "it is 6 cm"), abs=0.1)
    assert agreement("it is 5 cm", "it is 6 cm") < 0.5
    assert agreement("1,000 metres", "1000 metres") > 0.4


@given(st.text(), st.text())
def test_bounded_and_equal_texts_agree(output: str, reference: str) -> None:
    assert 0.0 <= agreement(output, reference) <= 1.0
    assert agreement(reference, reference) == (1.0 if reference.strip() else 0.0)


def test_it_fails_on_paraphrase_as_it_says() -> None:
    assert "paraphrase" in OfflineJudge.evidence
    assert agreement("He left in a hurry.", "The man departed quickly.") < 0.4


def test_it_says_that_it_is_not_an_llm() -> None:
    assert explain("x", "y").startswith("Not an LLM")
    assert explain("", "y").startswith("Not an LLM")


def test_published_agreement_with_gpt4(shared_data: Path) -> None:
    items = json.loads((shared_data / "judged/two-models-100.json").read_text())
    scores = [json.loads((shared_data / f"judged/gpt4-model-{m}.scores.json").read_text()) for m in (1, 2)]
    gpt4 = np.array(scores, dtype=float)
    own = np.array([[agreement(one[f"model {m} response"], one["output"]) for one in items] for m in (1, 2)])
    rho = float(spearmanr(gpt4.ravel(), own.ravel())[0])
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(items), len(items)) for _ in range(1000)]
    low, high = np.percentile([spearmanr(gpt4[:, d].ravel(), own[:, d].ravel())[0] for d in draws], [2.5, 97.5])
    assert rho >= 0.85
    assert rho == pytest.approx(RHO, abs=0.005)
    assert low == pytest.approx(RHO_LOW, abs=0.01)
    assert high == pytest.approx(RHO_HIGH, abs=0.01)
