"""A process that takes a test's messages: ``python -m brokers.worker nats NAME FOLDER SECONDS``.

Each call that is made is a line of ``calls`` in the folder; rows and run store are in its ``bank.db``.
SIGTERM drains it. An ID that is given as another argument kills it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from faststream import FastStream

from brokers.helpers import make_place
from rxpipe import DatabaseSink, Pipeline, RunStore, Stage
from rxpipe.faststream import PipelineConsumer


def main(kind: str, name: str, folder: str, seconds: str, deadly: str = "") -> None:
    with (Path(folder) / "calls").open("a", buffering=1) as calls:

        def stage(stage: str) -> Stage:
            async def call(value: Any) -> Any:
                calls.write(f"{stage} {value}\n")
                if str(value) == deadly:
                    os._exit(9)
                await asyncio.sleep(float(seconds))
                return value

            return Stage(stage, call, concurrency=16, version=1)

        pipeline = Pipeline(
            stage("one"),
            stage("two"),
            sink=DatabaseSink(f"sqlite:///{folder}/bank.db"),
            store=RunStore(max_crashes=2 if deadly else 20),
            scheduler="asyncio",
        )
        consumer = PipelineConsumer(pipeline, prefetch=48)
        place = make_place(kind, name)
        broker = place.broker()
        place.subscribe(consumer, broker)
        asyncio.run(FastStream(broker, lifespan=consumer.lifespan, logger=None).run())


if __name__ == "__main__":
    main(*sys.argv[1:])
