"""How the offline reference judge's formula was chosen, and what it is worth: against GPT-4's published scores.

    python benchmarks/offline_judge.py ../shared/data/judged

Candidates are combinations of RapidFuzz's similarities, an exact match of the words, and a penalty for other numbers.
They are compared by Spearman's correlation with GPT-4's scores of two models' answers to 100 items. Because the best
of many candidates looks better than it is, the choice itself is cross-validated over items: in each of ten folds the
best candidate of the other nine is taken. Intervals are bootstrapped over items.
"""

from __future__ import annotations

import json
import re
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz
from rapidfuzz.distance import JaroWinkler, Levenshtein
from scipy.stats import spearmanr

HERE = Path(__file__).resolve().parent
sys.path[:] = [one for one in sys.path if Path(one or ".").resolve() != HERE]  # judge.py there is no `judge` to import

from judge.data.reference import agreement  # noqa: E402

Scores = NDArray[np.float64]  # (2, I): model, item


def main(directory: Path) -> None:
    """Print the comparison."""
    items = json.loads((directory / "two-models-100.json").read_text(encoding="utf-8"))
    gpt4 = np.array([json.loads((directory / f"gpt4-model-{m}.scores.json").read_text()) for m in (1, 2)], dtype=float)
    llama = np.array(json.loads((directory / "llama3-8b-model-1.scores.json").read_text()), dtype=float)
    candidates = all_candidates(items)
    ranked = sorted(candidates, key=lambda name: -rho(candidates[name], gpt4))
    for name in ranked[:8]:
        print(f"  {rho(candidates[name], gpt4):.3f}  {name}")
    shipped = table(items, agreement)
    low, high = interval(shipped, gpt4)
    print(f"shipped formula: Spearman {rho(shipped, gpt4):.3f}, 95 % interval {low:.3f} to {high:.3f}")
    print(f"choice cross-validated over items: {cross_validated(candidates, gpt4):.3f}")
    edit = candidates["ratio"]
    print(f"plain edit similarity: {rho(edit, gpt4):.3f}; Llama 3 8B, first model: {rho(llama, gpt4[0]):.3f}")


def all_candidates(items: list[dict[str, Any]]) -> dict[str, Scores]:
    """Single similarities and means of two, each with and without the penalty for numbers."""
    single = {
        "exact": table(items, lambda a, b: float(words(a) == words(b))),
        "ratio": table(items, lambda a, b: fuzz.ratio(a.lower(), b.lower()) / 100),
        "token_sort": table(items, lambda a, b: fuzz.token_sort_ratio(a.lower(), b.lower()) / 100),
        "token_set": table(items, lambda a, b: fuzz.token_set_ratio(a.lower(), b.lower()) / 100),
        "partial": table(items, lambda a, b: fuzz.partial_ratio(a.lower(), b.lower()) / 100),
        "Levenshtein": table(items, lambda a, b: Levenshtein.normalized_similarity(a.lower(), b.lower())),
        "words' Levenshtein": table(items, lambda a, b: Levenshtein.normalized_similarity(words(a), words(b))),
        "Jaro-Winkler": table(items, lambda a, b: JaroWinkler.normalized_similarity(a.lower(), b.lower())),
    }
    mixed = single | {f"{a} + {b}": (single[a] + single[b]) / 2 for a, b in combinations(single, 2)}
    penalty = table(items, lambda a, b: 0.5 if numbers(b) and numbers(a) != numbers(b) else 1.0)
    return mixed | {f"({name}) x numbers": values * penalty for name, values in mixed.items()}


def table(items: list[dict[str, Any]], score: Any) -> Scores:
    """A similarity of both models' answers to the references, (2, I)."""
    rows = [[score(one[f"model {m} response"].strip(), one["output"]) for one in items] for m in (1, 2)]
    return np.array(rows, dtype=float)


def words(text: str) -> list[str]:
    """Lower-cased words."""
    return re.findall(r"\w+", text.lower())


def numbers(text: str) -> set[float]:
    """Numbers written in digits."""
    return {float(one) for one in re.findall(r"\d+(?:\.\d+)?", text.replace(",", ""))}


def rho(a: Scores, b: Scores) -> float:
    """Spearman's correlation over all answers."""
    return float(spearmanr(a.ravel(), b.ravel())[0])


def interval(a: Scores, b: Scores, draws: int = 2000) -> tuple[float, float]:
    """A 95 % bootstrap interval over items."""
    rng = np.random.default_rng(0)
    places = [rng.integers(0, a.shape[1], a.shape[1]) for _ in range(draws)]
    low, high = np.percentile([rho(a[:, one], b[:, one]) for one in places], [2.5, 97.5])
    return float(low), float(high)


def cross_validated(candidates: dict[str, Scores], gpt4: Scores, folds: int = 10, rounds: int = 20) -> float:
    """Mean correlation of what is predicted for held-out items by the candidate that was best on the others."""
    found: list[float] = []
    for round_ in range(rounds):
        order = np.random.default_rng(round_).permutation(gpt4.shape[1])
        predicted = np.empty_like(gpt4)
        for fold in range(folds):
            held = order[fold::folds]
            rest = np.setdiff1d(order, held)
            best = max(candidates, key=lambda name: rho(candidates[name][:, rest], gpt4[:, rest]))
            predicted[:, held] = candidates[best][:, held]
        found.append(rho(predicted, gpt4))
    return float(np.mean(found))


if __name__ == "__main__":
    where = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data/judged")
    if where.is_dir():
        main(where)
    else:
        print(f"skipped: {where} is not there")
