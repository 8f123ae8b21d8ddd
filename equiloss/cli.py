"""What the four programs share: how they are put together and run, exit codes, and the options that several take."""

import errno
import math
import os
import sys
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, NoReturn, Protocol

import typer
from typer.main import get_command

from equiloss.errors import EquilossError
from equiloss.files import MAX_BYTES, claim, disk_is_full, made_for, overwrite, sha256_of
from equiloss.redaction import visible

INTERRUPTED = 130

# Which extra of the distribution brings a library that a command imports when it runs.
EXTRAS = {
    "torch": "train",
    "datasets": "train",
    "huggingface_hub": "train",
    "matplotlib": "train",
    "pyarrow": "train",
    "safetensors": "train",
    "tokenizers": "train",
    "tensorboard": "tensorboard",
    "trackio": "trackio",
    "jax": "jax",
    "optax": "jax",
    "ray": "cluster",
}


def repeatable(flag: str, metavar: str, help: str) -> Any:
    """An option that may be given several times; its values are a list, empty by default."""
    return typer.Option(flag, metavar=metavar, help=help, default_factory=list, show_default=False)


def output_option(help: str, default: str | bool = True) -> Any:
    """The option `-o`, `--output`; `default` says in words where it goes without it."""
    return typer.Option("-o", "--output", help=help, show_default=default)


def positive(value: float | None) -> float | None:
    """Refuse an option's value that is not a finite number above 0; a typer callback."""
    if value is not None and not 0 < value < math.inf:
        raise typer.BadParameter("must be greater than 0")
    return value


def finite(value: float | None) -> float | None:
    """Refuse an option's value that is infinite or no number; a typer callback."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter("must be a finite number")
    return value


_running: ContextVar[typer.Context] = ContextVar("_running")


def _overwrite(context: typer.Context, value: bool) -> bool:
    def end() -> None:  # one command's leave is not the next one's
        overwrite(allowed=False)
        made_for.set("")

    context.call_on_close(end)
    _running.set(context)
    return overwrite(allowed=value)


def claim_outputs(*paths: Path) -> None:
    """Claim the files that the command at work, one with `--overwrite`, is about to write.

    Those that carry its own mark may be replaced: its name, its options but for UNMARKED, and where it was called.
    Records have the mark in their provenance, pages in their head. Raises: InputError naming another file.
    """
    context = _running.get(None)
    if context is None:  # no command is at work: a program of the user's own calls
        return
    options = {name: str(value) for name, value in context.params.items() if name not in UNMARKED}
    called = os.path.relpath(Path.cwd(), paths[0].absolute().parent)
    mark = f"{context.command_path} {sha256_of([options, called])[:16]}"
    made_for.set(mark)
    for path in paths:
        claim(path, path.is_file() and path.stat().st_size < MAX_BYTES and mark.encode() in path.read_bytes())


UNMARKED = ("output", "document", "junit", "summary", "as_json", "_overwrite", "jobs", "workers")
"""The options that say where a command writes and how it goes about it, not what."""

Overwrite = Annotated[
    bool, typer.Option("--overwrite", callback=_overwrite, help="Replace files that this very command did not make.")
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Sets = Annotated[list[str], repeatable("--set", "KEY=VALUE", "Override a field or parameter, e.g. train.lr=0.01.")]


class CommandModule(Protocol):
    """A module that holds commands."""

    commands: typer.Typer


def program(help: str, *modules: CommandModule) -> typer.Typer:
    """A program of these modules' commands, with `--version`, `-h` and shell completion. Its plain help is quick."""
    whole = typer.Typer(
        help=help,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    whole.callback()(_root)
    for module in modules:
        whole.add_typer(module.commands)
    return whole


def _show_version(context: typer.Context, asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"{context.info_name}, version {version('equiloss')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    del version  # its callback has acted on it


def run(program: typer.Typer, name: str) -> NoReturn:
    """Run a program and turn whatever happens into the documented exit code.

    0 done; 1 failed; 2 usage or bad input; 3 incomplete, resumable by the same command; 4 stopped at the budget;
    5 a gate did not pass; 130 interrupted. Set EQUILOSS_TRACEBACK=1 to see the traceback of an expected error.
    """
    command = get_command(program)
    if f"_{name.upper()}_COMPLETE" in os.environ:
        command.main(prog_name=name)  # the shell asks for completions
    try:
        with command.make_context(name, sys.argv[1:]) as context:
            command.invoke(context)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except typer.TyperException as error:
        usage = getattr(error, "ctx", None)
        message = error.format_message().replace("Value error, ", "")  # pydantic's way to begin
        _fail(message, f"`{usage.command_path if usage else name} --help` shows the usage", code=2)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", code=INTERRUPTED)
    except EquilossError as error:
        if os.environ.get("EQUILOSS_TRACEBACK"):
            raise
        _fail(str(error), code=error.exit_code)
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in EXTRAS:
            raise
        hint = f"in a checkout of equiloss: pip install '.[{EXTRAS[library]}]'"
        _fail(f"this needs {library}, which is not installed", hint, code=2)
    except BrokenPipeError:
        # The reader of stdout went away (`| head`): not an error. Keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if os.environ.get("EQUILOSS_TRACEBACK"):
            raise
        if error.errno == errno.ENAMETOOLONG:  # given, or named in a record
            _fail(
                f"{str(error.filename)[:60]}…: {error.strerror}",
                "name another, or mend the record that names it",
                code=2,
            )
        where = f"{error.filename}: " if error.filename else ""
        full, locked = disk_is_full(error, Path()), error.errno == errno.EROFS
        hint = "make room" if full else "make it writable; the same command then goes on" if locked else ""
        _fail(f"{where}{'no space left' if full else error.strerror or error}", hint, code=3 if full or locked else 1)
    except MemoryError:
        _fail("out of memory", "use a smaller model, batch or file", code=1)
    sys.exit(0)


def _fail(message: str, hint: str = "", *, code: int) -> NoReturn:
    text = visible(" ".join(message.split()))
    ending = " " if text.endswith("?") else ". "
    sys.stderr.write(f"error: {text.rstrip('.')}{ending + hint if hint else ''}\n")
    sys.exit(code)
