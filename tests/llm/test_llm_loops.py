"""Providers and event loops: one client each, closed with the loop; nothing is left behind."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from devtools.fake_llm.clients import wait_until
from llm_pipelines import asking
from odd_llm import MESSAGES, chat, odd_server, provider_at, replying
from pipeline_helpers import LIMIT, SCHEDULERS, counts, until
from reactivex.testing import TestScheduler

from rxpipe import Pipeline, Stage
from rxpipe.devtools.fake_llm import Behaviour, serving
from rxpipe.llm import Provider
from rxpipe.operators.stages.stage_machine import StageMachine
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.run.run import Run

schedulers = pytest.mark.parametrize("scheduler", SCHEDULERS)


def held(provider: Provider) -> dict[Any, Any]:
    """The clients that it has, by loop."""
    clients: Any = vars(provider)["_clients"]
    found: dict[Any, Any] = clients._held
    return found


@schedulers
def test_a_provider_serves_run_after_run(scheduler: Scheduler) -> None:
    """Each has its connections, and leaves none."""
    with odd_server(replying('{"answer": "7"}')) as server:
        provider = provider_at(server.url)
        for _ in range(2):
            assert asking(provider, scheduler).run(range(5)).written == 5
        wait_until(lambda: held(provider) == {} and server.connections() == 0)


@schedulers
def test_a_provider_serves_two_runs_at_a_time(scheduler: Scheduler) -> None:
    """On loops of their own, or on one."""
    with odd_server(replying('{"answer": "7"}')) as server:
        provider = provider_at(server.url)
        with ThreadPoolExecutor(2) as threads:
            runs = [threads.submit(asking(provider, scheduler).run, range(20)) for _ in range(2)]
        assert [run.result().written for run in runs] == [20, 20]
        wait_until(lambda: held(provider) == {} and server.connections() == 0)


@pytest.mark.slow
def test_as_many_calls_at_once_as_are_made() -> None:
    """No library below has a bound of its own: some have one of 100."""

    async def many(provider: Provider) -> None:
        calls = asyncio.gather(*(provider.chat(MESSAGES) for _ in range(250)), return_exceptions=True)
        await asyncio.to_thread(wait_until, lambda: server.stats()["most_in_flight"] == 250)
        calls.cancel()
        with suppress(asyncio.CancelledError):
            await calls

    with serving(Behaviour(hang=1.0)) as server:
        asyncio.run(many(provider_at(server.url)))


def test_a_provider_serves_two_loops_at_once() -> None:
    """Of users' own, which each have a client."""
    together = threading.Barrier(2)
    clients: list[int] = []

    async def asking_together(provider: Provider) -> None:
        await provider.chat(MESSAGES)
        await asyncio.to_thread(together.wait, 10)
        clients.append(len(held(provider)))
        await provider.chat(MESSAGES)
        await asyncio.to_thread(together.wait, 10)

    with odd_server(replying("Hello!")) as server:
        provider = provider_at(server.url)
        with ThreadPoolExecutor(2) as threads:
            for done in [threads.submit(asyncio.run, asking_together(provider)) for _ in range(2)]:
                done.result(20)
        wait_until(lambda: server.connections() == 0)
    assert clients == [2, 2]
    assert held(provider) == {}


def test_calls_that_come_at_once_share_a_client() -> None:
    """It is opened by the first of them."""

    async def at_once() -> None:
        await asyncio.gather(*(provider.chat(MESSAGES) for _ in range(30)))
        assert len(held(provider)) == 1

    with odd_server(replying("Hello!")) as server:
        provider = provider_at(server.url)
        asyncio.run(at_once())


def test_connections_are_used_again() -> None:
    """Call after call."""
    ports: set[Any] = set()

    async def answer(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername"))
        return await replying("Hello!")(request, body)

    async def several() -> None:
        for _ in range(5):
            await provider.chat(MESSAGES)

    with odd_server(answer) as server:
        provider = provider_at(server.url)
        asyncio.run(several())
    assert len(ports) == 1


def test_connections_can_be_closed_before_the_loop_is() -> None:
    """``aclose``, also twice; a call after it opens others."""

    async def closing() -> None:
        report = await asking(provider, "asyncio").run_async(range(3))
        assert report.written == 3
        await provider.aclose()
        assert len(asyncio.all_tasks()) == 1
        await asyncio.to_thread(wait_until, lambda: server.connections() == 0)
        await provider.aclose()
        await provider.ask(MESSAGES, WrittenAnswer)
        assert len(held(provider)) == 1

    from rxpipe.questions.llm.values import WrittenAnswer

    with odd_server(replying('{"answer": "7"}')) as server:
        provider = provider_at(server.url)
        asyncio.run(closing())
        wait_until(lambda: server.connections() == 0)


def test_a_call_may_come_while_connections_are_closed() -> None:
    """It opens others."""

    async def closing() -> None:
        await provider.chat(MESSAGES)
        await asyncio.gather(provider.aclose(), provider.chat(MESSAGES))
        assert len(held(provider)) == 1

    with odd_server(replying("Hello!")) as server:
        provider = provider_at(server.url)
        asyncio.run(closing())
    assert held(provider) == {}


def test_a_call_that_is_cancelled_is_cancelled_at_the_server() -> None:
    """At once, and the others go on."""

    async def cancelling() -> None:
        call = asyncio.create_task(provider.chat(MESSAGES))
        await asyncio.to_thread(wait_until, lambda: server.stats()["in_flight"] == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.to_thread(wait_until, lambda: server.stats()["in_flight"] == 0)
        assert len(held(provider)) == 1

    with serving(Behaviour(hang=1)) as server:
        provider = provider_at(server.url)
        asyncio.run(cancelling())


def test_a_call_that_is_cancelled_while_the_client_opens_does_not_keep_others_from_it() -> None:
    """It is opened for all."""
    entered, go = asyncio.Event(), asyncio.Event()

    class Slow:
        async def __aenter__(self) -> str:
            entered.set()
            await go.wait()
            return server.url

        async def __aexit__(self, *_: object) -> None:
            return

    async def cancelling() -> str:
        first, second = (asyncio.create_task(provider.chat(MESSAGES)) for _ in range(2))
        await entered.wait()
        first.cancel()
        await asyncio.sleep(0)
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await first
        return (await second).text

    with odd_server(replying("Hello!")) as server:
        provider = Provider(model="m", server=Slow)
        assert asyncio.run(cancelling()) == "Hello!"


def test_the_thread_of_a_loop_may_end_and_another_begin() -> None:
    """Nothing of the first loop is used on the second."""
    with odd_server(replying("Hello!")) as server:
        provider = provider_at(server.url)
        for _ in range(3):
            thread = threading.Thread(target=chat, args=(provider,))
            thread.start()
            thread.join(10)
        assert server.calls == 3


PROGRAM = """
import asyncio, gc, sys, threading, time
from functools import partial
from rxpipe import Pipeline, Retry, Stage
from rxpipe.devtools.fake_llm import Behaviour, serving
from rxpipe.llm import Provider
from rxpipe.questions.llm import answer, generate, grade

def pipeline(provider, scheduler):
    calls = {"generation": generate, "answering": answer, "grading": grade}
    retry = Retry(max_attempts=10_000, initial=0, max_delay=0.01)
    return Pipeline(*(Stage(name, partial(call, provider=provider), timeout=0.3, concurrency=8, retry=retry)
        for name, call in calls.items()), scheduler=scheduler)

async def on_own_loop(provider):
    report = await pipeline(provider, "asyncio").run_async(range(10))
    await provider.aclose()
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not left, left
    return report

before = threading.active_count()
with serving(Behaviour(hang=0.1, fail=0.1, limited=0.1, invalid=0.1, retry_after=0.01)) as server:
    provider = Provider(model="m", base_url=server.url)
    for scheduler in ("threads", "asyncio"):
        assert pipeline(provider, scheduler).run(range(10)).written == 10
    assert asyncio.run(on_own_loop(provider)).written == 10
    deadline = time.monotonic() + 10
    while server.stats()["in_flight"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
gc.collect()
while threading.active_count() > before:
    assert time.monotonic() < deadline, threading.enumerate()
    time.sleep(0.01)
print("clean")
"""


@pytest.mark.slow
def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """No task, socket, thread or warning, in a program that Python watches closely."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    # In its debug mode, asyncio tells what takes over 0.1 s, as imports do.
    told = [line for line in ended.stderr.splitlines() if not line.startswith("Executing <")]
    assert (ended.returncode, ended.stdout, told) == (0, "clean\n", [])


@schedulers
def test_what_is_opened_once_is_opened_before_the_clocks_of_calls_run(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes, no call times out for it; their timeouts begin then."""
    held_calls: list[Any] = []
    kind: Any = StageMachine
    hold = kind.held

    def count(machine: Any, call: Any) -> None:
        hold(machine, call)
        held_calls.append(call)

    monkeypatch.setattr(StageMachine, "held", count)
    is_opening, may_open, time = threading.Event(), threading.Event(), TestScheduler()

    @asynccontextmanager
    async def opening() -> AsyncGenerator[str]:
        is_opening.set()
        assert await asyncio.to_thread(may_open.wait, LIMIT)
        yield server.url

    async def ask(value: int) -> str:
        return (await provider.chat(MESSAGES)).text

    async def main() -> Run:
        def start() -> Run:
            return pipeline.start(range(6), scheduler=time)

        run = start() if scheduler == "asyncio" else await asyncio.to_thread(start)
        time.advance_by(1.0)  # the source emits in virtual time
        assert await asyncio.to_thread(is_opening.wait, LIMIT)
        await asyncio.to_thread(until, lambda: len(held_calls) == 3)
        time.advance_by(1000.0)
        assert run.stages[0].failed == run.stages[0].abandoned == 0
        may_open.set()
        await asyncio.wait_for(asyncio.wrap_future(run.finished), LIMIT)
        return run

    with odd_server(replying("7")) as server:
        provider = Provider(model="m", server=opening, name="main")
        pipeline = Pipeline(Stage("ask", ask, timeout=2.0, concurrency=3), scheduler=scheduler)
        run = asyncio.run(main())
    assert counts(run) == (6, 6, 0, 0)
    assert run.stages[0].busy == 0  # no time went by while they ran
