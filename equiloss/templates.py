"""The `prompts/` directory: where it is, what it holds, and a sandbox to render its templates in."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equiloss import numerals
from equiloss.errors import InputError

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment


NUMERALS = {
    form.__name__: form
    for form in (
        numerals.interval,
        numerals.number,
        numerals.p_equals,
        numerals.p_value,
        numerals.percent,
        numerals.plain,
        numerals.span,
        numerals.usd,
    )
}
"""How a report's templates write numbers."""


@cache
def prompts_directory() -> Path:
    """`prompts/` as it is in this installation: inside the wheel, or at the root of the checkout."""
    here = Path(__file__).resolve().parent
    for candidate in (here / "_prompts", here.parent / "prompts"):
        if candidate.is_dir():
            return candidate
    raise InputError("the prompt templates are missing from this installation", "reinstall equiloss")


def names(kind: str) -> list[str]:
    """The shipped templates of a kind ("ift", "judge", "report"), by name, sorted."""
    return sorted(path.stem for path in (prompts_directory() / kind).glob("*.j2"))


def source(kind: str, name: str) -> str:
    """The text of a template: a shipped one by its name, or a user's by its path.

    Raises: InputError when there is none, naming those that there are.
    """
    path = prompts_directory() / kind / f"{name}.j2"
    if "/" in name or name.endswith(".j2"):
        path = Path(name)
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        raise InputError(
            f"no template {name!r} for {kind}", f"known: {', '.join(names(kind))}; or give a path"
        ) from None


@cache
def environment(autoescape: bool = False) -> SandboxedEnvironment:
    """A jinja2 sandbox in which an undefined name is an error and white space stays as written."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        autoescape=autoescape,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def report_page(name: str, **values: Any) -> str:
    """Render a template of `prompts/report/` with escaping on; it may call the functions of `equiloss.numerals`.

    Raises: InputError when there is no such template.
    """
    return environment(autoescape=True).from_string(source("report", name)).render(**NUMERALS, **values)


def report_text(name: str, **values: Any) -> str:
    """Render a template of `prompts/report/` that is plain text; else as `report_page`."""
    return render(source("report", name), f"report/{name}", **NUMERALS, **values)


def render(template: str, where: str, **values: Any) -> str:
    """Render a template's text with `values`; `where` names it in errors.

    Raises: InputError for a syntax error, an unknown name, or anything the sandbox refuses.
    """
    from jinja2 import TemplateError

    try:
        return environment().from_string(template).render(**values)
    except TemplateError as error:
        raise InputError(f"template {where}: {error.message or error}", "mend the template") from None
