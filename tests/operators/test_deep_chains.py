"""Long chains work, and those that would overflow the stack are refused, rather than hang."""

from __future__ import annotations

from typing import Any

import pytest
from operator_helpers import Watch, collect, run_on_loop
from reactivex import Observable
from reactivex import operators as rx_ops

from rxpipe.operators import batch, from_iterable, stage, timeout, unbatch

LONGEST = 110


def same(value: int) -> int:
    return value


async def same_async(value: int) -> int:
    return value


def failing(value: int) -> int:
    raise LookupError(value)


def chain(length: int, fn: Any = same, first: Any = None) -> Observable[Any]:
    operators: list[Any] = [stage(fn) for _ in range(length)]
    operators[0] = stage(first or fn)
    return from_iterable(range(3)).pipe(*operators)


@pytest.mark.slow
@pytest.mark.parametrize("fn", [same, same_async])
def test_the_longest_chain_works(fn: Any) -> None:
    """Values, the end and errors get through, on threads and on a loop."""

    async def main(source: Observable[Any]) -> list[Any]:
        return await Watch[Any]().to(source).end_on_loop()

    assert collect(chain(LONGEST, fn)) == [0, 1, 2]
    assert run_on_loop(lambda: main(chain(LONGEST, fn)), virtual=False) == [0, 1, 2]
    with pytest.raises(LookupError):
        collect(chain(LONGEST, fn, failing))
    with pytest.raises(LookupError):
        run_on_loop(lambda: main(chain(LONGEST, fn, failing)), virtual=False)


@pytest.mark.parametrize("length", [LONGEST + 1, 200])
def test_a_longer_chain_is_refused(length: int) -> None:
    """At once, with an error that names the limit; no call is made."""

    async def main() -> list[Any]:
        return await Watch[Any]().to(chain(length, failing)).end_on_loop()

    with pytest.raises(ValueError, match=f"at most {LONGEST} operators"):
        collect(chain(length, failing))
    with pytest.raises(ValueError, match=f"at most {LONGEST} operators"):
        run_on_loop(main, virtual=False)


def test_other_operators_with_a_queue_count_too() -> None:
    """Whatever stands between them."""
    link: list[Any] = [batch(2), unbatch(), rx_ops.map(same), timeout(60)]
    with pytest.raises(ValueError, match=f"at most {LONGEST} operators"):
        collect(from_iterable(range(3)).pipe(*(link * 40)))


def test_sequences_inside_count_for_themselves() -> None:
    """What a function returns, or what is flat-mapped, is another chain."""
    inner = chain(60)
    operators: list[Any] = [*[stage(same)] * 60, stage(lambda _: inner), *[stage(same)] * 40]
    outer = from_iterable(range(1)).pipe(*operators)
    assert collect(outer) == [0, 1, 2]
