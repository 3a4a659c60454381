"""Random flows: their description, their functions, and what becomes of each item, in a few plain lines."""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import reactivex
from reactivex import Observable
from reactivex import operators as rx_ops

from rxpipe import Batch, Children, Drop, Pipeline, Retry, SendBack, Stage, feedback
from rxpipe.insight.snapshot import Snapshot
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.run.strategies import Strategy

Ended = tuple[int | str, str, int]
"""An ID, a status and a value."""

ATTEMPTS = 2
TIMEOUT = 10.0


class Odd(BaseException):
    """What is no ``Exception``."""


def mix(*parts: object) -> int:
    """A number that depends on all of the parts."""
    return zlib.crc32(repr(parts).encode())


def number_of(value: Any) -> int:
    """A value as a number; that of ``Children`` depends on how each of them ended."""
    if not isinstance(value, Children):
        return int(value)
    children: Children[Any] = value  # pyright: ignore[reportUnknownVariableType] - of anything
    kids = [(kid.id, kid.status, number_of(kid.value)) for kid in children]
    return Kids(mix(number_of(children.parent), kids))


class Kids(int):
    """The number of ``Children``."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One stage of a flow; ``seed`` decides what becomes of each value there.

    Attributes:
        collected_by: If it expands: the index of the stage that collects.
        trouble: How many of a hundred calls do anything else than return.
    """

    index: int
    seed: int
    expand: bool = False
    collect: bool = False
    batch: Batch | None = None
    has_when: bool = False
    has_key: bool = False
    concurrency: int = 1
    queue_size: int = 0
    max_rounds: int = 1
    trouble: int = 60
    collected_by: int | None = None

    def takes(self, value: Any) -> bool:
        """What ``when`` says."""
        return mix("when", self.seed, number_of(value)) % 3 > 0

    def key(self, value: Any) -> int:
        """One of three."""
        return number_of(value) % 3

    def plan(self, value: int, told: object) -> Plan:
        """What a call with this value is to do."""
        at = mix(self.seed, self.index, value, told)
        kinds = ("fail", "odd", "drop", "hang", "flaky", "back")
        kind = "ok" if at % 100 >= self.trouble else kinds[at // 100 % len(kinds)]
        if self.batch is not None and kind in ("hang", "flaky"):
            kind = "poison"
        return Plan(
            kind=kind,
            values=[mix("value", at, number) for number in range(at // 7 % 4 if self.expand else 1)],
            to=at // 11 % (self.index + 1),
            told=mix("told", at),
            raises=at // 13 % 2 > 0,
            seconds=at // 17 % 3,
            shape=at // 19 % 3,
        )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a call does.

    Attributes:
        kind: How it ends. One that expands does so after all but one of its values, if it does not end well.
        values: What it gives.
        to: The index of the stage that it sends the item back to.
        told: The feedback.
        raises: Whether it raises what it decides, instead of returning it.
        seconds: How long it takes.
        shape: In which way it gives many values.
    """

    kind: str
    values: list[int]
    to: int
    told: int
    raises: bool
    seconds: int
    shape: int

    @property
    def decision(self) -> Drop | SendBack | None:
        """What it decides, if anything."""
        if self.kind == "drop":
            return Drop("unwanted")
        return SendBack(str(self.to), self.told, or_drop=self.raises) if self.kind == "back" else None


@dataclass(frozen=True, kw_only=True)
class Flow:
    """A pipeline to be."""

    steps: list[Step]
    ids: int
    strategy: Strategy = "per_stage"
    concurrency: int = 2


def expected(flow: Flow) -> Counter[Ended]:
    """How all items of a flow end."""
    ended: Counter[Ended] = Counter()
    for item_id in range(flow.ids):
        _walk(flow.steps, ended, item_id, item_id, first=0, until=None)
    return ended


def _walk(
    steps: list[Step], ended: Counter[Ended], item_id: int | str, value: int, *, first: int, until: int | None
) -> Ended:
    def end(status: str) -> Ended:
        ended[item_id, status, int(value)] += 1
        return item_id, status, value

    at, rounds, told, made, born = first, 0, None, list[Ended](), 0
    inputs: dict[int, int] = {}
    while at < len(steps) and at != until:
        step = steps[at]
        passes = not isinstance(value, Kids) if step.collect else step.has_when and not step.takes(value)
        plan = step.plan(value, told)
        many = plan.values if plan.kind in ("ok", "flaky") else plan.values[:-1]
        if step.expand and not passes and (plan.kind in ("ok", "flaky") or plan.raises or plan.decision is None):
            prefix = f"{item_id}/{rounds}." if rounds else f"{item_id}/"
            for number in range(len(made), len(many)):
                made.append(
                    _walk(steps, ended, f"{prefix}{born + number}", many[number], first=at + 1, until=step.collected_by)
                )
        if passes:
            inputs[at], told, at = value, None, at + 1
        elif plan.kind == "drop":
            return end("dropped")
        elif plan.kind == "back":
            if made or plan.to < first or (plan.to < at and plan.to not in inputs):
                return end("failed")
            if rounds >= step.max_rounds:
                return end("dropped" if plan.raises else "failed")
            value = inputs.get(plan.to, value) if plan.to < at else value
            inputs = {index: given for index, given in inputs.items() if index < plan.to}
            rounds, told, at, born = rounds + 1, plan.told, plan.to, 0
        elif plan.kind not in ("ok", "flaky"):
            return end("failed")
        elif not step.expand:
            inputs[at], value, told, at = value, plan.values[0], None, at + 1
        elif step.collected_by is None:
            return end("expanded")
        else:
            born += len(made)
            inputs[at], value, made, told, at = value, Kids(mix(value, _plain(made))), [], None, step.collected_by
    return end("written" if at != until else "collected")


def _plain(made: list[Ended]) -> list[Ended]:
    return [(item_id, status, int(value)) for item_id, status, value in made]


class Machinery:
    """The functions of a flow's stages, which watch that no bound is broken."""

    def __init__(self, flow: Flow, scheduler: Scheduler) -> None:
        self.flow = flow
        self.scheduler = scheduler
        self.broken: list[str] = []
        self.snapshots: list[Snapshot] = []
        self._attempts: Counter[object] = Counter()
        self._running: defaultdict[object, int] = defaultdict(int)

    def pipeline(self) -> Pipeline:
        """All of it."""
        stages = [self._stage(step) for step in self.flow.steps]
        first, *others = stages
        flow = self.flow
        options: Any = {"strategy": flow.strategy, "scheduler": self.scheduler, "concurrency": flow.concurrency}
        return Pipeline(*(first, *others), **options)

    def _stage(self, step: Step) -> Stage:
        plain, later = self._plain(step), self._coroutine(step)
        if step.batch is not None:
            plain, later = self._batch(step), self._batch_later(step)
        call = plain if self.scheduler == "threads" else later
        options: Any = {
            "expand": step.expand,
            "collect": step.collect,
            "batch": step.batch,
            "when": step.takes if step.has_when else None,
            "key": step.key if step.has_key else None,
        }
        return Stage(
            str(step.index),
            call,
            concurrency=step.concurrency,
            queue_size=step.queue_size,
            max_rounds=step.max_rounds,
            timeout=TIMEOUT,
            retry=Retry(max_attempts=ATTEMPTS, initial=1, jitter=0),
            **options,
        )

    # Calls, as they begin and end

    def _begin(self, step: Step, values: list[Any]) -> Callable[[], None]:
        most = step.concurrency if self.flow.strategy == "per_stage" else self.flow.concurrency
        limits: list[tuple[object, int]] = [((step.index,), most)]
        if step.has_key:
            limits += [((step.index, step.key(value)), 1) for value in values]
        for what, limit in limits:
            self._running[what] += 1
            if self._running[what] > limit:
                self.broken.append(f"{self._running[what]} calls of {what}, {limit} allowed")

        def end() -> None:
            while limits:
                self._running[limits.pop()[0]] -= 1

        return end

    def _fails(self, plan: Plan, *place: object) -> BaseException | None:
        if plan.kind == "flaky":
            self._attempts[place] += 1
            return ValueError("flaky") if self._attempts[place] % 2 else None
        if plan.decision is not None:
            return plan.decision
        return {"fail": ValueError("fail"), "odd": Odd("odd"), "poison": ValueError("poison")}.get(plan.kind)

    # With threads, in virtual time: plain functions, which return an Observable where they take a while

    def _plain(self, step: Step) -> Callable[[Any], Any]:
        def call(value: Any) -> Any:
            told = feedback()
            plan = step.plan(number_of(value), told)
            end = self._begin(step, [value])
            error = self._fails(plan, step.index, number_of(value), told)
            if plan.decision is not None and not plan.raises:
                end()
                return plan.decision
            if step.expand:
                return self._many(plan, error, end)
            if plan.kind == "hang":
                return _ending(reactivex.never(), end)
            if plan.seconds:
                given: Observable[Any] = reactivex.timer(float(plan.seconds)).pipe(
                    rx_ops.flat_map(reactivex.just(plan.values[0]) if error is None else _throw(error)),
                )
                return _ending(given, end)
            end()
            if error is not None:
                raise error
            return plan.values[0]

        return call

    def _many(self, plan: Plan, error: BaseException | None, end: Callable[[], None]) -> Any:
        if error is None and plan.kind != "hang" and plan.shape == 0:
            end()
            return list(plan.values)

        def generate() -> Iterator[Any]:
            try:
                yield from plan.values if error is None else plan.values[:-1]
                if error is not None:
                    raise error
            finally:
                end()

        if plan.kind != "hang" and plan.shape == 1:
            return generate()
        most = plan.values if error is None and plan.kind != "hang" else plan.values[:-1]
        each = [reactivex.just(given).pipe(rx_ops.delay(float(plan.seconds))) for given in most]
        last = [reactivex.never()] if plan.kind == "hang" else [] if error is None else [_throw(error)]
        return _ending(reactivex.concat(*each, *last), end)

    def _batch(self, step: Step) -> Callable[[list[Any]], list[Any]]:
        def call(values: list[Any]) -> list[Any]:
            self._begin(step, values)()
            return self._results(step, values, feedback())

        return call

    def _results(self, step: Step, values: list[Any], told: list[object]) -> list[Any]:
        plans = [step.plan(number_of(value), each) for value, each in zip(values, told, strict=True)]
        if any(plan.kind == "poison" for plan in plans):
            raise ValueError("poison")
        if step.batch is not None and len(values) > step.batch.max_items:
            self.broken.append(f"{len(values)} items in a batch")
        return [plan.values[0] if (error := self._fails(plan)) is None else error for plan in plans]

    # On an event loop in virtual time: coroutine functions

    def _coroutine(self, step: Step) -> Callable[[Any], Any]:
        async def one(value: Any) -> Any:
            told = feedback()
            plan = step.plan(number_of(value), told)
            end = self._begin(step, [value])
            try:
                error = self._fails(plan, step.index, number_of(value), told)
                if plan.decision is not None and not plan.raises:
                    return plan.decision
                await asyncio.sleep(1e6 if plan.kind == "hang" else plan.seconds)
                if error is not None:
                    raise error
                return plan.values if step.expand else plan.values[0]
            finally:
                end()

        async def many(value: Any) -> Any:
            told = feedback()
            plan = step.plan(number_of(value), told)
            if plan.decision is not None and not plan.raises:
                return plan.decision
            end = self._begin(step, [value])
            return generate(plan, self._fails(plan, step.index, number_of(value), told), end)

        async def generate(plan: Plan, error: BaseException | None, end: Callable[[], None]) -> AsyncIterator[int]:
            try:
                for given in plan.values if error is None and plan.kind != "hang" else plan.values[:-1]:
                    await asyncio.sleep(plan.seconds)
                    yield given
                if plan.kind == "hang":
                    await asyncio.sleep(1e6)
                if error is not None:
                    raise error
            finally:
                end()

        return many if step.expand else one

    def _batch_later(self, step: Step) -> Callable[[list[Any]], Any]:
        async def call(values: list[Any]) -> list[Any]:
            end = self._begin(step, values)
            try:
                await asyncio.sleep(number_of(values[0]) % 3)
                return self._results(step, values, feedback())
            finally:
                end()

        return call


def _ending(source: Observable[Any], end: Callable[[], None]) -> Observable[Any]:
    """The same, with ``end`` called once, before anybody is told of its end."""
    return source.pipe(rx_ops.do_action(None, lambda _: end(), end), rx_ops.finally_action(end))


def _throw(error: BaseException) -> Observable[Any]:
    def subscribe(observer: Any, scheduler: Any = None) -> Any:
        observer.on_error(error)

    return reactivex.create(subscribe)


Kind = Literal["one", "expand", "collect", "regroup", "batch"]
