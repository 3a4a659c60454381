"""Takes questions from a stream of Redis. Each is acknowledged after its row is committed.

Install: pip install ".[faststream]" "faststream[redis]", and start redis-server in a second terminal.
Run: python examples/redis_consumer.py. The rows are in redis_questions.db.
Clean up: rm redis_questions.db*; redis-cli del rxpipe-questions
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from typing import Any

from faststream import FastStream
from faststream.redis import RedisBroker, StreamSub

from rxpipe import DatabaseSink, Pipeline, RunStore, Stage
from rxpipe.faststream import PipelineConsumer


async def generate(number: int) -> dict[str, Any]:
    await asyncio.sleep(0.02)
    if number == 13:
        raise ValueError("13 has no question")
    return {"question": f"What is {number} + {number}?", "number": number}


pipeline = Pipeline(
    Stage("generation", generate, concurrency=4),
    sink=DatabaseSink("sqlite:///redis_questions.db"),
    store=RunStore(),  # answers a message that comes again, without a call
    scheduler="asyncio",
)
questions = PipelineConsumer(pipeline)
broker = RedisBroker("redis://127.0.0.1:6379", logger=None)  # type: ignore[arg-type]  # None means no log; the type lacks it
ended = broker.publisher("rxpipe-ended")
stream = StreamSub("rxpipe-questions", group="bank", consumer=socket.gethostname(), last_id="0")
questions.subscribe(broker, stream=stream, outcomes=ended, lease=5)
app = FastStream(broker, lifespan=questions.lifespan, logger=None)
counts: Counter[str] = Counter()


@broker.subscriber("rxpipe-ended")
async def count(outcome: dict[str, Any]) -> None:
    counts[outcome["status"]] += 1
    if counts.total() >= 50:
        app.exit()


@app.after_startup
async def publish() -> None:
    for number in range(50):
        await broker.publish(number, stream="rxpipe-questions", maxlen=100_000)


if __name__ == "__main__":
    asyncio.run(app.run())
    print(f"{counts['written']} written, {counts['failed']} failed")
