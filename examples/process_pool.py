"""Runs one stage in worker processes, as its work keeps a core busy. The other stages run on threads."""

from reactivex import operators as rx_ops

from rxpipe import Pipeline, Stage
from rxpipe.executors import Processes


def candidate(seed: int) -> int:
    return 10**6 + 2 * seed + 1


def smallest_divisor(number: int) -> int:
    return next((n for n in range(3, int(number**0.5) + 1, 2) if number % n == 0), number)


def describe(divisor: int) -> str:
    return f"divisible by {divisor}" if divisor < 10**6 else "prime"


def main() -> None:
    pipeline = Pipeline(
        Stage("candidates", candidate),
        Stage("division", smallest_divisor, timeout=10, executor=Processes(2)),  # a timeout stops the call
        Stage("description", describe),
    )
    found = [outcome.value for outcome in pipeline.outcomes(range(200)).pipe(rx_ops.to_iterable()).run()]
    print(f"{len(found)} numbers, {found.count('prime')} of them prime")


if __name__ == "__main__":
    main()
