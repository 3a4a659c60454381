"""Whether messages of a broker still arrive; and having them arrive again where its client has given up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

import structlog

from rxpipe.faststream.brokers import BEGIN, LEAVE

_log: structlog.stdlib.BoundLogger = structlog.get_logger()

_PING = 1.0  # seconds until a broker that does not answer counts as away
_LEAVING = 10.0  # seconds that a client may take to leave its broker
_CALM = 1.0  # seconds before FastStream reads again after an error


async def why_dead(kind: str, subscriber: Any, down: dict[Any, str]) -> str:
    """Why no message will ever arrive again, though its broker may be there; empty if they will.

    Args:
        kind: Which broker it is.
        subscriber: The subscriber.
        down: Subscribers and brokers that were stopped, other than by whoever started them, and why.
    """
    if why := down.get(subscriber) or down.get(broker_of(subscriber)):
        return why
    look = _DEAD.get(kind)
    return "" if look is None else await look(subscriber)


async def is_away(subscriber: Any) -> bool:
    """Whether the connection to the broker is lost."""
    return not await broker_of(subscriber).ping(timeout=_PING)


def broker_of(subscriber: Any) -> Any:
    """The broker of a subscriber, that of a router as well."""
    return subscriber._outer_config.extra_context["broker"]  # FastStream has no public way to it


async def restart(kind: str, subscriber: Any, down: dict[Any, str]) -> None:
    """Have a dead subscriber take messages again; all of its broker, if the connection is what is dead.

    Args:
        kind: Which broker it is.
        subscriber: The subscriber.
        down: Has what is stopped, and not started again, and why.

    Raises:
        Exception: What the broker's client raises, as when the broker is still away.
    """
    broker = broker_of(subscriber)
    is_whole = broker in down or await is_away(subscriber)
    down[broker if is_whole else subscriber] = "it could not be started again yet"
    if is_whole:
        await _stop_broker(kind, broker)
        await broker.start()
        for each in (broker, *broker.subscribers):
            down.pop(each, None)
    else:
        await subscriber.stop()
        if kind in BEGIN:
            BEGIN[kind](subscriber)
        await subscriber.start()
        del down[subscriber]


def stop_in_time(subscriber: Any) -> None:
    """Limit the time that leaving a subscriber's broker takes: some clients wait for a silent broker for minutes.

    Handlers in hand have FastStream's ``graceful_timeout`` before that, if there is one.
    """
    broker, handlers = broker_of(subscriber), subscriber._outer_config.graceful_timeout
    if handlers is not None and not isinstance(broker.stop, partial):
        broker.stop = partial(_stop_in_time, broker.stop, handlers + _LEAVING)


async def _stop_in_time(stop: Callable[..., Coroutine[Any, Any, None]], seconds: float, *reason: Any) -> None:
    stopping = asyncio.ensure_future(stop(*reason))
    try:
        await asyncio.wait([stopping], timeout=seconds)
        if stopping.done():
            stopping.result()
        else:
            _log.warning("broker did not answer, and is left without a word", waited_seconds=seconds)
    finally:
        stopping.cancel()


async def _stop_broker(kind: str, broker: Any) -> None:
    for each in broker.subscribers:
        each.lock = _FREE  # else stop waits for messages in hand, and those wait for the connection
        if kind in _FORGET:
            await _FORGET[kind](each)
    if kind == "nats":
        broker._connection = None  # it is closed, and to stop it again would be an error
    with suppress(Exception):  # what a client raises that is dead
        await broker.stop()
    broker._connection = None  # which stop leaves where it has failed: another one is to be made


class _Free:
    """In place of a subscriber's lock, which counts the messages that stopping it waits for."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


_FREE = _Free()


def prepare(subscriber: Any, end: Callable[[str], None]) -> None:
    """Know what a subscriber of NATS or Redis does when it cannot go on.

    Args:
        subscriber: The subscriber, not started.
        end: Called when it stops by itself, with why.
    """
    # FastStream has no public way to these
    if (consume := getattr(subscriber, "_consume_pull", None)) is not None:
        subscriber._consume_pull = partial(_consume_calmly, subscriber, consume)
    if (stop := getattr(subscriber, "_stop_on_terminal_error", None)) is not None:
        subscriber._stop_on_terminal_error = partial(_stop, stop, end)


async def _consume_calmly(subscriber: Any, consume: Callable[..., Awaitable[None]], **options: Any) -> None:
    """Wait after an error: FastStream reads again at once, which blocks the loop for good once the client is closed.

    What comes when the app has stopped is given back at once, as nobody would take it until its lease is over.
    """
    fetch = subscriber.subscription.fetch

    async def fetch_calmly(**options: Any) -> Any:
        try:
            messages = await fetch(**options)
        except TimeoutError:  # there is none; FastStream expects one of the client's two errors for that
            return []
        except Exception:
            await asyncio.sleep(_CALM)
            raise
        if subscriber.running:
            return messages
        for each in messages:
            await each.nak()
        return []

    subscriber.subscription.fetch = fetch_calmly
    await consume(**options)


async def _stop(stop: Callable[..., Awaitable[None]], end: Callable[[str], None], error: Exception, text: str) -> None:
    end(text)
    await stop(error, text)


async def _nats_dead(subscriber: Any) -> str:
    from nats.js.errors import NotFoundError

    client, subscription = broker_of(subscriber)._connection, subscriber.subscription
    if client is None or subscription is None:
        return ""
    if client.is_closed:
        return "the client has given up: max_reconnect_attempts"
    try:
        if client.is_connected:
            await subscription.consumer_info()
    except NotFoundError:
        return "its stream or its durable consumer is gone"
    return ""


async def _mqtt_dead(subscriber: Any) -> str:
    for task in subscriber.tasks:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            return f"the client has given up: {type(error).__name__}: {error}"
    return ""


async def _nats_forget(subscriber: Any) -> None:
    subscriber.subscription = None  # to unsubscribe would be an error


async def _mqtt_forget(subscriber: Any) -> None:
    await LEAVE["mqtt"](subscriber, [])


_DEAD: dict[str, Callable[[Any], Awaitable[str]]] = {"nats": _nats_dead, "mqtt": _mqtt_dead}
_FORGET: dict[str, Callable[[Any], Awaitable[None]]] = {"nats": _nats_forget, "mqtt": _mqtt_forget}
