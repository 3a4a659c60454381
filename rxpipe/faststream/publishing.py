"""Publishing outcomes: to where somebody keeps them, and no larger than the broker takes."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from rxpipe.faststream.brokers import Options, kind_of
from rxpipe.faststream.messages import size_of

# By name, as not every client is installed: the error, and what its text says where it may have other reasons
_TOO_LARGE = {
    "MaxPayloadError": "",  # nats-py
    "ChannelPreconditionFailed": "message size",  # aiormq
    "ResponseError": "bulk length",  # redis-py
    "MQTTPublishError": "0x95",  # zmqtt
    "MessageSizeTooLargeError": "",  # aiokafka
}
_AROUND = 1024  # bytes that MQTT needs for topic, correlation ID and other properties


class TooLargeError(Exception):
    """The broker takes no message of this size, however often it is published."""


def check_publisher(option: str, publisher: object) -> None:
    """Refuse what could not publish, and dead letters to where nothing is kept.

    Raises:
        TypeError: It is none, or a channel of Redis for dead letters.
    """
    if publisher is None:
        return
    is_broker = hasattr(publisher, "subscriber")  # which would not know where to
    if is_broker or not callable(getattr(publisher, "publish", None)):
        raise TypeError(f"{option} must be a publisher, as broker.publisher makes one, not {publisher!r}")
    if option == "dead_letters" and kind_of(publisher) == "redis" and hasattr(publisher, "channel"):
        raise TypeError("a channel of Redis keeps nothing: give dead_letters a list or a stream")


async def publish(publisher: Any, told: Options, correlation_id: str | None) -> None:
    """Publish to where there is somebody to keep it.

    Raises:
        LookupError: RabbitMQ has no queue for it, which its client tells by what it returns.
        TooLargeError: The broker takes no message of this size.
        Exception: What the broker's client raises.
    """
    if kind_of(publisher) == "mqtt" and size_of(told) + _AROUND > _packet_size(publisher):
        raise TooLargeError("larger than the broker's maximum packet size")  # which would close the connection
    try:
        result: object = await publisher.publish(told, correlation_id=correlation_id)
    except Exception as error:
        if _is_too_large(error, told):
            raise TooLargeError(str(error)) from error
        raise
    kind = type(result)  # by name, as its module may not be installed
    if kind.__name__ == "DeliveredMessage" and kind.__module__.startswith("aiormq."):
        raise LookupError("RabbitMQ has no queue for it: declare one, or have its publisher say mandatory=False")


def _packet_size(publisher: Any) -> float:
    """Bytes that a broker of MQTT takes at once, as it said when the connection was made."""
    with suppress(Exception):  # there is no connection, or its protocol is older
        return publisher._outer_config.client.connection_info.properties.maximum_packet_size or float("inf")
    return float("inf")


def _is_too_large(error: Exception, told: Options) -> bool:
    part, text = _TOO_LARGE.get(type(error).__name__), str(error)
    if part is None or part not in text:
        return False
    if type(error).__name__ != "ChannelPreconditionFailed":
        return True
    return size_of(told) > int(text.rpartition(" ")[2])  # it closes the channel for all that are being published
