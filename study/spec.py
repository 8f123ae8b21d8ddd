"""A study as it is written: a TOML file with templates of cells, parameters, and placeholders in braces."""

from __future__ import annotations

import itertools
import posixpath
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from pydantic import Field

from equiloss.config import Config, apply_sets, read_toml, validate
from equiloss.errors import InputError
from study.graph import PROGRAMS, Cell, Service, Study, check_outputs, link, matching, order

_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")
_SCHEME = re.compile(r"[a-z]{2,}:(?!/)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]*")


class Head(Config):
    """What a study is called, what it prints at its end, and how many cells it runs at once unless told."""

    name: str
    description: str = ""
    closing: tuple[str, ...] = ()
    jobs: int | None = Field(default=None, ge=1)


class CellTemplate(Config):
    """One cell, or one for every combination of `foreach`: a command with the files it reads and writes."""

    name: str
    run: str
    foreach: dict[str, Any] = Field(default_factory=dict)
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

    study: Head
    params: dict[str, Any] = Field(default_factory=dict)
    paths: dict[str, str] = Field(default_factory=dict)
    cell: tuple[CellTemplate, ...] = ()
    service: tuple[ServiceTemplate, ...] = ()


class _Words(tuple[str, ...]):
    """Arguments that stay whole, one by one: paths, never split at white space."""

    __slots__ = ()


def read(path: Path, sets: Sequence[str] = ()) -> Study:
    """Read a study's file, with `sets` (KEY=VALUE) over its `[params]` and `[paths]`, and plan it.

    Raises: InputError for unknown keys and placeholders, equal names, outputs claimed twice, and cycles.
    """
    return assemble([Part(path, read_toml(path), sets=tuple(sets))])


@dataclass(frozen=True)
class Part:
    """A study's document among several that are run as one: `values` join its placeholders, `prefix` its names."""

    path: Path
    document: dict[str, Any]
    values: dict[str, Any] = field(default_factory=dict[str, Any])
    prefix: str = ""
    sets: tuple[str, ...] = ()


def assemble(parts: Sequence[Part]) -> Study:
    """Plan one study from several documents; a cell may read what cells of other parts make. The first gives the head.

    Raises: as `read`.
    """
    heads: list[Head] = []
    closing: tuple[str, ...] = ()
    services: list[Service] = []
    drafts: list[tuple[Cell, CellTemplate, dict[str, Any], Path]] = []
    for part in parts:
        file = validate(StudyFile, part.document, str(part.path))
        values = {**_values(file, part.sets, part.path), **part.values}
        own = [_service(template, values, part.path) for template in file.service]
        values |= {one.name: {"port": f"{{{part.prefix}{one.name}.port}}"} for one in own}
        services += [replace(one, name=part.prefix + one.name) for one in own]
        for template in file.cell:
            prefixed = template.model_copy(update={"uses": tuple(part.prefix + name for name in template.uses)})
            for cell, _, local in _drafts(template, values, part.path):
                drafts.append((replace(cell, name=part.prefix + cell.name), prefixed, local, part.path))
        heads.append(file.study)
        closing += tuple(_text(item, values, f"{part.path}: closing") for item in file.study.closing)
    path, head = parts[0].path, heads[0]
    if not drafts:
        raise InputError(f"{path}: the study has no cells", "add a [[cell]] with a name and a command")
    _refuse_doubles([*(service.name for service in services), *(draft[0].name for draft in drafts)], path)
    maker = check_outputs({draft[0].name: draft[0].outputs for draft in drafts}, str(path))
    names = {service.name for service in services}
    cells = [_fill(cell, template, local, maker, names, where) for cell, template, local, where in drafts]
    ordered = order(link(cells, services, maker), str(path))
    return Study(head.name, head.description, closing, head.jobs, ordered, tuple(services))


def _values(file: StudyFile, sets: Sequence[str], path: Path) -> dict[str, Any]:
    """What placeholders may name outside a cell. A path of the file counts from the file, one of yours from you."""
    here = path.resolve().parent
    paths = {key: _located(value, here) for key, value in file.paths.items()}
    params = dict(file.params)
    both = sorted(set(params) & set(paths))
    if both:
        raise InputError(f"{path}: {both[0]!r} is in [params] and in [paths]", "rename one")
    given = apply_sets({}, sets)
    for section in ("params", "paths"):
        inner: Any = given.pop(section, {})
        given |= cast("dict[str, Any]", inner) if isinstance(inner, dict) else {section: inner}
    for name, new in given.items():
        if name in paths:
            paths[name] = _located(str(new), Path.cwd())
        elif name in params:
            params[name] = new
        else:
            known = ", ".join([*params, *paths])
            raise InputError(
                f"--set {name}: {path} has no such parameter", f"it has: {known}" if known else "it has none"
            )
    return {**params, **{key: _Words([value]) for key, value in paths.items()}, "here": _Words([str(here)])}


def _located(path: str, base: Path) -> str:
    return path if _SCHEME.match(path) else str((base / Path(path).expanduser()).resolve())


def _service(template: ServiceTemplate, values: Mapping[str, Any], path: Path) -> Service:
    where = f"{path}: service {template.name!r}"
    if not _NAME.fullmatch(template.name):
        raise InputError(f"{where}: that is no name for a service", "use letters, digits and . _ = + -")
    if "{port}" not in template.run:
        raise InputError(f"{where}: its command does not mention {{port}}", "add for example --port {port}")
    argv = _argv(template.run, {**values, "port": "{port}"}, where)
    return Service(template.name, argv, tuple(_normal(_text(item, values, where)) for item in template.inputs))


def _drafts(
    template: CellTemplate, values: Mapping[str, Any], path: Path
) -> Iterator[tuple[Cell, CellTemplate, dict[str, Any]]]:
    """The cells of a template with their names and outputs; inputs may name outputs of any cell, so they come later."""
    where = f"{path}: cell {template.name!r}"
    axes = {key: _axis(key, axis, values, where) for key, axis in template.foreach.items()}
    for combination in itertools.product(*axes.values()):
        local = {**values, **dict(zip(axes, combination, strict=True))}
        name = _text(template.name, local, where)
        if not _NAME.fullmatch(name):
            raise InputError(f"{where}: {name!r} is no name for a cell", "use letters, digits and . _ = + -")
        outputs = [_inside(_text(item, local, where), where) for item in template.outputs]
        stdout = _inside(_text(template.stdout, local, where), where) if template.stdout else None
        if stdout and stdout not in outputs:
            outputs.append(stdout)
        clears = tuple(_inside(_text(item, local, where), where) for item in template.clears)
        yield Cell(name, (), outputs=tuple(outputs), stdout=stdout, clears=clears), template, local


def _axis(key: str, axis: Any, values: Mapping[str, Any], where: str) -> list[Any]:
    """The values of a `foreach` entry: a list, a count (0 to N-1), or the name of a parameter that is one of these."""
    if isinstance(axis, str):
        if axis not in values:
            raise InputError(
                f"{where}: foreach.{key} names no parameter {axis!r}", "give a list, or add it to [params]"
            )
        axis = values[axis]
    if isinstance(axis, int) and not isinstance(axis, bool) and axis >= 1:
        return list(range(axis))
    if isinstance(axis, list) and axis:
        return cast("list[Any]", axis)
    raise InputError(f"{where}: foreach.{key} is {axis!r}", "give a list of values, a count, or a parameter's name")


def _fill(
    cell: Cell,
    template: CellTemplate,
    local: Mapping[str, Any],
    maker: Mapping[str, str],
    services: set[str],
    path: Path,
) -> Cell:
    where = f"{path}: cell {cell.name!r}"
    groups = [_resolve(_text(item, local, where), maker, where) for item in template.inputs]
    inputs = tuple(dict.fromkeys(path for group in groups for path in group if not _SCHEME.match(path)))
    files = {"inputs": _Words(inputs), "outputs": _Words(cell.outputs)}
    files |= {f"inputs.{index}": _Words(group) for index, group in enumerate(groups)}
    unknown = sorted(set(template.uses) - services)
    if unknown:
        raise InputError(f"{where}: no service is called {unknown[0]!r}", "add a [[service]] of that name")
    return replace(
        cell,
        argv=_argv(template.run, {**local, **files}, where),
        inputs=inputs,
        uses=template.uses,
        resume=_split(template.resume, {**local, **files}, where),
        show=template.show,
        slots=template.slots,
    )


def _resolve(item: str, maker: Mapping[str, str], where: str) -> list[str]:
    if _SCHEME.match(item):
        return [item]
    item = _normal(item)
    if not any(character in item for character in "*?["):
        return [item]
    found = matching(item, maker)
    if not found:
        raise InputError(f"{where}: no cell writes anything like {item}", "check the pattern against the outputs")
    return found


def _argv(command: str, values: Mapping[str, Any], where: str) -> tuple[str, ...]:
    argv = _split(command, values, where)
    if not argv or argv[0] not in PROGRAMS:
        raise InputError(
            f"{where}: cannot run {argv[0] if argv else 'nothing'!r}", f"a command starts with {', '.join(PROGRAMS)}"
        )
    return argv


def _split(command: str, values: Mapping[str, Any], where: str) -> tuple[str, ...]:
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
            argv += value if isinstance(value, _Words) else shlex.split(_written(value))
        else:
            argv.append(_text(word, values, where))
    return tuple(argv)


def _text(template: str, values: Mapping[str, Any], where: str) -> str:
    """A text with its `{name}` filled in; `{{` and `}}` are braces."""

    def fill(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0][0]
        return _written(_look_up(match[1], values, where))

    return _PLACEHOLDER.sub(fill, template)


def _look_up(name: str, values: Mapping[str, Any], where: str) -> Any:
    if name in values:
        value = values[name]
    else:
        table, _, key = name.partition(".")
        inner: Any = values.get(table)
        if not isinstance(inner, dict) or key not in inner:
            known = ", ".join(sorted(values))
            raise InputError(f"{where}: nothing is called {{{name}}}", f"known: {known}; a brace itself is {{{{")
        value = cast("dict[str, Any]", inner)[key]
    if isinstance(value, dict):
        raise InputError(f"{where}: {{{name}}} is a table", f"name a key of it: {{{name}.KEY}}")
    return value


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return " ".join(_written(item) for item in cast("Sequence[Any]", value))
    return str(value)


def _normal(path: str) -> str:
    return posixpath.normpath(path)


def _inside(path: str, where: str) -> str:
    """The path of an output, or of what a cell clears, which must lie in the study's directory."""
    normal = _normal(path)
    if normal == "." or normal.startswith(("../", "/")) or normal == "..":
        raise InputError(f"{where}: {path!r} is not inside the study's directory", "use a relative path")
    return normal


def _refuse_doubles(names: Sequence[str], path: Path) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"{path}: two cells are called {name!r}", "put every foreach variable in the name")
        seen.add(name)
