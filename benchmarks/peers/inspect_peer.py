"""The same judgements with Inspect's model_graded_qa: inspect_peer.py URL ANSWERS CONCURRENCY."""

# pyright: reportMissingImports=false
from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any


def main(url: str, answers: Path, concurrency: int) -> None:
    """Grade every answer of a results file; the answers are given, only the grader is asked."""
    os.environ |= {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "none", "INSPECT_DISPLAY": "none"}
    from inspect_ai import Task, eval
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ModelOutput
    from inspect_ai.scorer import model_graded_qa
    from inspect_ai.solver import solver

    rows = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]

    @solver
    def given() -> Any:
        async def solve(state: Any, generate: Any) -> Any:  # noqa: ARG001
            state.output = ModelOutput.from_content("given", state.metadata["answer"])
            return state

        return solve

    samples = [
        Sample(input=row["instruction"], target=row["reference"], metadata={"answer": row["output"]}) for row in rows
    ]
    task = Task(dataset=samples, solver=given(), scorer=model_graded_qa(model="openai-api/sim/simulated"))
    os.environ |= {"SIM_BASE_URL": url, "SIM_API_KEY": "none"}
    with tempfile.TemporaryDirectory() as logs:
        log = eval(
            task, model="mockllm/model", max_connections=concurrency, max_samples=concurrency, log_dir=logs,
            display="none",
        )[0]  # fmt: skip
    if log.status != "success":
        raise SystemExit(f"Inspect ended with {log.status}: {log.error}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
