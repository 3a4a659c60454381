"""Stages that tests have called in other processes; what happens there is told through files of a folder."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rxpipe import Usage, deadline, record_usage
from rxpipe.executors.worker_process import serve

LIMIT = 30.0  # seconds until something that has not happened counts as never


def wait_for(path: Path) -> None:
    for _ in range(int(LIMIT / 0.005)):
        if path.exists():
            return
        threading.Event().wait(0.005)
    raise AssertionError(f"there is no {path}")


def note(folder: Path, text: str) -> None:
    """Append a line, whole, whoever else does."""
    file = os.open(folder / "ledger", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, f"{text}\n".encode())
    os.close(file)


def ledger(folder: Path) -> list[list[str]]:
    path = folder / "ledger"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def most_at_once(lines: list[list[str]]) -> int:
    """How many calls were inside at most, by the notes of their beginnings and ends."""
    inside = most = 0
    for kind, *_ in lines:
        inside += {"begin": 1, "end": -1}.get(kind, 0)
        most = max(most, inside)
    return most


@contextmanager
def noted(folder: Path, value: Any) -> Generator[None]:
    note(folder, f"begin {value} {os.getpid()}")
    try:
        yield
    finally:
        note(folder, f"end {value} {os.getpid()}")


def serve_unless_killed(folder: Path, sound: int, killed: int, connection: Connection) -> None:
    """What a worker process does, except that of those that start some are killed: so many after so many sound ones."""
    note(folder, "start")
    number = len(ledger(folder))
    if sound < number <= sound + killed:
        os.kill(os.getpid(), signal.SIGKILL)
    serve(connection)


def square(value: int) -> int:
    return value * value


def noted_square(value: int, folder: Path) -> int:
    with noted(folder, value):
        return value * value


def meet(value: int, folder: Path, others: int) -> int:
    """Return once so many calls are inside, on whichever processes."""
    with noted(folder, value):
        (folder / f"here {value % others}").touch()
        for other in range(others):
            wait_for(folder / f"here {other}")
    return os.getpid()


def block(value: int, folder: Path, at: int) -> int:
    """At one value return only when a file says so."""
    note(folder, f"begin {value} {os.getpid()}")
    if value == at:
        wait_for(folder / "go")
    return value


def die_once(value: int, folder: Path, at: int) -> int:
    """At one value end the process, the first time."""
    with noted(folder, value):
        if value == at and not (folder / "died").exists():
            (folder / "died").touch()
            os._exit(3)
    return value


def die(value: int, at: int) -> int:
    """At one value end the process, each time, after a while, as when memory runs out."""
    if value == at:
        threading.Event().wait(0.5)  # a Dask worker that ends while it is being started is not started again
        os.kill(os.getpid(), 9)
    return value


def use(value: int) -> float:
    record_usage(Usage(completion_tokens=value, cost=0.5))
    left = deadline()
    assert left is not None
    return left


def double_elsewhere(value: int) -> int:
    """Double in a process of its own."""
    process = multiprocessing.get_context("spawn").Process(target=abs, args=(value,))
    process.start()
    process.join(LIMIT)
    assert process.exitcode == 0
    return 2 * value


class Unpicklable(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("does not pickle")


def fail(kind: str) -> Any:
    if kind == "result":
        return threading.Lock()
    if kind == "exit":
        raise SystemExit(4)
    raise ValueError("plain") if kind == "plain" else Unpicklable("secret")


async def coroutine(value: int) -> int:
    return value


def at(function: Any, **arguments: Any) -> Any:
    """A function with all arguments but the first in place."""
    return partial(function, **arguments)
