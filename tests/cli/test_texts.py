"""Numbers and durations as text, and tables that fit."""

from __future__ import annotations

import pytest
from rich.console import Console

from rxpipe import Usage
from rxpipe.pipeline.source import length
from rxpipe.screen.tables import Column, fitted, print_table, usage_columns
from rxpipe.screen.terminal import SafeConsole
from rxpipe.screen.texts import clock, cost, duration, number, per_second, plural, screen_text, tokens, used


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.0004, "0.4 ms"), (0.042, "42 ms"), (0.18, "0.18 s"), (12.06, "12.1 s"), (1234.5, "1,234.5 s")],
)
def test_duration(seconds: float | None, text: str) -> None:
    """A duration has three figures or so."""
    assert duration(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (65.9, "1:05"), (3723, "1:02:03")])
def test_clock(seconds: float, text: str) -> None:
    """A time as a clock shows it."""
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"), [(None, "-"), (0.0, "0"), (0.25, "0.25"), (12.34, "12.3"), (104.2, "104"), (12345.6, "12,346")]
)
def test_rate(rate: float | None, text: str) -> None:
    """A rate has three figures or so."""
    assert per_second(rate) == text


def test_counts() -> None:
    """Counts have separators, and one is singular."""
    assert (number(1234567), plural(1, "item"), plural(2000, "item")) == ("1,234,567", "1 item", "2,000 items")


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0.0, "0"),
        (0.0000042, "0.0000042"),
        (0.0042, "0.0042"),
        (0.042, "0.042"),
        (0.42, "0.42"),
        (2.484, "2.48"),
        (12.3, "12.30"),
        (1234.5, "1,234.50"),
    ],
)
def test_cost(amount: float, text: str) -> None:
    """A cost has two decimals, or two figures where that would be nothing."""
    assert cost(amount) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0"), (12345, "12,345"), (999_999, "999,999"), (1_234_567, "1.2M")])
def test_tokens(count: int, text: str) -> None:
    """Tokens are counted one by one, up to a million."""
    assert tokens(count) == text


def test_used() -> None:
    """Only what there is is told."""
    both = Usage(prompt_tokens=1234, completion_tokens=5, cost=0.42)
    assert used(both) == "1,234 prompt and 5 completion tokens, cost 0.42"
    assert used(Usage(prompt_tokens=1)) == "1 prompt and 0 completion tokens"
    assert used(Usage(cost=1)) == "cost 1.00"


def test_usage_columns() -> None:
    """There are none where there is nothing in them."""
    assert usage_columns([Usage(), Usage()], rank=1) == []
    columns = usage_columns([Usage(), Usage(prompt_tokens=5, cost=0.5)], rank=1)
    assert {column.title: column.cells for column in columns} == {
        "prompt": ["0", "5"],
        "completion": ["0", "0"],
        "cost": ["0", "0.50"],
    }


def test_length() -> None:
    """Only what has a length says so."""
    assert (length([1, 2]), length(iter([1, 2]))) == (2, None)


def test_screen_text() -> None:
    """Control characters are shown; line ends and letters stay."""
    assert screen_text("\x1b[2J\a\x9b问题\n\tx") == "\\x1b[2J\\x07\\x9b问题\n\tx"


def test_control_characters_beyond_a_byte() -> None:
    """They are written as Python writes them, so that what follows is not taken for a part of the number."""
    assert screen_text("\u202egnp.exe \U000e0001a") == "\\u202egnp.exe \\U000e0001a"


COLUMNS = [
    Column(title="name", cells=["generation", "回答"], justify="left"),
    Column(title="count", cells=["1", "22"]),
    Column(title="extra", cells=["333", "4"], rank=1),
    Column(title="more", cells=["5", "6"], rank=2),
]


@pytest.mark.parametrize(
    ("width", "header"),
    [
        (80, "name        count  extra  more"),
        (30, "name        count  extra  more"),
        (29, "name        count  extra"),
        (23, "name        count  more"),
        (22, "name        count"),
        (12, "name   count"),
    ],
)
def test_table_fits(width: int, header: str) -> None:
    """The columns that matter least go first; then the first one is shortened."""
    console = Console(width=width)
    with console.capture() as captured:
        console.print(fitted(COLUMNS, width, least=10))
    lines = captured.get().splitlines()
    assert lines[0].rstrip() == header
    assert all(len(line) <= width for line in lines)


def test_narrow_columns_come_back_into_a_table() -> None:
    """Where a wide one went that matters more; and the line below names what is missing."""
    wide = Column(title="wide", cells=["x" * 30, ""], rank=1)
    blank = Column(title="none", cells=["0", "0"], rank=1)
    console = SafeConsole(width=26, force_terminal=True, color_system=None)
    with console.capture() as captured:
        print_table(console, [*COLUMNS[:2], wide, blank, COLUMNS[3]], elsewhere="--json has them")
    lines = captured.get().splitlines()
    assert lines[0].split() == ["name", "count", "more"]
    below = " ".join(" ".join(lines[4:]).split())
    assert below == "not shown, the window is too narrow: wide (--json has them)"
