"""Publishes outcomes to where somebody keeps them, and no larger than the broker accepts."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from rxpipe.faststream.brokers import Options, kind_of
from rxpipe.faststream.messages import size_of

# Errors by name, as not every client is installed, with a part of the text if the error may have other reasons.
_TOO_LARGE = {
    "MaxPayloadError": "",  # nats-py
    "ChannelPreconditionFailed": "message size",  # aiormq
    "ResponseError": "bulk length",  # redis-py
    "MQTTPublishError": "0x95",  # zmqtt
    "MessageSizeTooLargeError": "",  # aiokafka
}
_AROUND = 1024  # bytes that MQTT needs for topic, correlation ID and other properties


class TooLargeError(Exception):
    """The broker accepts no message of this size, however often it is published."""


def check_publisher(option: str, publisher: object) -> None:
    """Raises if an object cannot publish, or if dead letters would go to where nothing is kept.

    Raises:
        TypeError: The object is not a publisher, or is a Redis channel for dead letters.
    """
    if publisher is None:
        return
    is_broker = hasattr(publisher, "subscriber")  # a broker does not know where to publish
    if is_broker or not callable(getattr(publisher, "publish", None)):
        raise TypeError(f"{option} must be a publisher, as broker.publisher makes one, not {publisher!r}")
    if option == "dead_letters" and kind_of(publisher) == "redis" and hasattr(publisher, "channel"):
        raise TypeError("a channel of Redis keeps nothing: give dead_letters a list or a stream")


async def publish(publisher: Any, told: Options, correlation_id: str | None) -> None:
    """Publish to a destination that keeps the message.

    Raises:
        LookupError: RabbitMQ has no queue for the message. Its client tells that by the value that it returns.
        TooLargeError: The broker accepts no message of this size.
        Exception: Any error of the broker's client.
    """
    if kind_of(publisher) == "mqtt" and size_of(told) + _AROUND > _packet_size(publisher):
        raise TooLargeError("larger than the broker's maximum packet size")  # publishing it would close the connection
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
    """Returns the most bytes that an MQTT broker takes at once, as the broker said when the connection was made."""
    with suppress(Exception):  # there is no connection, or the broker's protocol is older
        return publisher._outer_config.client.connection_info.properties.maximum_packet_size or float("inf")
    return float("inf")


def _is_too_large(error: Exception, told: Options) -> bool:
    part, text = _TOO_LARGE.get(type(error).__name__), str(error)
    if part is None or part not in text:
        return False
    if type(error).__name__ != "ChannelPreconditionFailed":
        return True
    # The broker closes the channel for all messages that are being published.
    return size_of(told) > int(text.rpartition(" ")[2])
