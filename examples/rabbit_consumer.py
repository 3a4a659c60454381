"""Takes questions from a queue of RabbitMQ, acknowledges what is written, and dead-letters what fails.

Install: pip install ".[faststream]" "faststream[rabbit]", and start RabbitMQ.
Run: python examples/rabbit_consumer.py. The rows are in rabbit_questions.db.
Clean up: rm rabbit_questions.db*; rabbitmqctl delete_queue NAME, for rxpipe-questions, rxpipe-ended and rxpipe-dead
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from faststream import FastStream
from faststream.rabbit import RabbitBroker, RabbitQueue

from rxpipe import DatabaseSink, Pipeline, RunStore, Stage
from rxpipe.faststream import PipelineConsumer


async def generate(number: int) -> dict[str, Any]:
    await asyncio.sleep(0.02)
    if number == 13:
        raise ValueError("13 has no question")
    return {"question": f"What is {number} + {number}?", "number": number}


pipeline = Pipeline(
    Stage("generation", generate, concurrency=4),
    sink=DatabaseSink("sqlite:///rabbit_questions.db"),
    store=RunStore(),  # answers a message that comes again, without a call
    scheduler="asyncio",
)
questions = PipelineConsumer(pipeline)
broker = RabbitBroker("amqp://guest:guest@127.0.0.1:5672/", logger=None)
dead = RabbitQueue("rxpipe-dead", durable=True)
letters: dict[str, Any] = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead.name}
queue = RabbitQueue("rxpipe-questions", durable=True, arguments=letters)  # type: ignore[call-overload]  # a plain dict will do
questions.subscribe(broker, queue, outcomes=broker.publisher("rxpipe-ended"))
app = FastStream(broker, lifespan=questions.lifespan, logger=None)
counts: Counter[str] = Counter()


@broker.subscriber(RabbitQueue("rxpipe-ended", durable=True))
@broker.subscriber(dead)
async def count(outcome: int | dict[str, Any]) -> None:
    counts["dead" if isinstance(outcome, int) else outcome["status"]] += 1
    if counts["dead"] and counts.total() >= 51:
        app.exit()


@app.after_startup
async def publish() -> None:
    await asyncio.gather(*(broker.publish(number, queue) for number in range(50)))


if __name__ == "__main__":
    asyncio.run(app.run())
    print(f"{counts['written']} written, {counts['failed']} failed, {counts['dead']} dead")
