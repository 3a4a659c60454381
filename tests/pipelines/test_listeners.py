"""Listeners that raise: they are told no more, and nothing else happens."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import reactivex
from pipeline_helpers import LIMIT, SCHEDULERS, Block, Seen, counts, finish, same
from reactivex import Observable
from reactivex.abc import ObserverBase, SchedulerBase
from reactivex.disposable import Disposable
from structlog.testing import capture_logs

from rxpipe import ItemView, Outcome, Pipeline, RunView, Stage
from rxpipe.operators import Usage
from rxpipe.operators.core.running_call import record_usage
from rxpipe.pipeline.listener import Listener
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.wrap_call import Undo, inside

FAILED = "listener failed, and is told no more"
METHODS = [
    "wrapped", "run_started", "draining", "stalled", "taken", "call_started", "call_ended", "used", "left", "ended",
]  # fmt: skip


class Counting(Listener):
    """Counts what it is told, and raises at one of its methods."""

    def __init__(self, raises: str = "", error: BaseException | None = None) -> None:
        self.told: dict[str, int] = {}
        self.after = 0  # times that it was told of anything after it had raised
        self._raises = raises
        self._error = error

    def _tell(self, method: str) -> None:
        self.told[method] = self.told.get(method, 0) + 1
        if self._error is not None:
            self.after += self.told.get(self._raises, 0) > (method == self._raises)
            if method == self._raises:
                raise self._error

    def wrapped(self, stage: Stage, call: Callable[[Any], Any]) -> Callable[[Any], Any]:
        self._tell("wrapped")
        return call

    def __getattribute__(self, name: str) -> Any:
        if name in METHODS[1:]:

            def tell(*_: Any, **__: Any) -> None:
                self._tell(name)

            return tell
        return super().__getattribute__(name)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[type[BaseException]]:
    """Errors that nobody took, as Python shows those that end a thread."""
    errors: list[type[BaseException]] = []

    def show(shown: threading.ExceptHookArgs) -> None:
        errors.append(shown.exc_type)

    monkeypatch.setattr("threading.excepthook", show)
    return errors


def using(value: Any) -> Any:
    """Uses something."""
    record_usage(Usage(cost=1.0))
    return value


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("error", [ValueError("listener"), SystemExit("listener"), KeyboardInterrupt("listener")])
@pytest.mark.parametrize("method", METHODS)
def test_a_listener_that_raises_is_told_no_more_and_disturbs_nobody(
    method: str, error: BaseException, scheduler: Scheduler
) -> None:
    """Whatever it raises, wherever: items, other listeners and the pipeline's end are as without it."""
    broken, other = Counting(method, error), Counting()
    pipeline = Pipeline(Stage("a", using), Stage("b", same), scheduler=scheduler, listeners=[broken, other])
    with capture_logs() as logs, pipeline.open(stalled_after=0) as running:
        outcomes = [submission.result(LIMIT) for submission in [running.submit(item_id) for item_id in range(3)]]
        running.health()
    assert [outcome.status for outcome in outcomes] == ["written"] * 3
    assert counts(running.report()) == (3, 3, 0, 0)
    assert {name: other.told[name] for name in other.told if name not in ("stalled", "wrapped")} == {
        "run_started": 1, "draining": 1, "taken": 3, "call_started": 6, "call_ended": 6, "used": 3, "left": 3,
        "ended": 3,
    }  # fmt: skip
    if method != "stalled":
        assert [log["listener"] for log in logs if log["event"] == FAILED] == ["Counting"]
    assert broken.after == 0


def test_a_listener_that_raises_when_told_of_a_stall() -> None:
    """Health is told all the same."""
    block, broken = Block(), Counting("stalled", SystemExit("listener"))
    with capture_logs() as logs, Pipeline(Stage("a", block), listeners=[broken]).open(stalled_after=0) as running:
        running.submit(1)
        block.wait_for(1)
        assert running.health().status == "stalled"
        block.may_return.set()
    assert [log["listener"] for log in logs if log["event"] == FAILED] == ["Counting"]
    assert broken.after == 0


def test_what_wraps_no_function_is_an_error_of_the_listener() -> None:
    """The stage's own function is called."""

    class Wrong(Listener):
        def wrapped(self, stage: Stage, call: Callable[[Any], Any]) -> Any:
            return None

    with capture_logs() as logs:
        assert counts(Pipeline(Stage("a", same), listeners=[Wrong()]).run(range(3))) == (3, 3, 0, 0)
    assert [log["error"] for log in logs] == ["TypeError: wrapped() must return a function, not None"]


@pytest.mark.parametrize("where", ["begin", "end"])
@pytest.mark.parametrize("kind", ["plain", "coroutine", "awaitable"])
def test_what_a_listener_sets_up_around_a_call_never_fails_it(kind: str, where: str) -> None:
    """It is logged and not tried again."""
    begun: list[ItemView] = []

    def fail() -> None:
        raise SystemExit("undo")

    def enter(item: ItemView) -> Undo:
        begun.append(item)
        if where == "begin":
            raise SystemExit("enter")
        return fail

    async def coroutine(value: Any) -> Any:
        return value

    class Entering(Listener):
        def wrapped(self, stage: Stage, call: Callable[[Any], Any]) -> Callable[[Any], Any]:
            return inside(stage, call, enter)

    functions: dict[str, Callable[[Any], Any]] = {
        "plain": same,
        "coroutine": coroutine,
        "awaitable": lambda value: coroutine(value),
    }
    pipeline = Pipeline(Stage("a", functions[kind], concurrency=1), listeners=[Entering()])
    with capture_logs() as logs:
        assert counts(pipeline.run(range(3))) == (3, 3, 0, 0)
    assert (
        len(begun) == len([log for log in logs if log["event"] == "what a listener sets up around calls failed"]) == 1
    )


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_run_whose_listener_raises_can_be_cancelled_once(scheduler: Scheduler) -> None:
    """A first cancellation ends it: nothing else has to be waited for."""

    class Broken(Listener):
        def ended(self, item: ItemView, outcome: Outcome[Any]) -> None:
            raise ValueError("listener")

    async def main() -> None:
        started = asyncio.Event()

        async def forever(value: Any) -> None:
            loop.call_soon_threadsafe(started.set)
            await asyncio.Event().wait()

        loop = asyncio.get_running_loop()
        pipeline = Pipeline(Stage("a", forever), scheduler=scheduler, listeners=[Broken()])
        running = asyncio.ensure_future(pipeline.run_async([1, 2]))
        await asyncio.wait_for(started.wait(), LIMIT)
        running.cancel()
        await asyncio.wait([running], timeout=LIMIT)
        assert running.cancelled()

    asyncio.run(main())


def test_logging_that_raises_is_not_the_runs_affair(
    monkeypatch: pytest.MonkeyPatch, shown: list[type[BaseException]]
) -> None:
    """What cannot be logged is shown as Python shows what ends a thread."""

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("rxpipe.pipeline.listener._log.error", fail, raising=False)
    assert Pipeline(Stage("a", same), listeners=[Counting("taken", ValueError("listener"))]).run([1]).written == 1
    assert shown == [OSError]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_callback_of_the_end_that_raises_anything_hides_it_from_nobody(
    scheduler: Scheduler, shown: list[type[BaseException]]
) -> None:
    """Those that were added later are called, too."""

    class Exiting(Listener):
        def run_started(self, run: RunView) -> None:
            run.finished.add_done_callback(leave)

    def leave(finished: object) -> None:
        raise SystemExit("callback")

    pipeline = Pipeline(Stage("a", same), scheduler=scheduler, listeners=[Exiting()])
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(pipeline.run, range(3)).result(LIMIT).written == 3
    assert shown == [SystemExit]


def test_a_source_that_raises_when_it_is_stopped_does_not_keep_the_run_from_ending(
    shown: list[type[BaseException]],
) -> None:
    """What its disposing raises is shown, and the calls are cancelled."""

    def fail() -> None:
        raise ValueError("source")

    block = Block()

    def subscribe(observer: ObserverBase[int], scheduler: SchedulerBase | None = None) -> Disposable:
        observer.on_next(1)
        return Disposable(fail)

    source: Observable[int] = reactivex.create(subscribe)
    run = Pipeline(Stage("a", block)).start(source, Seen())
    block.wait_for(1)
    run.abort()
    assert finish(run).cancelled == 1
    assert shown
    block.may_return.set()
