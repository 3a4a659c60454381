"""The output of functions while a live view is on the screen. The output goes above the view."""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any, TextIO, cast

_LONGEST = 65_536  # characters that are kept of a line that does not end


class OutputCapture:
    """Replaces standard output and standard error, and collects the output until the view shows it.

    A line is kept together, also if several threads print at once. Writing costs little: the thread that draws the view
    does the drawing. All other attributes, such as the encoding, are those of the real stream.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._begun: dict[int, str] = {}  # lines that have not ended, by thread
        self._lines: list[str] = []
        self._before: tuple[TextIO, TextIO] | None = None
        self._handlers: list[tuple[Any, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Collect a text."""
        thread = threading.get_ident()
        with self._lock:
            *ended, rest = (self._begun.pop(thread, "") + text).split("\n")
            if len(rest) > _LONGEST:
                ended, rest = [*ended, rest], ""
            self._lines += ended
            if rest:
                self._begun[thread] = rest
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Collect texts."""
        self.write("".join(lines))

    def flush(self) -> None:
        """Do nothing: the view is drawn soon."""

    def isatty(self) -> bool:
        """Returns False: nobody may draw here."""
        return False

    def take(self, *, all_of_it: bool = False) -> list[str]:
        """Returns the lines since the last call.

        Args:
            all_of_it: Return also lines that have not ended.
        """
        with self._lock:
            lines, self._lines = self._lines, []
            if all_of_it:
                lines += self._begun.values()
                self._begun.clear()
        # A progress bar writes one line again and again. Only its last text is visible.
        return [line.rstrip("\r").rpartition("\r")[2] for line in lines]

    def install(self) -> None:
        """Replace the streams, also in handlers of the root logger that hold standard error already."""
        self._before = sys.stdout, sys.stderr
        handlers: list[Any] = [*logging.getLogger().handlers]
        for handler in handlers:
            if getattr(handler, "stream", None) is sys.stderr and hasattr(handler, "setStream"):
                self._handlers.append((handler, handler.setStream(self)))
        sys.stdout = sys.stderr = cast("TextIO", self)

    def remove(self) -> None:
        """Put the streams back."""
        if self._before is not None:
            sys.stdout, sys.stderr = self._before
        for handler, stream in self._handlers:
            handler.setStream(stream)
