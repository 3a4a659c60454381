"""Calls that a server refuses for now: made again without using up an attempt, off their slot, at a bounded pace."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import reactivex as rx
from adaptive_servers import Busy, Server, settings
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from operator_helpers import Watch
from reactivex import Observable
from reactivex import operators as rx_ops
from reactivex.testing import TestScheduler

from rxpipe.operators import Failure, RateLimiter, Retry, from_iterable, retry, stage, will_retry
from rxpipe.operators.stage import stage_with

EXACT = Retry(jitter=0)


class Refusing:
    """A function that raises what it is given first, one after the other, then takes some seconds.

    Attributes:
        calls: When which item was called with.
    """

    def __init__(self, scheduler: TestScheduler, *errors: Exception, seconds: float = 1) -> None:
        self.calls: list[tuple[float, Any]] = []
        self._scheduler = scheduler
        self._errors = list(errors)
        self._seconds = seconds

    @property
    def times(self) -> list[float]:
        return [when for when, _ in self.calls]

    def __call__(self, item: Any) -> Observable[Any]:
        self.calls.append((self._scheduler.clock, item))
        if self._errors:
            raise self._errors.pop(0)
        return rx.timer(self._seconds).pipe(rx_ops.map(lambda _: item))


def run(scheduler: TestScheduler, chain: Observable[Any]) -> Watch[Any]:
    watch = Watch[Any]().to(chain, scheduler)
    scheduler.start()
    return watch


@pytest.fixture
def scheduler() -> TestScheduler:
    return TestScheduler()


@pytest.mark.parametrize("policy", [None, EXACT, Retry(max_attempts=1), Retry(retry_on=()), Retry(retry_on=OSError)])
def test_a_refused_call_is_made_again(scheduler: TestScheduler, policy: Retry | None) -> None:
    """Ten times, if need be: without a policy, with one attempt, and whichever errors the policy names."""
    call = Refusing(scheduler, *(Busy(5) for _ in range(10)))
    assert run(scheduler, from_iterable("a").pipe(stage(call, retry=policy))).result() == ["a"]
    assert call.times == [5 * n for n in range(11)]


def test_refusals_use_up_no_attempts(scheduler: TestScheduler) -> None:
    """Failures between them are counted alone, and so they are in what `recover` is told."""
    errors = [Busy(1), ValueError(), Busy(1), Busy(1), ValueError(), Busy(1), ValueError()]
    call, failures = Refusing(scheduler, *errors), list[Failure[str]]()
    options = settings(call, 1, retry=Retry(initial=10, jitter=0), recover=failures.append)
    run(scheduler, from_iterable("a").pipe(stage_with(options)))
    assert call.times == [0, 1, 11, 12, 13, 33, 34]
    assert [failure.attempts for failure in failures] == [3]
    stats = options.stats
    assert (stats.started, stats.retried, stats.pushed_back, stats.failed, stats.done) == (7, 2, 4, 1, 0)


def test_what_the_server_said_with_the_last_refusal_is_kept(scheduler: TestScheduler) -> None:
    """In one line, and short: it says more than a count."""
    first, last = Busy(1), Busy(1)
    last.args = ("no\nquota " + "x" * 1000,)
    options = settings(Refusing(scheduler, first, ValueError("no"), last), 1, retry=EXACT)
    run(scheduler, from_iterable("a").pipe(stage_with(options)))
    assert options.stats.refusal.startswith("no quota xxx")
    assert len(options.stats.refusal) == 300


def test_a_refusal_after_the_last_attempt_is_tried_again(scheduler: TestScheduler) -> None:
    """Also when the attempts are used up, as it was none."""
    call = Refusing(scheduler, ValueError(), Busy(7))
    chain = from_iterable("a").pipe(stage(call, retry=Retry(max_attempts=2, initial=1, jitter=0)))
    assert run(scheduler, chain).result() == ["a"]
    assert call.times == [0, 1, 8]


def test_a_refusal_waits_as_long_as_the_server_asks(scheduler: TestScheduler) -> None:
    """Also beyond the longest delay of the policy, and below its first."""
    call = Refusing(scheduler, Busy(300), Busy(0.5))
    run(scheduler, from_iterable("a").pipe(stage(call, retry=EXACT)))
    assert call.times == [0, 300, 300.5]


@pytest.mark.parametrize("nonsense", [None, 0, 0.0, -0.0, -1, math.nan, math.inf, "soon"])
def test_without_a_time_it_backs_off(scheduler: TestScheduler, nonsense: Any) -> None:
    """Longer each time that the item is refused, as 0 would be a loop without a pause."""
    call = Refusing(scheduler, *(Busy(nonsense) for _ in range(4)))
    run(scheduler, from_iterable("a").pipe(stage(call, retry=Retry(initial=2, jitter=0))))
    assert call.times == [0, 2, 6, 14, 30]


def test_backing_off_goes_by_refusals_alone(scheduler: TestScheduler) -> None:
    """Failures before do not make it longer, nor do refusals make a failure's delay longer."""
    call = Refusing(scheduler, ValueError(), Busy(), Busy(), ValueError())
    run(scheduler, from_iterable("a").pipe(stage(call, retry=EXACT)))
    assert call.times == [0, 1, 2, 4, 6]


@pytest.mark.parametrize("policy", [Retry(initial=0), Retry(initial=0, max_delay=0, jitter=0)])
def test_a_policy_without_delays_is_no_loop_without_a_pause(scheduler: TestScheduler, policy: Retry) -> None:
    """A refusal has the default delays then."""
    call = Refusing(scheduler, *(Busy(0) for _ in range(3)))
    assert run(scheduler, from_iterable("a").pipe(stage(call, retry=policy))).result() == ["a"]
    gaps = [after - before for before, after in zip(call.times, call.times[1:], strict=False)]
    assert all(least <= gap <= most for gap, least, most in zip(gaps, (1, 1, 2), (1.5, 3, 6), strict=True))


def test_the_slot_is_free_meanwhile(scheduler: TestScheduler) -> None:
    """Other items go on while a refused one waits, and it goes ahead of new ones then."""
    call = Refusing(scheduler, Busy(5), seconds=2)
    run(scheduler, from_iterable("abcde").pipe(stage(call)))
    assert call.calls == [(0, "a"), (0, "b"), (2, "c"), (4, "d"), (6, "a"), (8, "e")]


def test_in_order_it_keeps_its_place(scheduler: TestScheduler) -> None:
    """Later results wait for one that was refused."""
    call = Refusing(scheduler, Busy(5))
    assert run(scheduler, from_iterable("abc").pipe(stage(call, ordered=True))).result() == ["a", "b", "c"]


def test_a_refusal_takes_from_the_rate_limit(scheduler: TestScheduler) -> None:
    """Each call does, whatever becomes of it."""
    call = Refusing(scheduler, Busy(1))
    run(scheduler, from_iterable("ab").pipe(stage(call, concurrency=2, rate_limit=RateLimiter(1, 10))))
    assert call.times == [0, 10, 20]


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("queue_size", [0, 3])
def test_what_it_holds_is_bounded_when_everything_is_refused(
    scheduler: TestScheduler, concurrency: int, queue_size: int
) -> None:
    """No more items are taken than places, for as long as the server takes none."""
    taken = 0

    def source() -> Iterator[int]:
        nonlocal taken
        for item in range(10_000):
            taken += 1
            yield item

    options = settings(Server(scheduler, 0), concurrency, queue_size=queue_size)
    watch = Watch[int]().to(from_iterable(source()).pipe(stage_with(options)), scheduler)
    scheduler.advance_to(300)
    stats = options.stats
    assert taken == stats.taken == concurrency + queue_size
    assert (stats.running, stats.waiting) == (0, taken)
    assert stats.pushed_back == stats.started
    watch.dispose()
    assert (stats.waiting, stats.discarded) == (0, taken)


def test_how_often_it_calls_is_bounded_when_everything_is_refused(scheduler: TestScheduler) -> None:
    """Backing off, an item is tried at 0, 1, 3, 7, 15, 31, and then once a minute or so."""
    server = Server(scheduler, 0, retry_after=0)
    watch = Watch[int]().to(from_iterable(range(100)).pipe(stage(server, retry=EXACT)), scheduler)
    scheduler.advance_to(62)
    assert set(Counter(item for _, item in server.calls).values()) == {6}
    watch.dispose()


def always(error: BaseException) -> bool:
    return True


class Hopeless(Busy):
    """Busy, and will be for ever."""

    is_permanent = True


def test_a_permanent_one_is_not_made_again(scheduler: TestScheduler) -> None:
    """Unless its kind is named."""
    call = Refusing(scheduler, Hopeless(1))
    assert isinstance(run(scheduler, from_iterable("a").pipe(stage(call))).error, Hopeless)
    call = Refusing(scheduler, Hopeless(1))
    chain = from_iterable("a").pipe(stage(call, retry=Retry(retry_on="rate_limited")))
    assert run(scheduler, chain).result() == ["a"]


def test_a_function_may_refuse_to_go_on(scheduler: TestScheduler) -> None:
    """A `retry_on` that is a function is asked about these, too."""
    call = Refusing(scheduler, Busy(1))
    chain = from_iterable("a").pipe(stage(call, retry=Retry(retry_on=lambda _: False)))
    assert isinstance(run(scheduler, chain).error, Busy)


def test_the_operator_retry_uses_up_no_attempts_either(scheduler: TestScheduler) -> None:
    """It subscribes again as often as the source is refused, and counts failures alone."""
    errors: list[Exception] = [Busy(5), Busy(), ValueError(), Busy(0), Busy(5), ValueError()]
    times: list[float] = []

    def source(_: Any) -> Observable[str]:
        times.append(scheduler.clock)
        return rx.throw(errors.pop(0)) if errors else rx.of("a")

    chain = rx.defer(source).pipe(retry(Retry(max_attempts=3, initial=10, max_delay=100, jitter=0)))
    assert run(scheduler, chain).result() == ["a"]
    assert times == [0, 5, 25, 35, 75, 80, 100]


@hypothesis_settings(max_examples=80, deadline=None)
@given(
    plans=st.lists(
        st.lists(st.sampled_from(["busy", "error", "kind", "permanent", "hangs", "connection"]), max_size=5), max_size=8
    ),
    concurrency=st.integers(1, 3),
    queue_size=st.integers(0, 2),
    max_attempts=st.integers(1, 3),
    retry_on=st.sampled_from([Exception, ValueError, "transient", ("odd", TimeoutError), (), always]),
    ordered=st.booleans(),
)
def test_figures_add_up_and_will_retry_tells_what_happens(
    plans: list[list[str]], concurrency: int, queue_size: int, max_attempts: int, retry_on: Any, ordered: bool
) -> None:
    """Whatever calls raise, counts are never negative, and `will_retry` has told whether another call follows."""
    scheduler = TestScheduler()
    calls: Counter[int] = Counter()
    foretold: dict[int, bool] = {}
    wrong: list[str] = []

    def call(item: int) -> Observable[int]:
        check()
        calls[item] += 1
        if foretold.pop(item, True) is False:
            wrong.append(f"{item} is called again")
        plan = plans[item]
        fate = plan[calls[item] - 1] if calls[item] <= len(plan) else "ok"
        if fate == "hangs":
            return rx.never()
        if fate in ERRORS:
            error = ERRORS[fate]()
            foretold[item] = will_retry(error)
            raise error
        return rx.timer(1).pipe(rx_ops.map(lambda _: item))

    def recover(failure: Failure[int]) -> int:
        if foretold.pop(failure.value, False) is True:
            wrong.append(f"{failure.value} is not called again")
        return failure.value

    def check(_: Any = None) -> None:
        stats = options.stats
        if min(stats.running, stats.waiting) < 0 or stats.running > concurrency:
            wrong.append(f"{stats.running} running, {stats.waiting} waiting")

    policy = Retry(max_attempts=max_attempts, retry_on=retry_on, jitter=0)
    options = settings(
        call, concurrency, queue_size=queue_size, timeout=3, retry=policy, ordered=ordered, recover=recover
    )
    chain = from_iterable(range(len(plans))).pipe(stage_with(options), rx_ops.do_action(check))
    values = run(scheduler, chain).result()
    assert (values if ordered else sorted(values)) == list(range(len(plans)))
    assert wrong == []
    stats = options.stats
    assert stats.started == sum(calls.values()) == stats.ended
    assert stats.done + stats.failed == stats.taken == len(plans)


class Kind(Exception):
    kind = "odd"


class Permanent(ValueError):
    is_permanent = True


ERRORS: dict[str, Callable[[], Exception]] = {
    "busy": Busy,
    "error": ValueError,
    "kind": Kind,
    "permanent": Permanent,
    "connection": ConnectionError,
}
