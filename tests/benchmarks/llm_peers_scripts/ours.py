"""rxpipe: a durable run into SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Any

from rxpipe import DatabaseSink, Pipeline, Retry, RunStore, Stage
from rxpipe.llm import Provider
from rxpipe.questions.llm import answer, generate, grade

from .common import ATTEMPTS, SLOTS, Run, measured


def work(run: Run) -> Callable[[], int]:
    """Three stages, each of them with its own bound."""
    provider = Provider(model="fake-model", base_url=run.url)
    calls: dict[str, Any] = {"generation": partial(generate, topic="fractions"), "answering": answer, "grading": grade}
    database = run.folder / "questions.db"
    Pipeline(
        *(
            Stage(
                name,
                partial(call, provider=provider),
                concurrency=SLOTS,
                timeout=60,
                retry=Retry(max_attempts=ATTEMPTS, max_delay=5),
                rate_limit=provider.limits,
            )
            for name, call in calls.items()
        ),
        sink=DatabaseSink(f"sqlite:///{database}"),
        store=RunStore(),
        scheduler="asyncio",
    ).run(range(run.questions))

    def count() -> int:
        with sqlite3.connect(database) as connection:
            return int(connection.execute("SELECT count(*) FROM results").fetchone()[0])

    return count


if __name__ == "__main__":
    measured(work)
