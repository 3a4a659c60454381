"""Imported before processes are forked: what each would compile first is compiled already."""

from __future__ import annotations

import tempfile
import threading
import uuid
from contextlib import suppress
from pathlib import Path

import shared_compiling
from servers import POSTGRES, execute
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from rxpipe import DatabaseSink, Pipeline, Retry, RunStore, Stage, Usage, record_usage

from .places import text_of, with_search_path


async def call(value: int) -> dict[str, int]:
    """Is a stage."""
    record_usage(Usage(prompt_tokens=value))
    if value in (3, 4):
        raise ValueError(value)
    return {"id": value}


async def go_on(value: dict[str, int]) -> dict[str, int]:
    """Is the next one."""
    return value


def run(url: str) -> None:
    """Begin a run and go on with it, without a thread that outlives it: one that forks must have no other."""
    for ids in (range(8), range(12)):
        pipeline = Pipeline(
            Stage("first", call, retry=Retry(max_attempts=2, initial=0.001)),
            Stage("last", go_on),
            sink=DatabaseSink(url),
            store=RunStore(),
            scheduler="asyncio",
        )
        pipeline.run(ids)
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join(10)


def warm() -> None:
    """Run on each kind of database that is there."""
    shared_compiling.share()
    with tempfile.TemporaryDirectory() as folder:
        run(f"sqlite:///{Path(folder) / 'warm.db'}")
    schema = f"warm_{uuid.uuid4().hex}"
    with suppress(SQLAlchemyError):  # no server
        execute(POSTGRES, f"CREATE SCHEMA {schema}")
        run(text_of(with_search_path(make_url(POSTGRES), schema)))
        execute(POSTGRES, f"DROP SCHEMA {schema} CASCADE")


warm()
