"""Uses the operators in a plain RxPY chain, beside those of reactivex."""

import threading

from reactivex import operators as rx_ops

from rxpipe import Retry, from_iterable
from rxpipe import operators as ops


def square(number: int) -> int:
    return number * number


def is_even(number: int) -> bool:
    return number % 2 == 0


def main() -> None:
    done = threading.Event()
    from_iterable(range(1_000_000)).pipe(
        ops.stage(square, concurrency=4, timeout=10, retry=Retry(max_attempts=3)),
        rx_ops.filter(is_even),
        ops.batch(10),
        rx_ops.take(3),  # the source makes little more than these 3 lists need
    ).subscribe(print, print, done.set)
    done.wait()


if __name__ == "__main__":
    main()
