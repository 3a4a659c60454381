"""Runs a pipeline in an asyncio program: a coroutine stage, a plain function on threads, `async for` over outcomes."""

import asyncio
import time
from collections.abc import AsyncIterator

from rxpipe import Pipeline, Retry, Stage, deadline


async def incoming() -> AsyncIterator[str]:
    """Yields IDs as they arrive. The pipeline takes the next ID when it has room."""
    for number in range(50):
        await asyncio.sleep(0.001)
        yield f"question-{number}"


async def generate(question_id: str) -> str:
    await asyncio.sleep(0.01)
    return f"text of {question_id}, made with {deadline():.0f} s left"


def count_words(text: str) -> int:
    time.sleep(0.005)  # stands for a blocking library: worker threads run it, and the loop goes on
    return len(text.split())


async def main() -> None:
    pipeline = Pipeline(
        Stage("generation", generate, concurrency=10, timeout=30, retry=Retry(max_attempts=3)),
        Stage("counting", count_words, concurrency=4),
        scheduler="asyncio",
    )
    async for outcome in pipeline.stream(incoming()):
        if outcome.id == "question-49":
            print(outcome.id, outcome.status, outcome.value)

    print(await pipeline.run_async(["a", "b", "c"]))


if __name__ == "__main__":
    asyncio.run(main())
