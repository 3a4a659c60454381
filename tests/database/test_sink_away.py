"""A sink whose server does not answer when a run is aborted, or refuses connections: the run ends in time."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from types import FrameType
from typing import Any

import pytest
from pipeline_helpers import LIMIT, SCHEDULERS, Block, finish, until
from proxy import Proxy, proxied
from sqlalchemy import make_url

from rxpipe import DatabaseSink, Pipeline, SinkError, Stage
from rxpipe.database import abort_deadline, writer
from rxpipe.database.writer import Writer
from rxpipe.pipeline.blocking import run_blocking
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.run.run import Run


def fail(proxy: Proxy, fault: str) -> None:
    proxy.fall_silent() if fault == "silent" else proxy.close()


@pytest.fixture(params=["postgres", "mysql"])
def server(request: pytest.FixtureRequest, name: str) -> Any:
    url = request.getfixturevalue(request.param)
    yield url
    with Writer(url, table=name) as writer:
        writer.table.drop(writer.engine)


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("fault", ["silent", "refused"])
def test_an_aborted_run_ends(
    server: str, name: str, monkeypatch: pytest.MonkeyPatch, fault: str, scheduler: Scheduler
) -> None:
    """In time, and says how many rows are lost; what was committed is there, and no thread is left waiting."""
    monkeypatch.setattr(abort_deadline, "SECONDS", 0.3)
    block, runs, driven = Block(only=range(20, 23)), list[Run](), Future[None]()
    with proxied(make_url(server)) as (proxy, through):
        sink = DatabaseSink(through, table=name, max_seconds=0.01)
        pipeline = Pipeline(Stage("s", block, concurrency=3), sink=sink, scheduler=scheduler)
        in_background(partial(run_blocking, pipeline, range(23), started=runs.append), driven)
        block.wait_for(3)
        (run,) = runs
        until(lambda: run.written == 20)
        fail(proxy, fault)
        block.may_return.set()
        until(lambda: run.stages[0].done == 23)
        began = time.monotonic()
        run.abort()
        with pytest.raises(SinkError, match=r"did not answer for 0\.3 seconds.*; 3 rows are lost"):
            driven.result(LIMIT)
        assert time.monotonic() < began + 2
        assert (run.written, run.cancelled) == (20, 3)
        until(lambda: not is_waiting("rxpipe/database/writer.py"))


@pytest.mark.slow
def test_a_silent_server_counts_as_away(server: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while; the rows are written on another connection when it answers again."""
    monkeypatch.setattr(writer, "SILENT_SECONDS", 0.1)
    cut, block = threading.Event(), Block()
    shut = socket.socket.shutdown

    def shutdown(connection: socket.socket, how: int) -> None:
        shut(connection, how)
        cut.set()

    with proxied(make_url(server)) as (proxy, through):
        run = Pipeline(Stage("s", block), sink=DatabaseSink(through, table=name)).start([1])
        block.wait_for(1)
        proxy.fall_silent()
        monkeypatch.setattr(socket.socket, "shutdown", shutdown)
        block.may_return.set()
        assert cut.wait(LIMIT)
        monkeypatch.undo()
        proxy.answer()
        assert finish(run).written == 1


def in_background(action: Callable[[], object], ended: Future[Any]) -> None:
    """Do it on a thread that no end of a program waits for."""

    def act() -> None:
        try:
            ended.set_result(action())
        except BaseException as error:  # noqa: BLE001 - raised to whoever waits
            ended.set_exception(error)

    threading.Thread(target=act, daemon=True).start()


def is_waiting(place: str) -> bool:
    """Whether a thread is in a function of that file."""
    tops = sys._current_frames().values()  # pyright: ignore[reportPrivateUsage] - public, but for its name
    return any(place in frame.f_code.co_filename for top in tops for frame in frames(top))


def frames(top: FrameType | None) -> Iterator[FrameType]:
    while top is not None:
        yield top
        top = top.f_back
