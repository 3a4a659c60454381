"""Generate on threads, answer on the event loop, grade on a Dask cluster: here one of this machine."""

import asyncio
import os

from reactivex import operators as rx_ops

from rxpipe import Pipeline, Retry, Stage
from rxpipe.executors import DaskCluster

Graded = tuple[str, int, bool]


def generate(number: int) -> tuple[str, int]:
    return f"How many primes are there up to {number * 100}?", number * 100


async def answer(question: tuple[str, int]) -> tuple[str, int, int]:
    await asyncio.sleep(0.01)  # a model would think for seconds
    return *question, 25 * question[1] // 100  # it is right about the first hundred


def grade(answered: tuple[str, int, int]) -> tuple[Graded, int]:
    question, most, number = answered
    primes = sum(all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(2, most + 1))
    return (question, number, number == primes), os.getpid()


def main() -> None:
    # DaskCluster("tcp://scheduler:8786") is one of many machines; nothing else would change.
    pipeline = Pipeline(
        Stage("generation", generate),
        Stage("answering", answer, concurrency=8),
        Stage("grading", grade, timeout=60, retry=Retry(max_attempts=3), executor=DaskCluster(workers=2)),
    )
    outcomes = list(pipeline.outcomes(range(1, 41)).pipe(rx_ops.to_iterable()).run())
    graded = [outcome.value[0] for outcome in outcomes]
    workers = {outcome.value[1] for outcome in outcomes}
    assert os.getpid() not in workers
    print(
        f"{len(graded)} questions graded by {len(workers)} workers; {sum(right for *_, right in graded)} answered well"
    )


if __name__ == "__main__":  # workers are started anew, and import this file
    main()
