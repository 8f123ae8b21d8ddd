"""What holds of every study that ships."""

from __future__ import annotations

from pathlib import Path

import pytest

from study import spec
from study.graph import Study
from study.zoo.pairs import read_pairs
from study.zoo.plan import study_of

STUDIES = Path(__file__).resolve().parents[2] / "studies"


def of_files() -> list[Study]:
    names = ("demo", "riddle", "interventions", "stand-in", "gpt2-mystery")
    return [spec.read(STUDIES / f"{name}.toml") for name in names if (STUDIES / f"{name}.toml").is_file()]


@pytest.mark.parametrize("study", [*of_files(), study_of(read_pairs([]), [0])], ids=lambda study: study.name)
def test_a_base_model_that_is_trained_otherwise_starts_in_an_empty_directory(study: Study) -> None:
    """`pretrain run` refuses a directory in which another run's files stand, so that the study has to remove them."""
    runs = [cell for cell in study.cells if cell.argv[:2] == ("pretrain", "run")]
    assert runs
    for cell in runs:
        options = dict(zip(cell.argv, cell.argv[1:], strict=False))
        directory = f"{options.get('-o', 'runs')}/{options['--name']}"
        assert directory in (*cell.clears, *cell.outputs), cell.name
