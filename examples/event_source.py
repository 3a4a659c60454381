"""Handles events of a source that cannot wait. A buffer of 20 holds them; when it is full, the oldest is dropped."""

import threading
import time

from reactivex.subject import Subject

from rxpipe import operators as ops


def handle(event: int) -> int:
    time.sleep(0.002)
    return event


def main() -> None:
    dropped: list[int] = []
    handled: list[int] = []
    done = threading.Event()
    events: Subject[int] = Subject()
    events.pipe(
        ops.overflow("drop_oldest", 20, on_drop=dropped.append),
        ops.stage(handle, concurrency=2, queue_size=2),
    ).subscribe(handled.append, print, done.set)

    for event in range(1000):  # far faster than the stage handles them
        events.on_next(event)
    events.on_completed()
    done.wait()
    print(f"{len(handled)} handled, {len(dropped)} dropped, {len(handled) + len(dropped)} in all")


if __name__ == "__main__":
    main()
