"""A place at NATS: a stream with a durable consumer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from faststream.nats import NatsBroker
from nats.js.errors import NotFoundError

from brokers.helpers import NATS, until
from rxpipe.faststream import PipelineConsumer

nats: Any = import_module("nats")  # its annotations are not complete


class BrokerPlace:
    """A stream with a durable consumer."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.brokers: list[Any] = []

    async def open(self) -> None:
        self.client = await nats.connect(NATS)
        self.stream = self.client.jetstream()
        await self.stream.add_stream(name=self.name, subjects=[self.name, f"{self.name}.*"])

    def broker(self, **options: Any) -> Any:
        quickly: Any = 0.1  # annotated as an int
        self.brokers.append(NatsBroker(NATS, logger=None, reconnect_time_wait=quickly, **options))
        return self.brokers[-1]

    def publisher(self, broker: Any, end: str) -> Any:
        return broker.publisher(f"{self.name}.{end}", stream=self.name)

    def subscribe(self, consumer: PipelineConsumer, broker: Any, **options: Any) -> None:
        options = {"dead_letters": self.publisher(broker, "failed"), "lease": 2} | options
        consumer.subscribe(broker, self.name, stream=self.name, durable=self.name, **options)

    async def publish(self, bodies: Iterable[bytes]) -> None:
        before = await self._count()
        count = 0
        for count, body in enumerate(bodies, 1):  # noqa: B007  # counted
            await self.client.publish(self.name, body)
        await self.client.flush()

        async def arrived() -> bool:
            return await self._count() >= before + count

        await until(arrived)

    async def _count(self) -> int:
        return int((await self.stream.stream_info(self.name)).state.messages)

    async def left(self) -> int:
        try:
            info = await self.stream.consumer_info(self.name, self.name)
        except NotFoundError:
            return await self._count()
        return (info.num_pending or 0) + (info.num_ack_pending or 0)

    async def published(self, end: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        last = (await self.stream.stream_info(self.name)).state.last_seq
        for number in range(1, last + 1):
            message = await self.stream.get_msg(self.name, number)
            if message.subject == f"{self.name}.{end}" and message.data:
                found.append(json.loads(message.data))
        return found

    async def cut(self) -> int:
        clients = [broker._connection for broker in self.brokers if broker._connection]
        for client in clients:
            writer: Any = client._transport  # it is not public
            writer._io_writer.transport.abort()
        return len(clients)

    async def delete(self) -> None:
        await self.stream.delete_stream(self.name)
        await self.client.close()

    async def in_hand(self) -> int:
        """Messages that are delivered and not acknowledged."""
        return (await self.stream.consumer_info(self.name, self.name)).num_ack_pending or 0
