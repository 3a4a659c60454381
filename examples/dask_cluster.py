"""Generates on threads, answers on an event loop, grades on a Dask cluster. Here the cluster is on this machine."""

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
    return *question, 25 * question[1] // 100  # right for the first hundred numbers only


def grade(answered: tuple[str, int, int]) -> tuple[Graded, int]:
    question, most, number = answered
    primes = sum(all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(2, most + 1))
    return (question, number, number == primes), os.getpid()


def main() -> None:
    # For a cluster of many machines, write DaskCluster("tcp://scheduler:8786"). Nothing else changes.
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


if __name__ == "__main__":  # Dask's workers import this file
    main()
