"""Calls that slow each other down, in virtual time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import Context
from math import inf
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typing_extensions import TypeVarTuple, Unpack
from virtual_loop import VirtualLoop

from rxpipe.devtools.fake_llm import Behaviour, serving
from rxpipe.devtools.fake_llm.load import SharedServer

from .clients import post_all, request

Ts = TypeVarTuple("Ts")


class Call(NamedTuple):
    """A call: when it comes, how much work it is, and when its client goes."""

    at: float
    seconds: float
    goes: float = inf


class Loop(VirtualLoop):
    """Counts its timers."""

    timers = 0

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        self.timers += 1
        return super().call_at(when, callback, *args, context=context)


def ends(slots: int, calls: Sequence[Call], stall: tuple[float, float] | None = None) -> list[float | None]:
    """When each call ends, in seconds; None if its client went before.

    Args:
        slots: Of the server.
        calls: What comes.
        stall: From when until when the loop is held up.
    """
    loop = Loop()

    async def one(server: SharedServer, call: Call) -> float | None:
        await asyncio.sleep(call.at)
        serving = asyncio.ensure_future(server.serve(call.seconds))
        if call.goes < inf:
            loop.call_at(call.goes, serving.cancel)
        with suppress(asyncio.CancelledError):
            await serving
            return loop.time()
        return None

    async def run() -> list[float | None]:
        server = SharedServer(slots)
        if stall is not None:
            loop.call_at(stall[0], setattr, loop, "_time", stall[1])
        return await asyncio.gather(*(one(server, call) for call in calls))

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(run())


def computed(slots: int, calls: Sequence[Call]) -> list[float | None]:
    """The same, by hand: from event to event, each call's work left on its own."""
    found: list[float | None] = [None] * len(calls)
    left: dict[int, float] = {}
    now = 0.0
    coming = sorted(range(len(calls)), key=lambda place: calls[place].at)
    while coming or left:
        speed = min(1.0, slots / len(left)) if left else 1.0
        done_at = now + min(left.values()) / speed if left else inf
        goes_at = min((calls[place].goes for place in left), default=inf)
        comes_at = calls[coming[0]].at if coming else inf
        until = min(done_at, goes_at, comes_at)
        left = {place: work - (until - now) * speed for place, work in left.items()}
        now = until
        for place in [place for place, work in left.items() if work <= 1e-12]:
            found[place] = now
            del left[place]
        for place in [place for place in left if calls[place].goes <= now]:
            del left[place]
        while coming and calls[coming[0]].at <= now:
            place = coming.pop(0)
            left[place] = calls[place].seconds
    return found


def test_calls_within_the_slots_take_what_they_take() -> None:
    """They do not slow each other down."""
    assert ends(2, [Call(0, 1), Call(0, 3)]) == [1, 3]


def test_more_calls_than_slots_go_slower() -> None:
    """All of them, evenly."""
    assert ends(2, [Call(0, 1)] * 4) == [2, 2, 2, 2]


def test_a_call_that_comes_slows_others_down_until_it_ends() -> None:
    """What was done before stays done."""
    assert ends(1, [Call(0, 3), Call(1, 1)]) == [4, 3]


def test_a_client_that_goes_makes_others_quicker() -> None:
    """From that moment on."""
    assert ends(1, [Call(0, 2), Call(0, 2, goes=1)]) == [2.5, None]


def test_a_server_is_idle_again_when_all_have_ended() -> None:
    """What comes then runs alone."""
    assert ends(1, [Call(0, 1), Call(0, 1), Call(10, 1), Call(20, 5, goes=21), Call(30, 1)]) == [2, 2, 11, None, 31]


def test_a_loop_that_was_held_up_counts_calls_as_over_when_they_were() -> None:
    """The second call is alone from 2 s on, although nobody learns of the first one's end before 5 s."""
    assert ends(1, [Call(0, 1), Call(0, 10)], stall=(1.5, 5)) == [5, 11]


@st.composite
def calls_of_clients(draw: st.DrawFn) -> Call:
    at, seconds = draw(st.floats(0, 10)), draw(st.floats(0.01, 5))
    return Call(at, seconds, at + draw(st.one_of(st.just(inf), st.floats(0.01, 10))))


@given(st.integers(1, 4), st.lists(calls_of_clients(), max_size=12))
@example(2, [Call(0, 1, 0.5), Call(0, 1), Call(0, 1)])
def test_calls_end_when_they_do_by_hand(slots: int, calls: list[Call]) -> None:
    """However they come and go."""
    for got, wanted, call in zip(ends(slots, calls), computed(slots, calls), calls, strict=True):
        if got is not None and wanted is not None:
            assert got == pytest.approx(wanted, abs=1e-6)
        else:  # a client may go in the very moment in which its call ends
            assert got == wanted or call.goes == pytest.approx(got or wanted, abs=1e-6)


def test_a_call_costs_the_same_however_many_there_are() -> None:
    """A timer as it comes and one as another ends, besides that of its own coming."""
    loop = Loop()

    async def run() -> None:
        server = SharedServer(10)

        async def one(place: int) -> None:
            await asyncio.sleep(place * 0.001)
            await server.serve(1 + place % 7)

        await asyncio.gather(*(one(place) for place in range(2000)))

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(run())
    assert loop.timers <= 3 * 2000


def test_a_server_over_http_slows_down() -> None:
    """Four calls of 20 ms on one slot are 80 ms; a 429 by chance is none of them."""
    with serving(Behaviour(latency=0.02, load_slots=1)) as server:
        started = time.monotonic()
        replies = post_all(server, [request(f"call {number}") for number in range(4)])
        assert time.monotonic() - started >= 0.08
    assert [reply.status for reply in replies] == [200] * 4
