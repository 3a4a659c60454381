"""Takes questions from NATS. Each message is acknowledged after its row is committed.

Install: pip install ".[faststream]" "faststream[nats]", and start nats-server -js in a second terminal.
Run: python examples/nats_consumer.py. The rows are in nats_questions.db.
Clean up: rm nats_questions.db*; nats stream rm rxpipe-bank
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from faststream import FastStream
from faststream.nats import JStream, NatsBroker
from nats.js.api import RetentionPolicy

from rxpipe import DatabaseSink, Pipeline, RunStore, Stage
from rxpipe.faststream import PipelineConsumer


async def generate(number: int) -> dict[str, Any]:
    await asyncio.sleep(0.02)
    return {"question": f"What is {number} + {number}?", "number": number}


pipeline = Pipeline(
    Stage("generation", generate, concurrency=4),
    sink=DatabaseSink("sqlite:///nats_questions.db"),
    store=RunStore(),  # answers a message that comes again, without a call
    scheduler="asyncio",
)
questions = PipelineConsumer(pipeline)
broker = NatsBroker("nats://127.0.0.1:4222", logger=None)
bank = JStream("rxpipe-bank", subjects=["rxpipe.questions"], retention=RetentionPolicy.WORK_QUEUE)
ended = broker.publisher("rxpipe.ended")
questions.subscribe(broker, "rxpipe.questions", stream=bank, durable="bank", outcomes=ended, dead_letters=ended)
app = FastStream(broker, lifespan=questions.lifespan, logger=None)
counts: Counter[str] = Counter()


@broker.subscriber("rxpipe.ended")
async def count(outcome: dict[str, Any]) -> None:
    counts[outcome["status"]] += 1
    if counts.total() >= 51:
        app.exit()


@app.after_startup
async def publish() -> None:
    for body in [*range(50), "{not an ID}".encode("utf-16")]:
        await broker.publish(body, "rxpipe.questions", stream="rxpipe-bank")


if __name__ == "__main__":
    asyncio.run(app.run())
    print(f"{counts['written']} written, {counts['rejected']} rejected")
