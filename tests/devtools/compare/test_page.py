"""The page: well-formed, self-contained, safe with any names, small with any count."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from itertools import count as counter
from xml.etree import ElementTree

import pytest

from rxpipe.devtools.compare import Call, Commit, Comparison, Row, StagePlan, StageTimeline, Timeline, page
from rxpipe.devtools.compare.least_time import items_at_once
from rxpipe.devtools.compare.svg import ticks
from rxpipe.pipeline.outcome import Report
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.run.strategies import Strategy

SVG = "{http://www.w3.org/2000/svg}"
STRATEGIES: tuple[Strategy, ...] = ("staged", "per_item", "per_stage")
SCHEDULERS: tuple[Scheduler, ...] = ("threads", "asyncio")


def made_up(names: Sequence[str] = ("one", "two"), *, count: int = 4, failing: int = 0) -> Comparison:
    """A comparison in which each call follows the one before, and the first items fail."""
    stages = tuple(StagePlan(name=name, latency=0.5, slots=2) for name in names)
    rows = [made_up_row(a, b, stages, count, failing) for b in SCHEDULERS for a in STRATEGIES]
    return Comparison(count=count, stages=stages, rows=tuple(rows))


def made_up_row(strategy: Strategy, scheduler: Scheduler, stages: Sequence[StagePlan], count: int, failing: int) -> Row:
    seconds = float(count * len(stages) + 1)
    slots = tuple(items_at_once(stages) if strategy == "per_item" else stage.slots for stage in stages)
    moments = counter()
    lines = [
        StageTimeline(
            name=stage.name,
            slots=slot,
            calls=tuple(Call(n, at := float(next(moments)), at + 1.0, n >= failing) for n in range(count)),
        )
        for stage, slot in zip(stages, slots, strict=True)
    ]
    commits = tuple(Commit(n, seconds - 1 + n / count, n >= failing) for n in range(count))
    report = Report(
        taken=count,
        written=count - failing,
        failed=failing,
        cancelled=0,
        seconds=seconds,
        first_seconds=seconds - 1 if failing < count else None,
        most_in_flight=count,
        stages=(),
    )
    return Row(
        strategy=strategy,
        scheduler=scheduler,
        slots=slots,
        report=report,
        rows=count,
        expected_rows=count,
        bound=1.0,
        speed_up=1.0,
        timeline=Timeline(seconds=seconds, stages=tuple(lines), commits=commits),
        error=None,
    )


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>"))


class Tags(HTMLParser):
    """What a browser would make of the page: its tags, and whether they close as they opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.handle_startendtag(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_it_is_well_formed() -> None:
    """To an HTML parser and to an XML parser, with a picture, its title and its text for each run."""
    text = page(made_up(failing=1))
    tags = Tags(text)
    assert tags.open == []
    pictures = [element for element in parsed(text).iter(f"{SVG}svg") if element.get("role") == "img"]
    assert [element.findtext(f"{SVG}title") for element in pictures] == [
        f"{strategy} on {scheduler}" for scheduler in SCHEDULERS for strategy in STRATEGIES
    ]
    assert "one: 4 calls from 0 µs to 4.00 s" in (pictures[0].findtext(f"{SVG}desc") or "")
    ids = [element.get("id") for element in parsed(text).iter() if element.get("id")]
    assert len(ids) == len(set(ids)) == 13
    for element in pictures:
        assert set((element.get("aria-labelledby") or "").split()) <= set(ids)


def test_it_is_self_contained() -> None:
    """It names nothing that a browser would fetch or run, and forbids it too."""
    text = page(made_up())
    tags = Tags(text)
    assert not {"script", "link", "img", "iframe", "object", "image", "use"} & set(tags.seen)
    assert not {name for name, _ in tags.attributes if name in ("src", "href", "xlink:href") or name.startswith("on")}
    assert "default-src 'none'" in text
    assert "@import" not in text
    assert set(re.findall(r"url\(([^)]*)\)", text)) == {"#failed"}
    assert {
        value for name, value in tags.attributes if value and "//" in value and not name.startswith("xmlns")
    } == set()


def test_names_and_errors_are_escaped() -> None:
    """What comes from a config is text, whatever it looks like."""
    evil = "</title><script>alert('1')</script>&\x01\ud800"
    text = page(made_up((evil, "two")))
    assert "<script" not in text
    assert "\x01" not in text
    text.encode()
    assert "alert(" in "".join(parsed(text).itertext())


def test_both_modes_of_light() -> None:
    """Colours are given for light, and replaced where dark is preferred."""
    text = page(made_up())
    assert "color-scheme: light dark" in text
    assert "@media (prefers-color-scheme: dark)" in text


def test_failures_are_hatched() -> None:
    """Failed calls have a pattern, and the legend says so; without any there is no legend."""
    assert text_of(made_up(failing=1)).count("Hatched") == 1
    assert "Hatched" not in text_of(made_up())
    nothing = text_of(made_up(failing=4))
    assert "no result was committed" in nothing
    assert "first row" in nothing  # the heading of the table


def text_of(comparison: Comparison) -> str:
    return "".join(parsed(page(comparison)).itertext())


@pytest.mark.parametrize(("count", "stages"), [(1, 1), (999, 3), (1000, 3), (1001, 3), (10_000, 1)])
def test_it_stays_small(count: int, stages: int) -> None:
    """Under a megabyte, however many calls there are."""
    text = page(made_up([f"stage {number}" for number in range(stages)], count=count))
    assert len(text.encode()) < 1_000_000
    parsed(text)


def test_the_table_has_the_cells() -> None:
    """The page's table is the comparison's own."""
    comparison = made_up()
    rows = [[cell.text for cell in row] for row in parsed(page(comparison)).iter("{http://www.w3.org/1999/xhtml}tr")]
    assert rows == [list(comparison.columns), *(list(comparison.cells(row)) for row in comparison.rows)]


@pytest.mark.parametrize(
    ("span", "last", "number"), [(12.1, 12.0, 7), (0.024, 0.02, 5), (1.0, 1.0, 6), (800.0, 800.0, 9)]
)
def test_ticks_are_round(span: float, last: float, number: int) -> None:
    """A handful of round times that do not go beyond the end."""
    found = ticks(span)
    assert found[0] == 0
    assert found[-1] == pytest.approx(last)
    assert len(found) == number
