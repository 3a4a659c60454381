"""Pages of items: every item that is wanted is on one of them, once, in order, however little time there is."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from sqlalchemy import Connection, create_engine, insert
from sqlalchemy.pool import NullPool

from rxpipe.errors import StoreError
from rxpipe.identity.signature import StageSignature, to_text
from rxpipe.insight.reading import ItemFilter, ItemRow, ItemStatus, Order, Timeline
from rxpipe.store.commits.tallies import recount
from rxpipe.store.reading import item_pages
from rxpipe.store.reading.item_pages import Question, count, page
from rxpipe.store.reading.reader import StoreRunsReader
from rxpipe.store.schema.migrations import migrate
from rxpipe.store.schema.tables import ENDED, ITEMS, RUNS

STAGES = ("generation", "answering", "grading")
NOW = 2_000.0
STATES = (
    *("written",) * 8,
    *("failed",) * 3,
    *("dropped",) * 2,
    "expanded",
    "collected",
    "running",
    "waiting",
    "ready",
)
ORDERS: tuple[Order, ...] = get_args(Order)
FILTERS = (
    ItemFilter(),
    *(ItemFilter(status=status) for status in get_args(ItemStatus)),
    ItemFilter(stage="answering"),
    ItemFilter(stage="database"),
    ItemFilter(stage="unknown"),
    ItemFilter(status="failed", stage="grading"),
    ItemFilter(error="NO ANSWER"),
    ItemFilter(error="100%"),
    ItemFilter(text="7"),
    ItemFilter(text="77"),
    ItemFilter(text="_"),
    ItemFilter(parent="5"),
    ItemFilter(parent="5", status="failed"),
    ItemFilter(longer_than=5.0),
    ItemFilter(longer_than=5.0, status="written"),
    ItemFilter(since=1_100.0),
    ItemFilter(since=1_100.0, until=1_300.0, status="failed"),
    ItemFilter(until=1_100.0, error="answer", text="1"),
)


NAMES: dict[int, str] = dict(enumerate((*STAGES, "database")))


def items() -> list[dict[str, Any]]:
    """Rows of items, many of which ended at the same moment."""
    chance = random.Random(7)
    found: list[dict[str, Any]] = []
    for number in range(200):
        state = chance.choice(STATES)
        ended_at = 1_000.0 + chance.randrange(40) * 10 if state in ENDED else None
        taken_at = None if state == "ready" else (ended_at or 1_500.0) - chance.randrange(1, 10)
        seconds = None if ended_at is None or taken_at is None else ended_at - taken_at
        error = chance.choice(["no answer to 7", "100% odd", "1000 odd"]) if state in ("failed", "dropped") else None
        row = {"run_id": 1, "item_key": str(number), "is_integer": True, "seq": number // 2, "state": state}
        row |= {"stage": 3 if state == "written" else chance.randrange(4), "fence": 1, "attempts": 3, "failures": 0}
        row |= {"crashes": 0, "last_error": error, "parent_key": "5" if number % 3 == 1 else None}
        found.append({**row, "taken_at": taken_at, "ended_at": ended_at, "seconds": seconds})
    return found


ROWS = items()


@pytest.fixture
def connection(store_url: str) -> Iterator[Connection]:
    """A store with the items."""
    engine = create_engine(store_url, poolclass=NullPool)
    stages = to_text([StageSignature(name=name, call=name, version=None) for name in STAGES])
    with engine.begin() as made:
        migrate(made)
        made.execute(insert(RUNS).values(name="x", generation=1, stages=stages, created_at=1_000.0))
        made.execute(insert(ITEMS), ROWS)
        recount(made, 1)
    with engine.connect() as looking:
        yield looking


def expected(wanted: ItemFilter) -> set[int]:
    """The items that are wanted, by going through all of them."""
    found: set[int] = set()
    for row in ROWS:
        is_pending = row["ended_at"] is None
        changed = row["taken_at"] if is_pending else row["ended_at"]
        took = row["seconds"] if not is_pending else None if row["taken_at"] is None else NOW - row["taken_at"]
        name: str = "" if row["state"] in ("written", "expanded", "collected") else NAMES[row["stage"]]
        if (
            wanted.status in (None, row["state"])
            and wanted.stage in (None, name)
            and (wanted.error is None or wanted.error.lower() in (row["last_error"] or "").lower())
            and (wanted.text is None or wanted.text in row["item_key"])
            and wanted.parent in (None, row["parent_key"])
            and (wanted.since is None or (changed is not None and changed >= wanted.since))
            and (wanted.until is None or (changed is not None and changed < wanted.until))
            and (wanted.longer_than is None or (took is not None and took >= wanted.longer_than))
        ):
            found.add(int(row["item_key"]))
    return found


def value(row: ItemRow, order: Order) -> tuple[int, float]:
    """What a row is sorted by."""
    states = ["running", "waiting", "ready"] if order == "newest" else ["ended", "running", "waiting", "ready"]
    name = "ended" if row.ended_at is not None else str(row.status)
    rank = [*states, "ended"].index(name)
    seq = int(row.id) // 2
    if row.ended_at is None or row.began_at is None:
        return rank, float(-seq if order == "newest" else seq)
    by = {"newest": -row.ended_at, "oldest": row.ended_at, "slowest": row.began_at - row.ended_at}
    return rank, by[order]


@pytest.mark.slow
@pytest.mark.parametrize("few", [0, 10_000])
@pytest.mark.parametrize("hurried", [False, True])
def test_pages_have_all_items_once(
    connection: Connection, few: int, hurried: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether few or many are read at a time, and also if the time is over behind every part."""
    monkeypatch.setattr(item_pages, "_FEW", few)
    monkeypatch.setattr(item_pages, "_PART", 70)
    monkeypatch.setattr(item_pages, "_SMALLEST_PART", 70)
    monkeypatch.setattr(item_pages, "_LARGEST_PART", 70)
    for wanted in FILTERS:
        for order in ORDERS:
            question = Question(1, STAGES, wanted, order, NOW)
            found: list[ItemRow] = []
            after: str | None = None
            for _ in range(400):
                given = page(connection, question, after=after, most=29, seconds=-1.0 if hurried else 60.0)
                assert len(given.items) <= 29
                found += given.items
                if (after := given.following) is None:
                    break
            assert after is None
            ids = [int(row.id) for row in found]
            assert len(set(ids)) == len(ids), (wanted, order)
            assert set(ids) == expected(wanted), (wanted, order)
            rest = found[1:] if wanted.text is not None and found and str(found[0].id) == wanted.text else found
            assert [value(row, order) for row in rest] == sorted(value(row, order) for row in rest), (wanted, order)


@pytest.mark.slow
@pytest.mark.parametrize("few", [0, 10_000])
def test_counts(connection: Connection, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that are wanted, or as many as are asked for at most."""
    monkeypatch.setattr(item_pages, "_FEW", few)
    monkeypatch.setattr(item_pages, "_PART", 40)
    for wanted in FILTERS:
        question = Question(1, STAGES, wanted, "newest", NOW)
        assert count(connection, question, most=1_000, seconds=60.0) == len(expected(wanted)), wanted
        assert count(connection, question, most=3, seconds=60.0) == min(3, len(expected(wanted))), wanted
    question = Question(1, STAGES, ItemFilter(text="9"), "newest", NOW)
    assert count(connection, question, most=1_000, seconds=-1.0) < len(expected(question.wanted))


@pytest.mark.usefixtures("connection")
def test_what_there_is_not(store_url: str) -> None:
    """A place that no page has given, a run and an item that are not there."""
    with StoreRunsReader(store_url) as reader:
        for place in ("x", "é", "AAAA", "W10", "WzksMSwiYSJd", ""):
            with pytest.raises(StoreError, match="no place"):
                reader.items(1, ItemFilter(), after=place)
        for number in (2, -1, 2**31, 10**20):
            assert reader.run(number) is None
            assert reader.items(number, ItemFilter()).items == ()
            assert reader.count(number, ItemFilter()) == 0
            assert reader.item(number, "1") is None
            assert not reader.snapshots(number)
            assert reader.latest(number) is None
            assert reader.timeline(number, since=0, seconds=1) == Timeline()
        assert reader.item(1, "none") is None
        assert reader.item(1, "\0'; DROP TABLE rxpipe_items") is None
