"""A study as it is written: a TOML file with templates of cells, parameters, and placeholders in braces."""

from __future__ import annotations

import itertools
import math
import posixpath
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field, JsonValue

from equiloss.config import Config, apply_sets, flatten, read_toml, validate
from equiloss.errors import InputError
from study.graph import PROGRAMS, Cell, Study, StudyService, check_outputs, link, matching, order

_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")
_SCHEME = re.compile(r"[a-z]{2,}:(?!/)")
MOST_CELLS = 10_000
"""The most cells that one `foreach` may make."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]*")


class StudyHead(Config):
    """What a study is called, what it prints at its end, and how many cells it runs at once by default."""

    name: str
    description: str = ""
    closing: tuple[str, ...] = ()
    jobs: int | None = Field(default=None, ge=1)


class CellTemplate(Config):
    """One cell, or one for every combination of `foreach`: a command with the files it reads and writes."""

    name: str
    run: str
    foreach: dict[str, JsonValue] = Field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    stdout: str | None = None
    uses: tuple[str, ...] = ()
    resume: str = ""
    clears: tuple[str, ...] = ()
    show: bool = False
    slots: int = Field(default=1, ge=0)


class ServiceTemplate(Config):
    """A server that runs while the cells that use it run; `{port}` is a free port on loopback."""

    name: str
    run: str
    inputs: tuple[str, ...] = ()


class StudyFile(Config):
    """A study's TOML file. `[params]` are values, `[paths]` are paths relative to the file, or hub:NAME, world:NAME."""

    study: StudyHead
    params: dict[str, JsonValue] = Field(default_factory=dict)
    paths: dict[str, str] = Field(default_factory=dict)
    cell: tuple[CellTemplate, ...] = ()
    service: tuple[ServiceTemplate, ...] = ()


class Arguments(tuple[str, ...]):
    """Arguments that stay whole, one by one: paths, never split at white space."""

    __slots__ = ()


Values = Mapping[str, JsonValue | Arguments]
"""What placeholders stand for, by their names; the entries of a table by TABLE.KEY."""


@dataclass(frozen=True)
class StudyPart:
    """A study's file among several that are run as one: `values` join its placeholders, `prefix` its names."""

    path: Path
    file: StudyFile
    values: Values = field(default_factory=dict[str, JsonValue])
    prefix: str = ""
    sets: tuple[str, ...] = ()


def read(path: Path, sets: Sequence[str] = ()) -> Study:
    """Read a study's file, with `sets` (KEY=VALUE) over its `[params]` and `[paths]`, and plan it.

    Raises: InputError for unknown keys and placeholders, equal names, outputs claimed twice, and cycles.
    """
    return assemble([StudyPart(path, validate(StudyFile, read_toml(path), str(path)), sets=tuple(sets))])


def assemble(parts: Sequence[StudyPart]) -> Study:
    """Plan one study from several files; a cell may read what cells of other parts make. The first gives the head.

    Raises: as `read`.
    """
    path, head = parts[0].path, parts[0].file.study
    services: list[StudyService] = []
    drafts: list[tuple[CellTemplate, Values, StudyPart]] = []
    closing: list[str] = []
    for part in parts:
        values = {**values_of(part), **part.values}
        services += [_service(template, values, part) for template in part.file.service]
        values |= {f"{own.name}.port": f"{{{part.prefix}{own.name}.port}}" for own in part.file.service}
        drafts += [(*draft, part) for template in part.file.cell for draft in _expand(template, values, part)]
        closing += [_text(item, values, f"{part.path}: closing") for item in part.file.study.closing]
    if not drafts:
        raise InputError(f"{path}: the study has no cells", "add a [[cell]] with a name and a command")
    for name, count in Counter(
        [*(service.name for service in services), *(template.name for template, _, _ in drafts)]
    ).items():
        if count > 1:
            raise InputError(f"{path}: two cells are called {name!r}", "put every foreach variable in the name")
    maker = check_outputs({template.name: template.outputs for template, _, _ in drafts}, str(path))
    by_name = {service.name: service for service in services}
    cells = [_cell(*draft, maker, by_name) for draft in drafts]
    ordered = order(link(cells, maker), str(path))
    return Study(head.name, head.description, tuple(closing), head.jobs, ordered)


def _expand(template: CellTemplate, values: Values, part: StudyPart) -> Iterator[tuple[CellTemplate, Values]]:
    """One template for each combination of the values in `foreach`, with its name and outputs filled in.

    What it reads comes later, since it may name outputs of any cell.
    """
    where = f"{part.path}: cell {template.name!r}"
    axes = {key: _axis(key, axis, values, where) for key, axis in template.foreach.items()}
    if math.prod(map(len, axes.values())) > MOST_CELLS:
        raise InputError(f"{where}: foreach makes more than {MOST_CELLS:,} cells", "shorten its lists")
    for combination in itertools.product(*axes.values()):
        local = {**values, **flatten(dict(zip(axes, combination, strict=True)))}
        name = part.prefix + _name(_text(template.name, local, where), where)
        stdout = template.stdout and _inside(template.stdout, local, where)
        outputs = [_inside(item, local, where) for item in template.outputs]
        outputs += [stdout] if stdout and stdout not in outputs else []
        clears = tuple(_inside(item, local, where) for item in template.clears)
        filled = {"name": name, "stdout": stdout, "outputs": tuple(outputs), "clears": clears}
        yield template.model_copy(update=filled), local


def _cell(
    template: CellTemplate,
    values: Values,
    part: StudyPart,
    maker: Mapping[str, str],
    services: Mapping[str, StudyService],
) -> Cell:
    where = f"{part.path}: cell {template.name!r}"
    groups = [_resolve(_text(item, values, where), maker, where) for item in template.inputs]
    inputs = tuple(dict.fromkeys(path for group in groups for path in group if not _SCHEME.match(path)))
    values = {**values, "inputs": Arguments(inputs), "outputs": Arguments(template.outputs)}
    values |= {f"inputs.{index}": Arguments(group) for index, group in enumerate(groups)}
    uses = tuple(part.prefix + name for name in template.uses)
    if unknown := sorted(set(uses).difference(services)):
        raise InputError(f"{where}: no service is called {unknown[0]!r}", "add a [[service]] of that name")
    argv, resume = _argv(template.run, values, where), _split(template.resume, values, where)
    kept = template.model_dump(include={"name", "outputs", "stdout", "clears", "show", "slots"})
    return Cell(**kept, argv=argv, inputs=inputs, uses=tuple(services[name] for name in uses), resume=resume)


def values_of(part: StudyPart) -> dict[str, JsonValue | Arguments]:
    """What placeholders may name outside a cell. A path of the file counts from the file, one of yours from you."""
    here = part.path.resolve().parent
    params = dict(part.file.params)
    paths = {key: _located(value, here) for key, value in part.file.paths.items()}
    if both := sorted(set(params) & set(paths)):
        raise InputError(f"{part.path}: {both[0]!r} is in [params] and in [paths]", "rename one")
    given = apply_sets({}, [re.sub(r"^(params|paths)\.", "", text) for text in part.sets])
    for name, new in given.items():
        if name in paths:
            paths[name] = _located(str(new), Path.cwd())
        elif name in params:
            params[name] = new
        else:
            known = ", ".join([*params, *paths])
            raise InputError(
                f"--set {name}: {part.path} has no such parameter", f"it has: {known}" if known else "it has none"
            )
    own = {key: Arguments([value]) for key, value in {**paths, "here": str(here)}.items()}
    return {**flatten(params), **own}


def _located(path: str, base: Path) -> str:
    return path if _SCHEME.match(path) else str((base / Path(path).expanduser()).resolve())


def _service(template: ServiceTemplate, values: Values, part: StudyPart) -> StudyService:
    where = f"{part.path}: service {template.name!r}"
    if "{port}" not in template.run:
        raise InputError(f"{where}: its command does not mention {{port}}", "add for example --port {port}")
    argv = _argv(template.run, {**values, "port": "{port}"}, where)
    inputs = tuple(posixpath.normpath(_text(item, values, where)) for item in template.inputs)
    return StudyService(_name(part.prefix + template.name, where), argv, inputs)


def _name(name: str, where: str) -> str:
    if not _NAME.fullmatch(name):
        raise InputError(f"{where}: {name!r} is no name for a cell or service", "use letters, digits and . _ = + -")
    return name


def _axis(key: str, axis: JsonValue | Arguments, values: Values, where: str) -> Sequence[JsonValue]:
    """The values of a `foreach` entry: a list, a count (0 to N-1), or the name of a parameter that is one of these."""
    if isinstance(axis, str):
        if axis not in values:
            raise InputError(
                f"{where}: foreach.{key} names no parameter {axis!r}", "give a list, or add it to [params]"
            )
        axis = values[axis]
    if isinstance(axis, int) and not isinstance(axis, bool) and 1 <= axis <= MOST_CELLS:
        return list(range(axis))
    if isinstance(axis, list) and axis:
        return axis
    raise InputError(f"{where}: foreach.{key} is {axis!r}", "give a list of values, a count, or a parameter's name")


def _resolve(item: str, maker: Mapping[str, str], where: str) -> list[str]:
    if _SCHEME.match(item):
        return [item]
    item = posixpath.normpath(item)
    if not any(character in item for character in "*?["):
        return [item]
    if not (paths := matching(item, maker)):
        raise InputError(f"{where}: no cell writes anything like {item}", "check the pattern against the outputs")
    return paths


def _argv(command: str, values: Values, where: str) -> tuple[str, ...]:
    argv = _split(command, values, where)
    if not argv or argv[0] not in PROGRAMS:
        raise InputError(
            f"{where}: cannot run {argv[0] if argv else 'nothing'!r}", f"a command starts with {', '.join(PROGRAMS)}"
        )
    return argv


def _split(command: str, values: Values, where: str) -> tuple[str, ...]:
    """Split a command into arguments and fill in its placeholders.

    An argument that is one placeholder and nothing else becomes as many arguments as its value has words.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise InputError(f"{where}: {command!r}: {error}", "mend the quotes") from None
    argv: list[str] = []
    for word in words:
        whole = _PLACEHOLDER.fullmatch(word)
        if whole and whole[1] is not None:
            value = _look_up(whole[1], values, where)
            argv += value if isinstance(value, Arguments) else shlex.split(_written(value))
        else:
            argv.append(_text(word, values, where))
    return tuple(argv)


def _text(template: str, values: Values, where: str) -> str:
    """A text with its `{name}` filled in; `{{` and `}}` are braces."""

    def fill(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0][0]
        return _written(_look_up(match[1], values, where))

    return _PLACEHOLDER.sub(fill, template)


def _look_up(name: str, values: Values, where: str) -> JsonValue | Arguments:
    if name in values:
        return values[name]
    if any(key.startswith(f"{name}.") for key in values):
        raise InputError(f"{where}: {{{name}}} is a table", f"name a key of it: {{{name}.KEY}}")
    known = ", ".join(sorted(values))
    raise InputError(f"{where}: nothing is called {{{name}}}", f"known: {known}; a brace itself is {{{{")


def _written(value: JsonValue | Arguments) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return " ".join(_written(item) for item in value)
    return str(value)


def _inside(template: str, values: Values, where: str) -> str:
    """The path of an output, or of what a cell clears, which must lie in the study's directory."""
    path = _text(template, values, where)
    normal = posixpath.normpath(path)
    if normal in (".", "..") or normal.startswith(("../", "/")) or "\0" in normal:
        raise InputError(f"{where}: {path!r} is not inside the study's directory", "use a relative path")
    if normal.split("/")[0] in (".study", "logs"):
        raise InputError(f"{where}: {path!r} is where the study keeps its own files", "use another path")
    return normal
