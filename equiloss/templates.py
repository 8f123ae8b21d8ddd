"""The `prompts/` directory: where it is, what it holds, and a sandbox to render its templates in."""

from __future__ import annotations

import hashlib
import re
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from equiloss import numerals
from equiloss.errors import InputError
from equiloss.files import made_for, read_text

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.sandbox import SandboxedEnvironment


LARGEST = 1_000_000
"""The longest text that an operator of a template may make, and the largest base of a power."""
LONGEST_S = 5.0
"""How long a template may take."""
MOST_BYTES = 100 * 2**20
"""How much memory a template may take, where the system can hold it to that (Linux)."""
PADDING = ("center", "ljust", "rjust", "zfill", "expandtabs", "format", "format_map")
"""What makes a long text of a short one."""
WIDE = re.compile(r"\d{4}|\*|\{[^{}]*\{")
"""A width in a format that is large, or comes from elsewhere."""

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
    if not path.is_file():
        raise InputError(f"no template {name!r} for {kind}", f"known: {', '.join(names(kind))}; or give a path")
    return read_text(path)


def sha256(text: str) -> str:
    """SHA-256 of a template's text: what records say."""
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def environment(autoescape: bool = False) -> SandboxedEnvironment:
    """A jinja2 sandbox in which an undefined name is an error and white space stays as written."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class BoundedEnvironment(ImmutableSandboxedEnvironment):
        """A sandbox whose operators make nothing large, however short the template."""

        intercepted_binops = frozenset(("*", "**", "%"))

        @override
        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            for value, count in ((left, right), (right, left)):
                sized = hasattr(value, "__len__") and isinstance(count, int) and operator == "*"
                wide = operator == "%" and isinstance(value, str) and WIDE.search(value)
                if wide or (sized and len(value) * count > LARGEST):
                    raise ValueError("a text this long is not made by a template")
            if operator == "**" and not (abs(left) <= LARGEST and abs(right) <= 16):
                raise ValueError("a number this large is not made by a template")
            return super().call_binop(context, operator, left, right)

        @override
        def wrap_str_format(self, value: Any) -> Any:
            if getattr(value, "__name__", "") in PADDING and WIDE.search(str(getattr(value, "__self__", ""))):
                raise ValueError("a text this long is not made by a template")
            return super().wrap_str_format(value)

        @override
        def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
            return attr not in PADDING and super().is_safe_attribute(obj, attr, value)

    made = BoundedEnvironment(
        undefined=StrictUndefined,
        autoescape=autoescape,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters = {name: filter for name, filter in made.filters.items() if name not in PADDING}  # pyright: ignore
    return made


def report_page(name: str, **values: Any) -> str:
    """Render a template of `prompts/report/` with escaping on; it may call the functions of `equiloss.numerals`.

    Raises: InputError when there is no such template.
    """
    return (
        environment(autoescape=True)
        .from_string(source("report", name))
        .render(made_for=made_for.get(), **NUMERALS, **values)
    )


def report_text(name: str, **values: Any) -> str:
    """Render a template of `prompts/report/` that is plain text; else as `report_page`."""
    return render(source("report", name), f"report/{name}", **NUMERALS, **values)


def render(template: str, where: str, **values: Any) -> str:
    """Render a template's text with `values`; `where` names it in errors.

    Raises: InputError for a syntax error, an unknown name, anything the sandbox refuses or a value does not allow, and
    for what takes longer than LONGEST_S.
    """
    return render_in(environment(), template, where, **values)


def render_in(chosen: SandboxedEnvironment, template: str, where: str, **values: Any) -> str:
    """As `render`, in an environment of one's own."""
    try:
        with limits():
            return _compiled(chosen, template).render(**values)
    except TimeoutError:
        raise InputError(f"template {where}: takes longer than {LONGEST_S:g} s", "mend its loops") from None
    except MemoryError:
        raise InputError(f"template {where}: takes more than {MOST_BYTES >> 20} MiB", "mend what it repeats") from None
    except Exception as error:  # a template can raise whatever its expressions do
        why = getattr(error, "message", None) or str(error) or type(error).__name__
        raise InputError(f"template {where}: {' '.join(str(why).split())[:200]}", "mend the template") from None


@lru_cache(maxsize=64)
def _compiled(chosen: SandboxedEnvironment, template: str) -> Template:
    """A template is compiled once, not for every item that it is rendered with: that took longer than all rendering."""
    return chosen.from_string(template)


@contextmanager
def limits() -> Generator[None]:
    """Raise TimeoutError in the body after LONGEST_S, MemoryError beyond MOST_BYTES; only in the main thread."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    timer = signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
    try:
        with _memory_limit():
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _memory_limit() -> Generator[None]:
    size = Path("/proc/self/statm")
    if not size.is_file():
        yield
        return
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)
    used = int(size.read_text().split()[0]) * resource.getpagesize()
    most = used + MOST_BYTES
    if limit[0] != resource.RLIM_INFINITY:
        most = min(most, limit[0])
    resource.setrlimit(resource.RLIMIT_AS, (most, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)
