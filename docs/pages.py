"""Pages made when the site is built: README and its kin, every command's help, and a page of API for each room.

A hook of mkdocs (see mkdocs.yml). A package's folders are its rooms; the modules of a folder inside a room are on that
room's page. The `cli` rooms have no API page: their functions are the commands, whose help is the page `commands.md`.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.main import get_command

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("equiloss", "pretrain", "ift", "judge", "study")
PROGRAMS = ("pretrain", "ift", "judge", "study")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the decisions and the API pages into the navigation."""
    decisions = sorted(f"decisions/{path.name}" for path in (ROOT / "docs" / "decisions").glob("*.md"))
    api = [{f"API: {package}": [{name: page} for name, page, _ in rooms(package)]} for package in PACKAGES]
    config.nav = [*(config.nav or []), {"Decisions": decisions}, *api]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that no file of docs/ holds."""
    made = {
        "index.md": moved((ROOT / "README.md").read_text(encoding="utf-8")),
        "contributing.md": moved((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")),
        "changelog.md": moved((ROOT / "CHANGELOG.md").read_text(encoding="utf-8")),
        "commands.md": commands(),
    }
    for package in PACKAGES:
        made |= {
            page: f"# {name}\n\n" + "\n".join(f"::: {m}\n" for m in modules) for name, page, modules in rooms(package)
        }
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    return files


def moved(text: str) -> str:
    """A page of the repository's root with its links as they are from docs/."""
    text = text.replace("](docs/decisions/)", "](decisions/fine-tuning.md)").replace("](docs/", "](")
    return re.sub(r"\]\((README|CONTRIBUTING|CHANGELOG)\.md", lambda found: f"]({PAGE_OF[found[1]]}", text)


PAGE_OF = {"README": "index.md", "CONTRIBUTING": "contributing.md", "CHANGELOG": "changelog.md"}


def rooms(package: str) -> list[tuple[str, str, list[str]]]:
    """(name, page, modules) of each room of a package; the first is the package's own modules."""
    folder = ROOT / package
    folders = sorted(path.parent for path in folder.glob("*/__init__.py") if path.parent.name != "cli")
    own = (package, f"api/{package}/index.md", modules_in(folder, nested=False))
    named = [(f"{package}.{path.name}", f"api/{package}/{path.name}.md", path) for path in folders]
    return [own, *((name, page, modules_in(path, nested=True)) for name, page, path in named)]


def modules_in(folder: Path, nested: bool) -> list[str]:
    """The dotted names of a folder's modules, the package itself first, without `__main__`."""
    paths = sorted(folder.glob("**/*.py" if nested else "*.py"), key=lambda path: (path.parent, path.stem))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths if path.stem != "__main__"]
    return [name.removesuffix(".__init__") for name in names]


def commands() -> str:
    """The help of every program and command, as it is printed."""
    parts = ["# Commands", "The help of each program, as `--help` prints it."]
    for program in PROGRAMS:
        main = importlib.import_module(f"{program}.cli.main")
        parts += helped(get_command(main.program), program, 2)
    return "\n\n".join(parts) + "\n"


def helped(command: Any, path: str, level: int) -> list[str]:
    """A heading and the help of a command, and of the commands below it."""
    context = command.context_class(command, info_name=path, max_content_width=100, terminal_width=100)
    parts = [f"{'#' * level} {path}", f"```text\n{command.get_help(context)}\n```"]
    for name, inner in getattr(command, "commands", {}).items():
        parts += helped(inner, f"{path} {name}", 3)
    return parts
