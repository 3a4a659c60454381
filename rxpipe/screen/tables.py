"""Tables that fit the width they get: where it is too narrow, the columns that matter least go first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from rxpipe.operators.core.running_call import Usage
from rxpipe.screen.texts import cell_text, cost, tokens

GAP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its heading.
        cells: One text for each row; what a terminal would act on is shown instead.
        styles: One style for each row, or none.
        rank: What goes first where there is no room: the highest. 0 stays.
        justify: Where its text stands.
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
        """Whether there is nothing in it."""
        return all(cell in ("", "-", "0", "0.00") for cell in self.cells)

    @property
    def width(self) -> int:
        """What it needs."""
        return max(cell_len(text) for text in (self.title, *self.cells))


def fitted(columns: Sequence[Column], width: int, *, least: int = 12, told: bool = True) -> Table:
    """A table no wider than this, if that can be.

    Args:
        columns: The first names what a row is about; it is shortened where there is no room.
        width: What there is, in cells.
        least: What the first column keeps as long as other columns may go.
        told: Whether a line below the table names the columns that had no room, and have something in them.
    """
    kept = list(columns)
    while _width(kept, least) > width and (rank := max(column.rank for column in kept)):
        kept = [column for column in kept if column.rank != rank]
    hidden = [column.title for column in columns if column not in kept and column.title and not column.is_blank]
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0), header_style="bold")
    if hidden and told:
        table.caption = Text(f"no room for: {', '.join(hidden)}", style="dim")
        table.caption_justify = "left"
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


def usage_columns(usages: Sequence[Usage], *, rank: int) -> list[Column]:
    """What the rows used, where any used anything; the tokens go before the cost does where there is no room."""
    columns: list[Column] = []
    if any(usage.tokens for usage in usages):
        prompts = [tokens(usage.prompt_tokens) for usage in usages]
        completions = [tokens(usage.completion_tokens) for usage in usages]
        columns.append(Column(title="prompt", cells=prompts, rank=rank + 1))
        columns.append(Column(title="completion", cells=completions, rank=rank + 1))
    if any(usage.cost for usage in usages):
        columns.append(Column(title="cost", cells=[cost(usage.cost) for usage in usages], rank=rank))
    return columns


def _width(columns: Sequence[Column], first_at_most: int | None = None) -> int:
    widths = [column.width for column in columns]
    if first_at_most is not None:
        widths[0] = min(widths[0], first_at_most)
    return sum(widths) + GAP * (len(widths) - 1)


def _cell(column: Column, index: int) -> Text:
    return Text(column.cells[index], style=column.styles[index] if column.styles else "")
