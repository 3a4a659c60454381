"""Messages to users besides results: errors with their exit codes, and logs."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Generator, MutableMapping
from contextlib import contextmanager
from enum import IntEnum
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer

from rxpipe.screen.texts import screen_text

if TYPE_CHECKING:
    from rxpipe.service.json_logs import Origin


class ExitCode(IntEnum):
    """The exit codes of the program."""

    OK = 0
    FAILED = 1
    """Some items failed, or the run did."""
    USAGE = 2
    """Nothing was run: bad usage, a bad config, or a database that cannot be opened."""
    INTERRUPTED = 130
    TERMINATED = 143


def flowing(app: typer.Typer) -> None:
    """Let paragraphs of commands' help fill the available width. typer would keep the line ends of docstrings.

    Flags are shown without a value there.
    """
    from rxpipe.cli.parser.help import Command

    for command in app.registered_commands:
        command.cls = Command
        paragraphs = inspect.cleandoc(getattr(command.callback, "__doc__", None) or "").split("\n\n")
        command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def tell_error(text: str) -> None:
    """Print one clear message to standard error."""
    from rxpipe.service.json_logs import are_json, log_error

    if are_json():
        log_error(text)
        return
    from rich.text import Text  # quick, but not needed for --help

    from rxpipe.screen.terminal import SafeConsole, hanging

    console = SafeConsole(stderr=True)
    console.print(hanging(console, Text("error: ", style="bold red"), text), soft_wrap=True)


@contextmanager
def errors_told(folder: Path | None = None) -> Generator[None]:
    """End the program with a message if the code inside raises.

    Args:
        folder: The folder of the user's own files. The message names the line there that raised.
    """
    from rxpipe.errors import ConfigError, SinkError  # quick, but not needed for --help

    try:
        yield
    except (ConfigError, SinkError) as error:
        tell_error(str(error))
        raise typer.Exit(ExitCode.USAGE) from None
    except KeyboardInterrupt:
        tell_error("interrupted")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except (typer.Exit, typer.Abort, BrokenPipeError):
        raise
    except Exception as error:  # noqa: BLE001 - for any error users want to know the reason, not a traceback
        tell_error(raised_text(error, folder))
        raise typer.Exit(ExitCode.FAILED) from None


def raised_text(error: BaseException, folder: Path | None) -> str:
    """Describe an error. rxpipe's own errors say everything; for others the type and the place matter."""
    from rxpipe.config.imports import describe_raised
    from rxpipe.errors import RxPipeError

    return str(error) or type(error).__name__ if isinstance(error, RxPipeError) else describe_raised(error, folder)


def _shown(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape control characters in a log event: IDs and errors may come from any source."""
    return {screen_text(key): screen_text(value) if isinstance(value, str) else value for key, value in event.items()}


def _traceback(file: TextIO, raised: Any) -> None:
    """Write a traceback, also escaped."""
    import structlog

    text = StringIO()
    structlog.dev.plain_traceback(text, raised)
    file.write(screen_text(text.getvalue()))


def configure_logs(*, quiet: bool = False, as_json: bool = False) -> Origin:
    """Let structlog write to the current standard error, which a live view may replace.

    Args:
        quiet: Log only errors.
        as_json: Write lines of JSON.

    Returns:
        The facts about the run in lines of JSON. Fill them in when they become known.
    """
    import structlog

    from rxpipe.service.json_logs import Origin, configure_json_logs

    origin = Origin()
    if as_json:
        configure_json_logs(origin, quiet=quiet)
        return origin
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            _shown,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_traceback, pad_event_to=0),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("error" if quiet else "info"),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    return origin
