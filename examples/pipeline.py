"""Writes, answers and grades 200 questions: flaky calls, retries, a shared rate limit, rows in SQLite."""

import random
import sqlite3
import time
from contextlib import closing

from rxpipe import DatabaseSink, Pipeline, RateLimiter, Retry, Stage


def generate(question_id: int) -> dict[str, str]:
    """Stands for a call to a model, which is slow and fails now and then."""
    time.sleep(0.01)
    if random.random() < 0.1:
        raise ConnectionError("the model hung up")
    return {"question": f"What is {question_id} + {question_id}?"}


def answer(item: dict[str, str]) -> dict[str, str]:
    time.sleep(0.02)
    number = int(item["question"].split()[2])
    return {**item, "answer": str(2 * number)}


def grade(item: dict[str, str]) -> dict[str, object]:
    number = int(item["question"].split()[2])
    return {**item, "score": 1.0 if item["answer"] == str(number + number) else 0.0}


def main() -> None:
    limit = RateLimiter(500, 1.0)  # 500 calls in 1 second, for both stages together
    retry = Retry(max_attempts=5, initial=0.05)
    pipeline = Pipeline(
        Stage("generation", generate, concurrency=8, timeout=5, retry=retry, rate_limit=limit),
        Stage("answering", answer, concurrency=8, timeout=5, retry=retry, rate_limit=limit),
        Stage("grading", grade),
        sink=DatabaseSink("sqlite:///pipeline.db"),
    )
    print(pipeline.run(range(200)))
    with closing(sqlite3.connect("pipeline.db")) as database:
        print(database.execute("select id, question, answer, score from results limit 3").fetchall())


if __name__ == "__main__":
    main()
