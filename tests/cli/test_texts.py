"""Numbers and durations as text, and tables that fit."""

from __future__ import annotations

import pytest
from rich.console import Console

from rxpipe.cli.tables import Column, fitted
from rxpipe.cli.texts import clock, duration, length, number, per_second, plural, screen_text


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


def test_length() -> None:
    """Only what has a length says so."""
    assert (length([1, 2]), length(iter([1, 2]))) == (2, None)


def test_screen_text() -> None:
    """Control characters are shown; line ends and letters stay."""
    assert screen_text("\x1b[2J\a\x9b问题\n\tx") == "\\x1b[2J\\x07\\x9b问题\n\tx"


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
        (23, "name        count"),
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
