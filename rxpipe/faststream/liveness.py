"""Checks that messages of a broker still arrive, and restarts a subscriber whose client has given up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

import structlog

from rxpipe.faststream.brokers import BEGIN, LEAVE

_log: structlog.stdlib.BoundLogger = structlog.get_logger()

_PING = 1.0  # seconds after which a broker that does not answer is away
_LEAVING = 10.0  # seconds that a client may take to leave its broker
_CALM = 1.0  # seconds before FastStream reads again after an error


async def why_dead(kind: str, subscriber: Any, down: dict[Any, str]) -> str:
    """Returns why no message will ever arrive again although the broker may be there; empty if messages can arrive.

    Args:
        kind: The broker's name.
        subscriber: The subscriber.
        down: Subscribers and brokers that stopped without the app's wish, with the reason.
    """
    if why := down.get(subscriber) or down.get(broker_of(subscriber)):
        return why
    look = _DEAD.get(kind)
    return "" if look is None else await look(subscriber)


async def is_away(subscriber: Any) -> bool:
    """Returns True if the connection to the broker is lost."""
    return not await broker_of(subscriber).ping(timeout=_PING)


def broker_of(subscriber: Any) -> Any:
    """Returns the broker of a subscriber, also of a router's subscriber."""
    return subscriber._outer_config.extra_context["broker"]  # FastStream has no public access to it


async def restart(kind: str, subscriber: Any, down: dict[Any, str]) -> None:
    """Start a dead subscriber again; its whole broker, if the connection is dead.

    Args:
        kind: The broker's name.
        subscriber: The subscriber.
        down: Gets the subscribers and brokers that are stopped and not started again, with the reason.

    Raises:
        Exception: The error of the broker's client, for example because the broker is still away.
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
    """Limit the seconds that the app takes to leave a broker: some clients wait for a silent broker for minutes.

    Before that, handlers in hand have FastStream's ``graceful_timeout``, if one is set.
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
        each.lock = _FREE  # otherwise stop waits for messages in hand, and those wait for the connection
        if kind in _FORGET:
            await _FORGET[kind](each)
    if kind == "nats":
        broker._connection = None  # the connection is closed; closing it again would be an error
    with suppress(Exception):  # a dead client may raise anything
        await broker.stop()
    broker._connection = None  # a failed stop leaves the old connection; the next start must make a new one


class _Free:
    """Replaces a subscriber's lock, which counts the messages that a stop waits for."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


_FREE = _Free()


def prepare(subscriber: Any, end: Callable[[str], None]) -> None:
    """Watch for errors that a NATS or Redis subscriber cannot recover from.

    Args:
        subscriber: The subscriber, not started.
        end: Called with the reason when the subscriber stops by itself.
    """
    # FastStream has no public access to these.
    if (consume := getattr(subscriber, "_consume_pull", None)) is not None:
        subscriber._consume_pull = partial(_consume_calmly, subscriber, consume)
    if (stop := getattr(subscriber, "_stop_on_terminal_error", None)) is not None:
        subscriber._stop_on_terminal_error = partial(_stop, stop, end)


async def _consume_calmly(subscriber: Any, consume: Callable[..., Awaitable[None]], **options: Any) -> None:
    """Waits a second after an error.

    FastStream would read again at once, which blocks the loop for good once the client is closed.

    Messages that arrive after the app has stopped are given back at once. Otherwise nobody would take them until their
    lease ends.
    """
    fetch = subscriber.subscription.fetch

    async def fetch_calmly(**options: Any) -> Any:
        try:
            messages = await fetch(**options)
        except TimeoutError:  # no message; FastStream expects one of the client's two errors for that
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
    subscriber.subscription = None  # unsubscribing would be an error


async def _mqtt_forget(subscriber: Any) -> None:
    await LEAVE["mqtt"](subscriber, [])


_DEAD: dict[str, Callable[[Any], Awaitable[str]]] = {"nats": _nats_dead, "mqtt": _mqtt_dead}
_FORGET: dict[str, Callable[[Any], Awaitable[None]]] = {"nats": _nats_forget, "mqtt": _mqtt_forget}
