"""As many judgements with AlpacaEval's pairwise annotator: alpaca_peer.py URL ANSWERS CONCURRENCY."""

# pyright: reportMissingImports=false
from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path


def main(url: str, answers: Path, concurrency: int) -> None:
    """Compare every answer with the reference; one request each."""
    os.environ |= {
        "OPENAI_API_BASE": url,
        "OPENAI_BASE_URL": url,
        "OPENAI_API_KEY": "none",
        "OPENAI_MAX_CONCURRENCY": str(concurrency),
        "IS_ALPACA_EVAL_2": "False",
    }
    from alpaca_eval.annotators import PairwiseAnnotator

    rows = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
    pairs = [
        {"instruction": row["instruction"], "output_1": row["reference"], "output_2": row["output"]} for row in rows
    ]
    with tempfile.TemporaryDirectory() as cache:
        annotator = PairwiseAnnotator(annotators_config="alpaca_eval_gpt4", caching_path=f"{cache}/cache.json")
        found = annotator.annotate_pairs(pairs)
    given = sum(one.get("preference") in (1, 2, 1.0, 2.0) for one in found)
    if given < len(rows):
        raise SystemExit(f"only {given} of {len(rows)} pairs were annotated: {found[0]}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
