"""A question bank whose calls are counted, and a look at what a store holds of it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from sqlalchemy import Row, Table, create_engine, select
from sqlalchemy.pool import NullPool

from rxpipe import DatabaseSink, Pipeline, Retry, RunStore, Stage
from rxpipe.store.schema.tables import ITEMS

STAGES = ("generation", "answering", "grading")


def nothing(stage: str, item_id: Any) -> None:
    """Nothing odd."""


class Bank:
    """Three stages; what they are called with is counted, and ``act`` may do something odd for some of the calls."""

    def __init__(self, url: str, act: Callable[[str, Any], object] = nothing) -> None:
        self.url = url
        self.calls: Counter[tuple[str, Any]] = Counter()
        self.act = act
        self._lock = threading.Lock()

    def _call(self, stage: str, item_id: Any) -> None:
        with self._lock:
            self.calls[stage, item_id] += 1
        self.act(stage, item_id)

    def generate(self, item_id: Any) -> dict[str, Any]:
        self._call("generation", item_id)
        return {"id": item_id, "question": f"question {item_id}"}

    def answer(self, value: dict[str, Any]) -> dict[str, Any]:
        self._call("answering", value["id"])
        return {**value, "answer": f"answer {value['id']}"}

    def grade(self, value: dict[str, Any]) -> dict[str, Any]:
        self._call("grading", value["id"])
        return {**value, "score": 1.0}

    def pipeline(
        self,
        store: RunStore | None = None,
        *,
        versions: tuple[int | None, int | None, int | None] = (None, None, None),
        retry: Retry | None = None,
        sink: DatabaseSink | None = None,
        **options: Any,
    ) -> Pipeline:
        """The pipeline, with a store."""
        calls = (self.generate, self.answer, self.grade)
        stages = (
            Stage(name, call, version=version, retry=retry)
            for name, call, version in zip(STAGES, calls, versions, strict=True)
        )
        return Pipeline(*stages, sink=sink or DatabaseSink(self.url), store=store or RunStore(), **options)

    def called(self, stage: str) -> list[Any]:
        """The IDs that a stage was called with, sorted, each as often as it was."""
        found = [item_id for (name, item_id), times in self.calls.items() if name == stage for _ in range(times)]
        return sorted(found, key=str)


def rows(url: str, table: Table) -> list[Row[Any]]:
    """All rows of a table."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        return list(connection.execute(select(table)).all())


def states(url: str) -> dict[str, str]:
    """The state of each item, by its key."""
    return {row.item_key: row.state for row in rows(url, ITEMS)}
