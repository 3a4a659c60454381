"""A process that takes a test's messages: ``python -m brokers.worker nats NAME FOLDER SECONDS``.

Each call that is made is a line of ``calls`` in the folder; rows and run store are in its ``bank.db``.
SIGTERM drains it. An ID that is given as another argument kills it. With ``records`` as the last argument, bodies are
records with a ``number``, and a stage makes one to three children of each.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faststream import FastStream

from brokers.helpers import make_place
from rxpipe import DatabaseSink, Pipeline, RunStore, Stage
from rxpipe.faststream import PipelineConsumer

Called = Callable[[str, Any], Any]


def parts_of(number: int) -> int:
    """How many children a record has."""
    return 1 + number % 3


def is_bad(number: int, part: int) -> bool:
    """Whether a child of a record fails."""
    return number % 40 == 7 and part == 1


def plain_stages(called: Called) -> list[Stage]:
    """Two stages for IDs."""

    async def one(value: Any) -> Any:
        await called("one", value)
        return value

    async def two(value: Any) -> Any:
        await called("two", value)
        return value

    return [Stage("one", one, concurrency=16, version=1), Stage("two", two, concurrency=16, version=1)]


def record_stages(called: Called) -> list[Stage]:
    """Three stages for records; the second one makes children."""

    async def one(record: dict[str, Any]) -> Any:
        await called("one", record["number"])
        return record

    async def split(record: dict[str, Any]) -> list[Any]:
        await called("splitting", record["number"])
        return [{**record, "part": part} for part in range(parts_of(record["number"]))]

    async def two(child: dict[str, Any]) -> Any:
        await called("two", f"{child['number']}/{child['part']}")
        if is_bad(child["number"], child["part"]):
            raise ValueError("a bad part")
        return len(child["text"])

    return [
        Stage("one", one, concurrency=16, version=1),
        Stage("splitting", split, concurrency=16, version=1, expand=True),
        Stage("two", two, concurrency=16, version=1),
    ]


def main(kind: str, name: str, folder: str, seconds: str, deadly: str = "", shape: str = "") -> None:
    with (Path(folder) / "calls").open("a", buffering=1) as calls:

        async def called(stage: str, item: Any) -> None:
            calls.write(f"{stage} {item}\n")
            if str(item) == deadly:
                os._exit(9)
            await asyncio.sleep(float(seconds))

        stages = record_stages(called) if shape == "records" else plain_stages(called)
        pipeline = Pipeline(
            *stages,
            sink=DatabaseSink(f"sqlite:///{folder}/bank.db"),
            store=RunStore(max_crashes=2 if deadly else 20),
            scheduler="asyncio",
        )
        consumer = PipelineConsumer(pipeline, prefetch=48)
        place = make_place(kind, name)
        broker = place.broker()
        place.subscribe(consumer, broker, **({"id": "number"} if shape == "records" else {}))
        asyncio.run(FastStream(broker, lifespan=consumer.lifespan, logger=None).run())


if __name__ == "__main__":
    main(*sys.argv[1:])
