"""The differences between FastStream's brokers: how many messages they deliver, and how a consumer keeps them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from copy import copy
from dataclasses import replace
from typing import Any

from anyio import BrokenResourceError, ClosedResourceError

Options = dict[str, Any]
Parse = Callable[[Any], Awaitable[Any]]
_Subscriber = tuple[Options, float]


def broker_name(broker: object) -> str:
    """Returns the name of a FastStream broker.

    Goes by the module of the broker's class, and so imports no client that is not installed.

    Raises:
        TypeError: The object is not a broker or router of a supported kind.
    """
    name = kind_of(broker)
    if name is None:
        raise TypeError(f"not a broker or router of faststream's {', '.join(_OPTIONS)}: {broker!r}")
    return name


def kind_of(thing: object) -> str | None:
    """Returns the name of the FastStream broker that an object belongs to; None if it belongs to none."""
    for kind in type(thing).__mro__:
        for name in _OPTIONS:
            if kind.__module__.startswith(f"faststream.{name}."):
                return name
    return None


def subscriptions(name: str, options: Options, prefetch: int, lease: float) -> list[_Subscriber]:
    """Returns the options of each ``broker.subscriber`` call, with the seconds after which others get its messages."""
    return _OPTIONS[name](options, prefetch, lease)


def _nats(options: Options, prefetch: int, lease: float) -> list[_Subscriber]:
    from faststream.nats import PullSub
    from nats.js.api import ConsumerConfig

    if options.get("stream") is None:
        raise TypeError("NATS acknowledges nothing without JetStream: give stream=")
    config = options.get("config") or ConsumerConfig(filter_subjects=[])
    if config.ack_wait is None:
        config.ack_wait = lease
    # max_ack_pending counts the messages of all processes, dead ones included. So each pull has its own bound.
    pull = PullSub(batch_size=_ahead(prefetch), timeout=1.0)
    return [({"max_workers": prefetch, "pull_sub": pull} | options | {"config": config}, config.ack_wait)]


def _redis(options: Options, prefetch: int, lease: float) -> list[_Subscriber]:
    stream: Any = options.get("stream")
    if not getattr(stream, "group", None):
        raise TypeError("Redis acknowledges in groups of streams: give stream=StreamSub(name, group=..., consumer=...)")
    if stream.no_ack or stream.batch:
        raise TypeError("Redis acknowledges message by message: give StreamSub neither no_ack nor batch")
    reader, claimer = copy(stream), copy(stream)
    reader.max_records = reader.max_records or _ahead(prefetch)  # otherwise one read takes all messages
    options = {"max_workers": prefetch} | options
    if own := reader.claim_min_idle_time or reader.min_idle_time:  # the user has set the lease
        return [(options | {"stream": reader}, own / 1000)]
    claimer.min_idle_time = max(1, round(1000 * lease))
    claimer.polling_interval = max(100, min(1000, claimer.min_idle_time // 4))
    claims = options | {"stream": claimer, "max_workers": _ahead(prefetch)}
    return [(claims, lease), (options | {"stream": reader}, lease)]


def _rabbit(options: Options, prefetch: int, lease: float) -> list[_Subscriber]:
    from faststream.rabbit import Channel

    return [({"channel": Channel(prefetch_count=prefetch)} | options, lease)]


def _mqtt(options: Options, prefetch: int, lease: float) -> list[_Subscriber]:
    from faststream.mqtt import QoS

    return [({"max_workers": prefetch, "qos": QoS.AT_LEAST_ONCE} | options, lease)]


def _kafka(options: Options, prefetch: int, lease: float) -> list[_Subscriber]:
    # With single messages, FastStream commits offsets of messages that other workers still handle.
    return [({"max_records": prefetch} | options | {"batch": True}, lease)]


def _ahead(prefetch: int) -> int:
    """Returns how many messages one read takes. They may wait until a message in hand is finished."""
    return max(1, prefetch // 8)


async def _redis_parser(entry: Any, original: Parse) -> Any:
    """Turns an entry whose fields are not UTF-8 into a body that is not UTF-8.

    Otherwise nobody would acknowledge it.
    """
    try:
        return await original(entry)
    except Exception:  # noqa: BLE001  # FastStream does not document what its parser raises
        return await original({**entry, "data": {b"__data__": b"\xff" + repr(entry["data"]).encode()}})


async def _kafka_parser(records: Any, original: Parse) -> Any:
    """Leaves out headers that are not UTF-8: otherwise the batch is skipped, and the next one commits its offset."""
    try:
        return await original(records)
    except Exception:  # noqa: BLE001  # FastStream does not document what its parser raises
        return await original(tuple(replace(record, headers=()) for record in records))


def _redis_begin(subscriber: Any) -> None:
    """Makes a subscriber read messages that are new to the group.

    ``last_id`` is where a new group begins, whichever subscription creates the group. In an existing group, FastStream
    reads from ``last_id``. It then reads the unacknowledged messages of this consumer again and again, and no others.
    """
    subscriber.read_id = ">"
    subscriber.last_id = subscriber.stream_sub.last_id  # FastStream forgets last_id after its first start


def key_of(raw: Any) -> Any:
    """Returns a key that identifies a raw message."""
    entry: Any = raw  # a dictionary, for Redis
    return entry["message_ids"][0] if isinstance(raw, dict) and "message_ids" in raw else id(entry)


def note_ahead(subscriber: Any, ahead: dict[Any, Any]) -> None:
    """Records messages as soon as they are read: until a worker is free, FastStream keeps them in its own queue."""
    put: Any = getattr(subscriber, "_put_msg", None)  # FastStream has no public access to these
    read: Any = getattr(subscriber, "_xreadgroup", None)

    async def noted(raw: Any) -> None:
        ahead[key_of(raw)] = raw
        try:
            await put(raw)
        except (BrokenResourceError, ClosedResourceError):
            if subscriber.running:  # otherwise the app has stopped while this message waited for a worker
                raise

    async def noted_of_redis(**options: Any) -> Any:
        streams = await read(**options)
        for _, entries in streams or ():
            ahead.update({entry[0]: {"message_ids": [entry[0]]} for entry in entries})
        return streams

    if put is not None:  # otherwise there is one worker, which takes each message as soon as it is read
        subscriber._put_msg = noted
        if read is not None:  # the second of two messages is put only when there is room for the first
            subscriber._xreadgroup = noted_of_redis


async def _mqtt_leave(subscriber: Any, ahead: list[Any]) -> None:
    """Keeps the session's subscription. FastStream would end it, and messages published meanwhile would be lost."""
    subscription = getattr(subscriber, "_subscription", None)  # FastStream has no public access to it
    if subscription is not None:
        await subscription.detach()


def _held_by_nats(subscriber: Any) -> list[Any]:
    """Returns messages that came too late for their request. The client holds them for the next request."""
    pull = getattr(subscriber, "subscription", None)  # neither FastStream nor the client has public access to them
    queue = getattr(getattr(pull, "_sub", None), "_pending_queue", None)
    # A message without a reply is the server's status.
    return [raw for raw in getattr(queue, "_queue", ()) if raw.reply]


async def _nats_leave(subscriber: Any, ahead: list[Any]) -> None:
    for raw in [*ahead, *_held_by_nats(subscriber)]:
        await raw.nak()


async def _nats_sign(subscriber: Any, raws: list[Any]) -> None:
    for raw in [*raws, *_held_by_nats(subscriber)]:
        if not raw.is_acked:
            await raw.in_progress()


async def _redis_sign(subscriber: Any, raws: list[Any]) -> None:
    if not raws:
        return
    stream, client = subscriber.stream_sub, subscriber._client  # FastStream has no public access to the client
    ids = [each for raw in raws for each in raw["message_ids"]]
    await client.xclaim(stream.name, stream.group, stream.consumer, 0, ids, justid=True)


_OPTIONS: dict[str, Callable[[Options, int, float], list[_Subscriber]]] = {
    "nats": _nats,
    "redis": _redis,
    "rabbit": _rabbit,
    "mqtt": _mqtt,
    "kafka": _kafka,
}
SIGNS: dict[str, Callable[[Any, list[Any]], Awaitable[None]]] = {"nats": _nats_sign, "redis": _redis_sign}
LEAVE: dict[str, Callable[[Any, list[Any]], Awaitable[None]]] = {"mqtt": _mqtt_leave, "nats": _nats_leave}
PARSERS: dict[str, Callable[[Any, Parse], Awaitable[Any]]] = {"redis": _redis_parser, "kafka": _kafka_parser}
BEGIN: dict[str, Callable[[Any], None]] = {"redis": _redis_begin}
