"""Text for the terminal: no text acts on the terminal, and lines break between words."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.rule import Rule
from rich.segment import Segment
from rich.text import Text, TextType

from rxpipe.screen.texts import screen_text

_LEAST = 40  # cells needed beside a head to break a text there
_ANY_WIDTH = 10_000
_USUAL_WIDTH = 80
_INDENT = 4  # otherwise, of the lines that follow


class SafeConsole(Console):
    """Shows text as it is. Text has no markup, and its control characters are shown, not sent.

    Names, IDs and errors may come from any source. An escape sequence in them could rename the window, or hide the text
    that follows.

    A file or a pipe has no width: lines are not broken, unless ``COLUMNS`` is set.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)
        if not (self.is_terminal or options.get("width") or os.environ.get("COLUMNS")):
            self.width = _ANY_WIDTH

    def rule(self, title: TextType = "", **options: Any) -> None:
        """Draw a line across the screen; without a screen, a line of the usual width."""
        width = self.width if self.is_terminal else min(self.width, _USUAL_WIDTH)
        self.print(Rule(title, **options), width=width)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render an object safely. Styles and the movements of a live view are no text, and stay."""
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else screen_text(segment.text)
            yield segment if text == segment.text else Segment(text, segment.style)


def say(text: str, *, err: bool = False) -> None:
    """Print a line for people. In a pipe the text stays one line."""
    SafeConsole(stderr=err).print(Text(screen_text(text)), soft_wrap=True)


def hanging(console: Console, head: Text, text: str, style: str = "") -> Text:
    """Returns a text behind its head, broken between words and aligned; without a terminal the text is not broken.

    A word that is longer than a line, such as a path, is left to the terminal, which can copy the word in one piece.
    """
    if not console.is_terminal:
        return head + Text(screen_text(text), style=style)
    room = console.width - head.cell_len
    indent = head.cell_len if room >= _LEAST else _INDENT
    whole = screen_text(text).split("\n")
    further = 2 if len(whole) > 1 else 0  # shows where the next line begins
    lines = [
        f"\n{' ' * (indent + further)}".join(_broken(one, room, console.width - indent - further)) for one in whole
    ]
    return head + Text(f"\n{' ' * indent}".join(lines), style=style)


def _broken(text: str, first: int, width: int) -> list[str]:
    """Break a line into lines of ``width`` cells; the first line has ``first`` cells."""
    lines: list[str] = []
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and cell_len(longer) > (first if len(lines) == 1 else width):
            lines.append(word)
        else:
            lines[-1:] = [longer]
    return lines
