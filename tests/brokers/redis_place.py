"""A place at Redis: a stream with a group."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from faststream.redis import RedisBroker, StreamSub

from brokers.helpers import REDIS
from rxpipe.faststream import PipelineConsumer

Redis: Any = import_module("redis.asyncio").Redis  # its annotations are not complete


class BrokerPlace:
    """A stream with a group."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def open(self) -> None:
        self.client = Redis.from_url(REDIS)
        await self.client.xgroup_create(self.name, "group", "0", mkstream=True)

    def broker(self, **options: Any) -> RedisBroker:
        quiet: Any = None  # annotated without it
        return RedisBroker(REDIS, logger=quiet, client_name=self.name, **options)

    def publisher(self, broker: Any, end: str) -> Any:
        return broker.publisher(stream=f"{self.name}.{end}")

    def subscribe(self, consumer: PipelineConsumer, broker: Any, **options: Any) -> None:
        stream = StreamSub(self.name, group="group", consumer=options.pop("member", "one"), last_id="0")
        options = {"dead_letters": self.publisher(broker, "failed"), "lease": 2} | options
        consumer.subscribe(broker, stream=stream, **options)

    async def publish(self, bodies: Iterable[bytes]) -> None:
        async with self.client.pipeline(transaction=False) as commands:
            for body in bodies:
                commands.xadd(self.name, {"__data__": body})
            await commands.execute()

    async def left(self) -> int:
        (group,) = await self.client.xinfo_groups(self.name)
        return int(group["lag"]) + int(group["pending"])

    async def published(self, end: str) -> list[dict[str, Any]]:
        entries = await self.client.xrange(f"{self.name}.{end}")
        return [json.loads(fields[b"__data__"][fields[b"__data__"].index(b'{"') :]) for _, fields in entries]

    async def cut(self) -> int:
        clients = [each for each in await self.client.client_list() if each["name"] == self.name]
        for each in clients:
            await self.client.client_kill(each["addr"])
        return len(clients)

    async def delete(self) -> None:
        await self.client.delete(self.name, f"{self.name}.failed", f"{self.name}.done")
        await self.client.aclose()

    async def in_hand(self) -> int:
        """Messages that are delivered and not acknowledged."""
        (group,) = await self.client.xinfo_groups(self.name)
        return int(group["pending"])
