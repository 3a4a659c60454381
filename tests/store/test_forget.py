"""All that a store has of an item is deleted, and nothing of any other."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, Table, create_engine, select
from sqlalchemy.pool import NullPool

from rxpipe import DatabaseSink, Pipeline, Record, RunStore, Stage, Usage, record_usage, submit
from rxpipe.database import default_table
from rxpipe.errors import StoreError
from rxpipe.operators import Retry
from rxpipe.pipeline.transcript import Exchange, note
from rxpipe.store.maintenance.forget import Forgotten, forget
from rxpipe.store.queries.existing_store import opened, snapshot
from rxpipe.store.queries.history import run
from rxpipe.store.reading.reader import StoreRunsReader

TEXT = "Ada's letter"
MINE = ("|person-17|", '"person-17"', "person-17/", TEXT)


class Letters:
    """Stages that leave all that a store keeps of an item: values, prompts, errors, children, cached results."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.calls = 0

    def read(self, value: dict[str, Any]) -> dict[str, Any]:
        """Cached, after a failure that quotes the text."""
        self.calls += 1
        note(Exchange(model="m", messages=[{"role": "user", "content": value["text"]}], reply=value["text"].upper()))
        record_usage(Usage(prompt_tokens=10, cost=0.5))
        return {**value, "read": True}

    def check(self, value: dict[str, Any]) -> dict[str, Any]:
        """Fails for good where it is told to."""
        if value.get("bad"):
            raise ValueError(f"cannot check: {value['text']}")
        return value

    def split(self, value: dict[str, Any]) -> list[dict[str, Any]]:
        """Two children."""
        return [{"part": value["text"]}, {"part": value["text"] + "!"}] if value.get("parts") else [value]

    def pipeline(self, **options: Any) -> Pipeline:
        """The pipeline."""
        return Pipeline(
            Stage("read", self.read, cache=True),
            Stage("check", self.check, retry=Retry(max_attempts=2, initial=0.0, max_delay=0.0)),
            Stage("split", self.split, expand=True),
            sink=DatabaseSink(self.url, table="letters"),
            store=RunStore(**options),
            name="letters",
        )


def found(url: str, *texts: str) -> dict[str, int]:
    """How many rows of each table have any of the texts."""
    engine = create_engine(url, poolclass=NullPool)
    tables = MetaData()
    tables.reflect(engine)
    counts: dict[str, int] = {}
    with engine.connect() as connection:
        for table in tables.sorted_tables:
            told = ["".join(f"|{value}|" for value in row) for row in connection.execute(select(table))]
            count = sum(any(text in one for text in texts) for one in told)
            counts |= {table.name: count} if count else {}
    return counts


def forgotten(url: str, *keys: str, table: Table | None = None, **options: Any) -> Forgotten:
    """Forget items."""
    with opened(url) as engine:
        return forget(
            engine, keys, name="letters", table=default_table("letters") if table is None else table, **options
        )


def filled(url: str) -> Letters:
    """One item that is split, one that fails, and one of somebody else that fails in the same way."""
    letters = Letters(url)
    records = [
        Record("person-17", {"text": TEXT, "parts": True}),
        Record("person-171", {"text": "Bob's 1", "parts": True}),
        Record("bad-1", {"text": f"{TEXT} 2", "bad": True}),
        Record("bad-2", {"text": "Bob's 3", "bad": True}),
    ]
    report = letters.pipeline().run(records)
    assert (report.failed, report.expanded, report.written) == (2, 2, 4)
    return letters


def test_every_table(store_url: str) -> None:
    """Of an item, its children and its cached results nothing is left in any table; sums of cost stay."""
    filled(store_url)
    before = found(store_url, *MINE)
    assert {"letters", "rxpipe_items", "rxpipe_checkpoints", "rxpipe_calls", "rxpipe_exchanges"} <= before.keys()
    assert {"rxpipe_cache", "rxpipe_failures", "rxpipe_errors", "rxpipe_snapshots"} <= before.keys()
    others = found(store_url, "person-171", "Bob's")
    with opened(store_url) as engine, snapshot(engine) as connection:
        cost = run(connection).usage.cost
    only_told = forgotten(store_url, "person-17", "bad-1", dry_run=True)
    assert found(store_url, *MINE) == before

    told = forgotten(store_url, "person-17", "bad-1")
    assert told == only_told
    assert (told.items, told.rows, told.exchanges, told.failures, told.unreadable) == (4, 3, 2, 2, 0)
    assert told.cached == 2
    assert found(store_url, *MINE, "bad-1") == {}
    assert found(store_url, "person-171", "Bob's") == others
    with opened(store_url) as engine, snapshot(engine) as connection:
        info = run(connection)
    assert (info.usage.cost, info.failed, info.expanded, info.written) == (cost, 1, 1, 2)
    with StoreRunsReader(store_url) as reader:
        assert reader.snapshots(1)[-1].failed == 2  # it can be read yet, and tells what was


def test_nothing_is_left_in_the_file(sqlite_url: str, tmp_path: Path) -> None:
    """Neither in free pages, nor in the log of changes."""
    filled(sqlite_url)
    forgotten(sqlite_url, "person-17", "bad-1")
    files = [path for path in tmp_path.iterdir() if path.name.startswith("store.db")]
    assert files
    assert not [path.name for path in files if TEXT.encode() in path.read_bytes()]


def test_what_is_refused(store_url: str) -> None:
    """Nothing is deleted where one of the items cannot be."""
    filled(store_url)
    for wrong, text in (("nobody", "there is no item nobody"), ("person-17/1", "a child of person-17")):
        with pytest.raises(StoreError, match=text):
            forgotten(store_url, "person-171", wrong)
    assert found(store_url, "person-171")


def test_an_item_that_a_worker_has(store_url: str) -> None:
    """It is refused until it has ended; one that waits is deleted, and no worker takes it."""
    began, go = threading.Event(), threading.Event()

    def wait(item_id: str) -> str:
        began.set()
        assert go.wait(30)
        return item_id

    stage = Stage("wait", wait, concurrency=1, queue_size=0)
    sink = DatabaseSink(store_url, table="letters")
    pipeline = Pipeline(stage, sink=sink, store=RunStore(stay=600.0), name="letters")
    submit(pipeline, ["a", *(f"later-{number}" for number in range(5))])
    worker = pipeline.start([])
    try:
        assert began.wait(30)
        with pytest.raises(StoreError, match="item a of run 1 is at work in process"):
            forgotten(store_url, "later-4", "a")
        assert forgotten(store_url, "later-4").items == 1
    finally:
        go.set()
        worker.stop()
        worker.finished.result(30)
    assert forgotten(store_url, "a").rows == 1


def test_a_cached_result_of_others_stays(store_url: str) -> None:
    """Two items with the same value share it; it goes with the last of them."""
    letters = Letters(store_url)
    same = {"text": TEXT}
    pipeline = letters.pipeline()
    pipeline.run([Record("a", same)])
    pipeline.run([Record("b", same)])
    assert letters.calls == 1
    assert forgotten(store_url, "a").cached == 0
    assert forgotten(store_url, "b").cached == 1
    assert found(store_url, TEXT) == {}
