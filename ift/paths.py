"""Where the files of a run or of answers alone are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from equiloss.errors import InputError
from equiloss.files import child, claim, sha256_file
from equiloss.records.ift_run import RunRecord


@dataclass(frozen=True)
class RunPaths:
    """The files of the run `name`. `models` has a directory for the fine-tuned model, and for what a kill leaves."""

    name: str
    results: Path
    models: Path

    @property
    def responses(self) -> Path:
        """The answers, results/NAME.jsonl. Raises: InputError for a name that leaves the folder."""
        return child(self.results, f"{self.name}.jsonl")

    def epoch(self, number: int) -> Path:
        """The answers of an epoch's weights, results/NAME.eNUMBER.jsonl."""
        return child(self.results, f"{self.name}.e{number}.jsonl")

    @property
    def record(self) -> Path:
        """The record, results/NAME.run.json; written last: a run is done when it is there."""
        return child(self.results, f"{self.name}.run.json")

    @property
    def model(self) -> Path:
        """The fine-tuned model's directory."""
        return child(self.models, self.name)

    @property
    def state(self) -> Path:
        """The last finished epoch, while the run is under way."""
        return self.model / "state.pt"

    @property
    def answers(self) -> Path:
        """The finished answers, while the run is under way."""
        return self.model / "answers.jsonl"

    def answered(self, record: RunRecord) -> bool:
        """Whether the answers that a record is about are there.

        Raises: InputError when other answers are there.
        """
        if not self.responses.exists():
            return False
        wanted = record.files.responses_sha256
        if wanted is not None and sha256_file(self.responses) != wanted:
            raise InputError(
                f"{self.responses} was changed since {self.record} was written",
                "delete it to have it written again, or choose another --name",
            )
        return True

    def claim(self, known: RunRecord | None, unfinished: bool) -> None:
        """Refuse to begin where answers stand that are neither `known` nor of an `unfinished` run of this name.

        Raises: InputError naming the file.
        """
        claim(self.responses, known is not None or unfinished, "choose another --name, or move that file away")


def name_of(model: Path) -> str:
    """A run's name from a model's path: runs/first/checkpoint.pt is first."""
    if model.name in ("checkpoint.pt", "model.safetensors"):
        return model.resolve().parent.name
    return model.stem if model.suffix in (".pt", ".pth", ".gguf") else model.resolve().name
