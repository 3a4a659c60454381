"""Collects the problems of a source's lines or rows, to report all of them at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from rxpipe.config.error_texts import shown
from rxpipe.errors import ConfigError

_SHOWN = 5  # numbers named for each flaw


class Flaws:
    """The flaws of one source, with the numbers of the lines or rows that have them.

    Args:
        start: The name of the source in messages: the key, and the file.
        unit: The word for what is counted: ``line`` or ``row``.
    """

    def __init__(self, start: str, unit: str = "line") -> None:
        self._start = start
        self._unit = unit
        self._found: dict[str, list[str]] = defaultdict(list)
        self._counts: dict[str, int] = defaultdict(int)

    def add(self, number: int, flaw: str, detail: str = "") -> None:
        """Add a flaw of line ``number``. ``detail`` is shown with this line only."""
        self._counts[flaw] += 1
        if len(self._found[flaw]) < _SHOWN:
            self._found[flaw].append(f"{number} ({detail})" if detail else str(number))

    def refuse(self) -> None:
        """Report all flaws, if there are any.

        Raises:
            ConfigError: There are flaws.
        """
        if self._found:
            raise ConfigError("\n".join(f"{self._start}, {self._numbers(flaw)}: {flaw}" for flaw in self._found))

    def _numbers(self, flaw: str) -> str:
        count, named = self._counts[flaw], self._found[flaw]
        more = f" and {count - len(named)} more" if count > len(named) else ""
        return f"{self._unit}{'' if count == 1 else 's'} {', '.join(named)}{more}"


@contextmanager
def reading(path: Path, where: str, allowed: str) -> Generator[None]:
    """Turn errors of reading a file into clear messages.

    Args:
        path: The file.
        where: The config key of the file.
        allowed: A description of the right kind of file.

    Raises:
        ConfigError: The file cannot be read.
    """
    try:
        yield
    except FileNotFoundError:
        raise ConfigError(f"{where}: no such file: {path}; it is looked for in the config file's folder") from None
    except IsADirectoryError:
        raise ConfigError(f"{where}: {path} is a directory; allowed: {allowed}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ConfigError(f"{where}: {shown(str(path))} cannot be read: {' '.join(str(error).split())}") from None
