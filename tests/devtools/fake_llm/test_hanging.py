"""Calls that are not answered, clients that go, servers that end meanwhile."""

from __future__ import annotations

import asyncio
import socket
import threading
from itertools import count

import aiohttp
import pytest

from rxpipe.devtools.fake_llm import Behaviour, FakeServer, key_of, serving
from rxpipe.devtools.fake_llm.draws import draws

from .clients import address, hanging, post, post_all, request, wait_until


def text_that(kind: str, behaviour: Behaviour) -> str:
    """A message that this befalls at the first attempt."""
    draw = draws(behaviour)
    texts = (f"text {number}" for number in count())
    return next(text for text in texts if draw(key_of(request(text)["messages"]), 0).kind == kind)


def test_a_call_that_hangs_is_in_flight_until_its_client_goes() -> None:
    """And is counted then."""
    with serving(Behaviour(hang=1.0)) as server:
        with hanging(server, request("hi"), 3):
            assert server.stats()["by_status"] == {}
        wait_until(lambda: server.stats()["in_flight"] == 0)
        assert server.stats()["by_status"] == {"hung": 3}


def test_a_client_that_goes_before_the_answer_is_counted() -> None:
    """As gone, not as answered."""
    with serving(Behaviour(latency=1000.0)) as server:
        with hanging(server, request("hi"), 2):
            pass
        wait_until(lambda: server.stats()["in_flight"] == 0)
        assert server.stats()["by_status"] == {"gone": 2}


def test_no_more_calls_than_slots_are_served() -> None:
    """One more gets a 429, which is not in flight."""
    with serving(Behaviour(slots=3, hang=1.0, retry_after=2.0)) as server, hanging(server, request("hi"), 3):
        replies = post_all(server, [request("ho")] * 4)
        assert (server.stats()["in_flight"], server.stats()["most_in_flight"]) == (3, 3)
    assert [(reply.status, reply.headers["Retry-After"]) for reply in replies] == [(429, "2")] * 4


def test_a_slot_is_free_again_when_its_client_has_gone() -> None:
    """And what was refused for want of one was no attempt: it fares as its first one does."""
    behaviour = Behaviour(slots=1, hang=0.5)
    good = request(text_that("good", behaviour))
    with serving(behaviour) as server:
        with hanging(server, request(text_that("hang", behaviour))):
            assert post(server, good).status == 429
        wait_until(lambda: server.stats()["in_flight"] == 0)
        assert post(server, good).status == 200
        assert server.stats()["by_key"][key_of(good["messages"])] == {"calls": 2, "ok": 1}


def test_a_server_ends_while_calls_hang() -> None:
    """Their clients are disconnected, and no thread is left."""
    before = threading.active_count()
    with serving(Behaviour(hang=1.0)) as server:
        waiting = hanging(server, request("hi"), 3)
        waiting.__enter__()
    assert threading.active_count() == before
    assert server.stats()["in_flight"] == 0
    waiting.__exit__(None, None, None)


def test_a_server_is_gone_when_it_has_ended() -> None:
    """Nobody listens there any longer."""
    with serving() as server:
        left = address(server)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(left)


def test_an_error_in_the_context_ends_the_server_as_well() -> None:
    """And is raised."""
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), serving():
        _ = 1 / 0
    assert threading.active_count() == before


def test_a_server_may_run_on_the_loop_of_its_user() -> None:
    """And be stopped more than once."""

    async def use() -> int:
        server = FakeServer()
        await server.start()
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.post(f"{server.url}/chat/completions", json=request("hi")) as response,
            ):
                return response.status
        finally:
            await server.stop()
            await server.stop()

    assert asyncio.run(use()) == 200
