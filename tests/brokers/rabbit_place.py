"""A place at RabbitMQ: a queue, and those where its messages end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import aio_pika
from faststream.rabbit import RabbitBroker, RabbitQueue

from brokers.helpers import RABBIT, Relay
from rxpipe.faststream import PipelineConsumer


class BrokerPlace:
    """A queue, and one for its dead letters."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._url = RABBIT
        self.relay = Relay(RABBIT)  # brokers connect through it: their client hides its socket
        self._arguments: dict[str, Any] = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": f"{name}.dead"}

    async def open(self) -> None:
        self.connection = await aio_pika.connect(RABBIT)
        self.channel = await self.connection.channel()
        await self.channel.declare_queue(self.name, durable=True, arguments=self._arguments)
        for end in ("dead", "failed", "done"):
            await self.channel.declare_queue(f"{self.name}.{end}", durable=True)
        await self.relay.start()
        self._url = urlsplit(RABBIT)._replace(netloc=f"guest:guest@127.0.0.1:{self.relay.port}").geturl()

    def broker(self, **options: Any) -> RabbitBroker:
        return RabbitBroker(self._url, logger=None, reconnect_interval=0.1, **options)

    def publisher(self, broker: Any, end: str) -> Any:
        return broker.publisher(f"{self.name}.{end}")

    def subscribe(self, consumer: PipelineConsumer, broker: Any, **options: Any) -> None:
        queue: Any = RabbitQueue(self.name, durable=True, arguments=self._arguments)  # type: ignore[call-overload]
        consumer.subscribe(broker, queue, **({"dead_letters": self.publisher(broker, "failed")} | options))

    async def publish(self, bodies: Iterable[bytes]) -> None:
        exchange = self.channel.default_exchange
        await asyncio.gather(*(exchange.publish(aio_pika.Message(body), self.name) for body in bodies))

    async def left(self) -> int:
        return await self._count(self.name)

    async def in_hand(self) -> int:
        raise NotImplementedError

    async def _count(self, name: str) -> int:
        queue = await self.channel.declare_queue(name, passive=True)
        return queue.declaration_result.message_count or 0

    async def published(self, end: str) -> list[dict[str, Any]]:
        return [json.loads(body) for body in await self.bodies(f"{self.name}.{end}")]

    async def bodies(self, name: str) -> list[bytes]:
        """What a queue holds; it is taken."""
        queue = await self.channel.declare_queue(name, passive=True)
        found: list[bytes] = []
        while (message := await queue.get(fail=False, no_ack=True)) is not None:
            found.append(message.body)
        return found

    async def cut(self) -> int:
        return self.relay.cut()

    async def delete(self) -> None:
        for end in ("", ".dead", ".failed", ".done"):
            await self.channel.queue_delete(f"{self.name}{end}")
        await self.connection.close()
        await self.relay.close()

    async def is_there(self) -> bool:
        """Whether the queue is there; asked on a channel of its own, which closes where it is not."""
        channel = await self.connection.channel()
        try:
            await channel.declare_queue(self.name, passive=True)
        except aio_pika.exceptions.ChannelNotFoundEntity:
            return False
        await channel.close()
        return True
