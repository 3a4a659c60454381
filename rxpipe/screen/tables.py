"""Tables that fit their width. If there is little room, the least important columns are left out first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rxpipe.operators.core.running_call import Usage
from rxpipe.screen.terminal import hanging
from rxpipe.screen.texts import cell_text, cost, tokens

GAP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table.

    Attributes:
        title: The heading.
        cells: One text for each row. Control characters are shown, not sent to the terminal.
        styles: One style for each row, or none.
        rank: The order of leaving out columns without room: the highest rank first. 0 always stays.
        justify: The side where the text stands.
    """

    title: str
    cells: Sequence[str]
    styles: Sequence[str] = ()
    rank: int = 0
    justify: Literal["left", "right"] = "right"

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", [cell_text(cell) for cell in self.cells])

    @property
    def is_blank(self) -> bool:
        """True if the column shows nothing."""
        return all(cell in ("", "-", "0", "0.00") for cell in self.cells)

    @property
    def width(self) -> int:
        """The width that the column needs, in cells."""
        return max(cell_len(text) for text in (self.title, *self.cells))


def print_table(
    console: Console, columns: Sequence[Column], *, least: int = 12, elsewhere: str = "--json has them"
) -> None:
    """Write a table, and below it the names of the columns without room.

    Args:
        console: The console to write to. Its terminal's width counts. A file or a pipe gets all columns, unless
            ``COLUMNS`` is set.
        columns: The first column names the subject of a row. It is shortened if there is no room.
        least: The cells that the first column keeps as long as other columns can be left out.
        elsewhere: Where users find the columns without room.
    """
    console.print(fitted(columns, console.width, least=least))
    kept = _kept(columns, console.width, least)
    if hidden := [column.title for column in _others(columns, kept) if column.title and not column.is_blank]:
        told = f"not shown, the window is too narrow: {', '.join(hidden)} ({elsewhere})"
        console.print(hanging(console, Text(), told, "dim"), soft_wrap=True)


def fitted(columns: Sequence[Column], width: int, *, least: int = 12) -> Table:
    """Returns a table no wider than this, if possible. The arguments are those of ``print_table``."""
    kept = _kept(columns, width, least)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0), header_style="bold")
    first = kept[0]
    for column in kept:
        table.add_column(
            Text(column.title),
            justify=column.justify,
            no_wrap=True,
            overflow="ellipsis",
            max_width=max(4, width - _width(kept[1:]) - GAP) if column is first else None,
        )
    for index in range(len(first.cells)):
        table.add_row(*(_cell(column, index) for column in kept))
    return table


def usage_columns(usages: Sequence[Usage], *, rank: int, tokens_rank: int | None = None) -> list[Column]:
    """Returns the columns of the rows' usage, if any row used anything.

    Args:
        usages: One usage for each row.
        rank: The rank of the cost.
        tokens_rank: The rank of the tokens. By default tokens are left out just before the cost.
    """
    tokens_rank = rank + 1 if tokens_rank is None else tokens_rank
    columns: list[Column] = []
    if any(usage.tokens for usage in usages):
        prompts = [tokens(usage.prompt_tokens) for usage in usages]
        completions = [tokens(usage.completion_tokens) for usage in usages]
        columns.append(Column(title="prompt", cells=prompts, rank=tokens_rank))
        columns.append(Column(title="completion", cells=completions, rank=tokens_rank))
    if any(usage.cost for usage in usages):
        columns.append(Column(title="cost", cells=[cost(usage.cost) for usage in usages], rank=rank))
    return columns


def _kept(columns: Sequence[Column], width: int, least: int) -> Sequence[Column]:
    """Returns the columns that have room. The highest ranks go first, and come back if they are narrow enough."""
    kept = columns
    while _width(kept, least) > width and (rank := max(column.rank for column in kept)):
        kept = [column for column in kept if column.rank != rank]
    for lost in sorted(_others(columns, kept), key=lambda column: (column.is_blank, column.rank)):
        more = [column for column in columns if column is lost or any(column is one for one in kept)]
        if _width(more, least) <= width:
            kept = more
    return kept


def _others(columns: Sequence[Column], kept: Sequence[Column]) -> list[Column]:
    return [column for column in columns if not any(column is one for one in kept)]


def _width(columns: Sequence[Column], first_at_most: int | None = None) -> int:
    widths = [column.width for column in columns]
    if first_at_most is not None:
        widths[0] = min(widths[0], first_at_most)
    return sum(widths) + GAP * (len(widths) - 1)


def _cell(column: Column, index: int) -> Text:
    return Text(column.cells[index], style=column.styles[index] if column.styles else "")
