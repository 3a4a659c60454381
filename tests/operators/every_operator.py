"""Every operator and creation function of reactivex that subscribes later, in another place, or again.

Each case builds a sequence of several others, and says whether what came of it is right. ``seq(*values)`` makes one: a
stage, or an async source. ``now`` is a sequence that gives a value at once.
"""

# Lambdas in a hundred small compositions, whose types nobody needs to read:
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops
from reactivex.disposable import Disposable
from reactivex.scheduler import NewThreadScheduler
from reactivex.subject import ReplaySubject, Subject

Make = Callable[..., Observable[Any]]
Right = Callable[[list[Any]], bool]
Case = tuple[Callable[[Make], Observable[Any]], Right]


def above_one(value: Any, _index: int = 0) -> bool:
    return bool(value > 1)


def second_of(pair: Any) -> Any:
    return pair[1]


def exactly(*values: Any) -> Right:
    """These, in this order."""
    return lambda came: came == list(values)


def in_any_order(*values: Any) -> Right:
    return lambda came: sorted(came) == sorted(values)


def ends_with(*values: Any) -> Right:
    """These at the end; what comes before depends on who is faster."""
    return lambda came: came[-len(values) :] == list(values)


def one_of(*ways: list[Any]) -> Right:
    return lambda came: came in ways


def flat(lists: list[list[Any]]) -> list[Any]:
    return [value for values in lists for value in values]


def failing(seq: Make, *values: Any) -> Observable[Any]:
    """Gives these, then fails."""
    return rx.concat(seq(*values), seq(0).pipe(ops.map(lambda _: 1 / 0)))


def now() -> Observable[int]:
    return rx.return_value(0)


def times(most: int) -> Callable[[Any], bool]:
    """True so many times."""
    left = [True] * most
    return lambda _: bool(left and left.pop())


def failing_twice(seq: Make) -> Observable[Any]:
    fails = times(2)
    return rx.defer(lambda _: failing(seq, 1) if fails(None) else seq(2))


def lists(source: Observable[Observable[Any]]) -> Observable[Any]:
    """What windows and groups give, as lists."""

    def as_list(inner: Observable[Any]) -> Observable[Any]:
        return inner.pipe(ops.to_list())

    return source.pipe(ops.flat_map(as_list))


def is_cut(*values: Any) -> Right:
    """These, in order, cut into lists."""
    return lambda came: flat(came) == list(values)


def is_part_of(*values: Any) -> Right:
    """Lists of some of these: the others came while nothing was open."""
    return lambda came: set(flat(came)) <= set(values)


def through(seq: Make) -> Callable[[Observable[Any]], Observable[Any]]:
    """Has each value of a group go through a sequence of its own."""
    return lambda group: group.pipe(ops.flat_map(lambda n: seq(n)))


def ticks(seq: Make) -> Observable[Any]:
    """Gives a value again and again, without end."""
    return seq(0).pipe(ops.repeat())


def some_of(*values: Any) -> Right:
    """Some of these: who subscribes to a hot sequence may come too late for others."""
    return lambda came: set(came) <= set(values)


CREATION: dict[str, Case] = {
    "amb": (lambda seq: rx.amb(seq(1, 2), seq(3, 4)), one_of([1, 2], [3, 4])),
    "case": (lambda seq: rx.case(lambda: 1, {1: seq(1, 2)}), exactly(1, 2)),
    "catch": (lambda seq: rx.catch(failing(seq, 1), seq(2)), exactly(1, 2)),
    "catch_with_iterable": (lambda seq: rx.catch_with_iterable([failing(seq, 1), seq(2)]), exactly(1, 2)),
    "combine_latest": (lambda seq: rx.combine_latest(seq(1, 2), seq(3, 4)), ends_with((2, 4))),
    "concat": (lambda seq: rx.concat(seq(1, 2), seq(3, 4), seq(5)), exactly(1, 2, 3, 4, 5)),
    "concat_with_iterable": (lambda seq: rx.concat_with_iterable(seq(n) for n in (1, 2)), exactly(1, 2)),
    "defer": (lambda seq: rx.defer(lambda _: seq(1, 2)), exactly(1, 2)),
    "fork_join": (lambda seq: rx.fork_join(seq(1, 2), seq(3, 4)), exactly((2, 4))),
    "if_then": (lambda seq: rx.if_then(lambda: True, seq(1, 2), seq(3)), exactly(1, 2)),
    "for_in": (lambda seq: rx.for_in([1, 2], lambda n: seq(n, n)), exactly(1, 1, 2, 2)),
    "merge": (lambda seq: rx.merge(seq(1, 2), seq(3, 4)), in_any_order(1, 2, 3, 4)),
    "on_error_resume_next": (lambda seq: rx.on_error_resume_next(failing(seq, 1), seq(2)), exactly(1, 2)),
    "timer": (lambda seq: rx.timer(0.001).pipe(ops.flat_map(lambda _: seq(1, 2))), exactly(1, 2)),
    "using": (lambda seq: rx.using(lambda: Disposable(), lambda _: seq(1, 2)), exactly(1, 2)),
    "with_latest_from": (lambda seq: rx.with_latest_from(seq(1, 2), now()), some_of((1, 0), (2, 0))),
    "zip": (lambda seq: rx.zip(seq(1, 2), seq(3, 4)), exactly((1, 3), (2, 4))),
    "zip_latest": (lambda seq: rx.zip_latest(seq(1), seq(3)), exactly((1, 3))),
}

AGAIN: dict[str, Case] = {
    "do_while": (lambda seq: seq(1, 2).pipe(ops.do_while(times(2))), exactly(1, 2, 1, 2, 1, 2)),
    "while_do": (lambda seq: seq(1, 2).pipe(ops.while_do(times(3))), exactly(1, 2, 1, 2, 1, 2)),
    "repeat": (lambda seq: seq(1, 2).pipe(ops.repeat(3)), exactly(1, 2, 1, 2, 1, 2)),
    "retry": (lambda seq: failing_twice(seq).pipe(ops.retry(3)), exactly(1, 1, 2)),
    "catch": (lambda seq: failing(seq, 1).pipe(ops.catch(lambda _, __: seq(2))), exactly(1, 2)),
    "on_error_resume_next": (lambda seq: failing(seq, 1).pipe(ops.on_error_resume_next(seq(2))), exactly(1, 2)),
    "publish": (lambda seq: seq(1, 2).pipe(ops.publish(lambda one: one)), exactly(1, 2)),
    "publish_value": (lambda seq: seq(1, 2).pipe(ops.publish_value(0), ops.ref_count()), exactly(0, 1, 2)),
    "multicast": (lambda seq: seq(1, 2).pipe(ops.multicast(Subject()), ops.ref_count()), exactly(1, 2)),
    "multicast again": (
        lambda seq: seq(1, 2).pipe(
            ops.multicast(subject_factory=lambda _: ReplaySubject(), mapper=lambda one: rx.concat(one, one))
        ),
        exactly(1, 2, 1, 2),
    ),
    "replay": (lambda seq: seq(1, 2).pipe(ops.replay(mapper=lambda one: rx.concat(one, one))), exactly(1, 2, 1, 2)),
    "share": (lambda seq: seq(1, 2).pipe(ops.share()), exactly(1, 2)),
    "sequence_equal": (lambda seq: seq(1, 2).pipe(ops.sequence_equal(seq(1, 2))), exactly(True)),
    "partition": (lambda seq: rx.merge(*seq(1, 2).pipe(ops.partition(above_one))), some_of(1, 2)),
    "partition_indexed": (
        lambda seq: rx.merge(*seq(1, 2).pipe(ops.partition_indexed(above_one))),
        some_of(1, 2),
    ),
}

LATER: dict[str, Case] = {
    "amb": (lambda seq: seq(1, 2).pipe(ops.amb(seq(3, 4))), one_of([1, 2], [3, 4])),
    "combine_latest": (lambda seq: seq(1, 2).pipe(ops.combine_latest(seq(3, 4))), ends_with((2, 4))),
    "concat": (lambda seq: seq(1, 2).pipe(ops.concat(seq(3, 4))), exactly(1, 2, 3, 4)),
    "concat_all": (lambda seq: seq(1, 2).pipe(ops.map(lambda n: seq(n, n)), ops.concat_all()), exactly(1, 1, 2, 2)),
    "concat_map": (lambda seq: seq(1, 2, 3).pipe(ops.concat_map(lambda n: seq(n, n))), exactly(1, 1, 2, 2, 3, 3)),
    "delay": (lambda seq: seq(1, 2).pipe(ops.delay(0.001)), exactly(1, 2)),
    "delay_subscription": (lambda seq: seq(1, 2).pipe(ops.delay_subscription(0.001)), exactly(1, 2)),
    "delay_with_mapper": (lambda seq: seq(1, 2).pipe(ops.delay_with_mapper(lambda n: seq(n))), in_any_order(1, 2)),
    "exclusive": (lambda seq: seq(1, 2).pipe(ops.map(lambda n: seq(n, n)), ops.exclusive()), lambda came: 1 in came),
    "expand": (lambda seq: seq(1).pipe(ops.expand(lambda n: seq(n + 1) if n < 4 else rx.empty())), exactly(1, 2, 3, 4)),
    "flat_map": (lambda seq: seq(1, 2, 3).pipe(ops.flat_map(lambda n: seq(n, n))), in_any_order(1, 1, 2, 2, 3, 3)),
    "flat_map_indexed": (
        lambda seq: seq(1, 2).pipe(ops.flat_map_indexed(lambda n, i: seq(n, i))),
        in_any_order(1, 0, 2, 1),
    ),
    "flat_map_latest": (lambda seq: seq(1, 2).pipe(ops.flat_map_latest(lambda n: seq(n, n))), ends_with(2, 2)),
    "fork_join": (lambda seq: seq(1, 2).pipe(ops.fork_join(seq(3, 4))), exactly((2, 4))),
    "merge": (lambda seq: seq(1, 2).pipe(ops.merge(seq(3, 4))), in_any_order(1, 2, 3, 4)),
    "merge_all": (lambda seq: seq(1, 2).pipe(ops.map(lambda n: seq(n, n)), ops.merge_all()), in_any_order(1, 1, 2, 2)),
    "merge some": (
        lambda seq: seq(1, 2, 3).pipe(ops.map(lambda n: seq(n, n)), ops.merge(max_concurrent=1)),
        in_any_order(1, 1, 2, 2, 3, 3),
    ),
    "observe_on": (lambda seq: seq(1, 2).pipe(ops.observe_on(NewThreadScheduler())), exactly(1, 2)),
    "subscribe_on": (
        lambda seq: seq(1, 2).pipe(ops.subscribe_on(NewThreadScheduler())),
        exactly(1, 2),
    ),
    "skip_until": (lambda seq: rx.concat(seq(1), seq(2)).pipe(ops.skip_until(now())), exactly(1, 2)),
    "start_with": (lambda seq: seq(1, 2).pipe(ops.start_with(0)), exactly(0, 1, 2)),
    "switch_latest": (lambda seq: seq(1, 2).pipe(ops.map(lambda n: seq(n, n)), ops.switch_latest()), ends_with(2, 2)),
    "switch_map": (lambda seq: seq(1, 2).pipe(ops.switch_map(lambda n: seq(n, n))), ends_with(2, 2)),
    "switch_map_indexed": (lambda seq: seq(1, 2).pipe(ops.switch_map_indexed(lambda n, _: seq(n, n))), ends_with(2, 2)),
    "take_until": (lambda seq: seq(1, 2).pipe(ops.take_until(rx.never())), exactly(1, 2)),
    "take_until ends": (lambda seq: rx.never().pipe(ops.take_until(seq(1, 2)), ops.start_with(0)), exactly(0)),
    "throttle_with_mapper": (lambda seq: seq(1, 2).pipe(ops.throttle_with_mapper(lambda n: seq(n))), ends_with(2)),
    "timeout": (lambda seq: rx.never().pipe(ops.timeout(0.001, seq(1, 2))), exactly(1, 2)),
    "timeout_with_mapper": (
        lambda seq: rx.never().pipe(ops.timeout_with_mapper(now(), None, seq(1, 2))),
        exactly(1, 2),
    ),
    "with_latest_from": (lambda seq: seq(1, 2).pipe(ops.with_latest_from(now())), some_of((1, 0), (2, 0))),
    "zip": (lambda seq: seq(1, 2).pipe(ops.zip(seq(3, 4))), exactly((1, 3), (2, 4))),
    "zip_latest": (lambda seq: seq(1).pipe(ops.zip_latest(seq(3))), exactly((1, 3))),
    "zip_with_iterable": (lambda seq: seq(1, 2).pipe(ops.zip_with_iterable([3, 4])), exactly((1, 3), (2, 4))),
}

IN_PARTS: dict[str, Case] = {
    "buffer": (lambda seq: seq(1, 2).pipe(ops.buffer(ticks(seq))), is_cut(1, 2)),
    "buffer_when": (lambda seq: seq(1, 2).pipe(ops.buffer_when(lambda: rx.never())), is_cut(1, 2)),
    "buffer_toggle": (lambda seq: seq(1, 2).pipe(ops.buffer_toggle(now(), lambda _: seq(0))), is_part_of(1, 2)),
    "buffer_with_count": (lambda seq: seq(1, 2, 3).pipe(ops.buffer_with_count(2)), is_cut(1, 2, 3)),
    "buffer_with_time": (lambda seq: seq(1, 2).pipe(ops.buffer_with_time(0.005)), is_cut(1, 2)),
    "group_by": (
        lambda seq: seq(1, 2, 3, 4).pipe(ops.group_by(lambda n: n % 2), ops.flat_map(through(seq))),
        in_any_order(1, 2, 3, 4),
    ),
    "group_by_until": (
        lambda seq: lists(seq(1, 2, 3).pipe(ops.group_by_until(lambda n: n, None, through(seq)))),
        in_any_order([1], [2], [3]),
    ),
    "group_join": (
        lambda seq: lists(
            seq(1, 2).pipe(ops.group_join(seq(), lambda _: seq(0), lambda _: seq(0)), ops.map(second_of))
        ),
        exactly([], []),
    ),
    "join": (
        lambda seq: seq(1, 2).pipe(ops.join(seq(3), lambda _: rx.never(), lambda _: rx.never())),
        in_any_order((1, 3), (2, 3)),
    ),
    "window": (lambda seq: lists(seq(1, 2).pipe(ops.window(ticks(seq)))), is_cut(1, 2)),
    "window_when": (lambda seq: lists(seq(1, 2).pipe(ops.window_when(lambda: rx.never()))), is_cut(1, 2)),
    "window_toggle": (lambda seq: lists(seq(1, 2).pipe(ops.window_toggle(now(), lambda _: seq(0)))), is_part_of(1, 2)),
    "window_with_count": (lambda seq: lists(seq(1, 2, 3).pipe(ops.window_with_count(2))), exactly([1, 2], [3])),
    "window_with_time": (lambda seq: lists(seq(1, 2).pipe(ops.window_with_time(0.005))), is_cut(1, 2)),
    "sample": (lambda seq: seq(1, 2).pipe(ops.sample(ticks(seq))), lambda came: set(came) <= {1, 2}),
}

CASES: dict[str, Case] = {
    f"{kind}: {name}": case
    for kind, cases in (("creation", CREATION), ("again", AGAIN), ("later", LATER), ("in parts", IN_PARTS))
    for name, case in cases.items()
}


def _named(*names: str) -> frozenset[str]:
    return frozenset(name for name in CASES if name.split(": ")[1] in names)


TIMED = _named("timer", "delay", "delay_subscription", "timeout", "buffer_with_time", "window_with_time")
ENDLESS = _named("buffer", "window", "sample")

#: If its timer is due before the subscription to it has been kept, reactivex disposes of the source's instead.
CUT_OFF = _named("delay_subscription")

#: Its timer has a thread of its own if no scheduler is given, and subscribes there: twice, first when it emits and then
#: when it completes, so that a value may come from both.
OFF_LOOP = _named("delay_subscription")

#: reactivex does not synchronize these: with sequences on several threads they lose values and ends, or double some.
UNSYNCHRONIZED = _named(
    *("buffer", "buffer_when", "buffer_toggle", "window", "window_when", "window_toggle", "sample"),
    *("join", "group_by_until", "sequence_equal", "exclusive", "skip_until", "take_until", "take_until ends"),
    *("switch_latest", "switch_map", "switch_map_indexed", "flat_map_latest"),
    *("delay_subscription", "delay_with_mapper", "throttle_with_mapper", "timeout_with_mapper"),
)
