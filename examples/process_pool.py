"""One stage on a process pool, for work that keeps a core busy; the others on threads."""

import threading
from concurrent.futures import ProcessPoolExecutor

from rxpipe import Pipeline, Stage


def candidate(seed: int) -> int:
    return 10**6 + 2 * seed + 1


def smallest_divisor(number: int) -> int:
    return next((n for n in range(3, int(number**0.5) + 1, 2) if number % n == 0), number)


def describe(divisor: int) -> str:
    return f"divisible by {divisor}" if divisor < 10**6 else "prime"


def main() -> None:
    with ProcessPoolExecutor(max_workers=2) as processes:
        pipeline = Pipeline(
            Stage("candidates", candidate),
            Stage("division", smallest_divisor, concurrency=2, executor=processes),
            Stage("description", describe),
        )
        found: list[str] = []
        done = threading.Event()
        pipeline.outcomes(range(200)).subscribe(lambda outcome: found.append(outcome.value), print, done.set)
        done.wait()
    print(f"{len(found)} numbers, {found.count('prime')} of them prime")


if __name__ == "__main__":
    main()
