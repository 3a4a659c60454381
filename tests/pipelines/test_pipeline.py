from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import reactivex
from pipeline_helpers import SCHEDULERS, WAYS, ListSink, Seen, SlowSink, counts, finish, same

from rxpipe import ConfigError, DatabaseSink, Listener, Pipeline, Retry, RunStore, SinkError, Stage, load_pipeline
from rxpipe.executors import Processes
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.run.strategies import Strategy


async def doubled_later(value: int) -> int:
    await asyncio.sleep(0)
    return 2 * value


def doubled(value: int) -> int:
    return 2 * value


FUNCTIONS: dict[str, tuple[Callable[[int], Any], ...]] = {
    "plain": (doubled, doubled, doubled),
    "coroutine": (doubled_later, doubled_later, doubled_later),
    "mixed": (doubled, doubled_later, doubled),
}


@pytest.mark.parametrize("kind", FUNCTIONS)
@pytest.mark.parametrize(("strategy", "scheduler"), WAYS)
def test_every_way_of_running_gives_the_same(strategy: Strategy, scheduler: Scheduler, kind: str) -> None:
    """Whatever the functions are."""
    sink = ListSink()
    stages = [Stage(f"s{number}", call, concurrency=3) for number, call in enumerate(FUNCTIONS[kind])]
    report = Pipeline(*stages, sink=sink, strategy=strategy, scheduler=scheduler).run(range(50))
    assert counts(report) == (50, 50, 0, 0)
    assert sorted((row.id, row.value) for row in sink.rows) == [(number, 8 * number) for number in range(50)]
    assert [stage.done for stage in report.stages] == [50, 50, 50]


@pytest.mark.parametrize(("strategy", "scheduler"), WAYS)
def test_a_failed_item_skips_the_stages_that_are_left_and_reaches_the_sink(
    strategy: Strategy, scheduler: Scheduler
) -> None:
    """With its error, the stage, and the value that it had."""
    sink = ListSink()

    def second(value: int) -> int:
        if value == 6:
            raise ValueError("six")
        return value + 1

    stages = Stage("first", doubled), Stage("second", second), Stage("third", doubled_later)
    report = Pipeline(*stages, sink=sink, strategy=strategy, scheduler=scheduler).run(range(5))
    assert counts(report) == (5, 4, 1, 0)
    (failed,) = (row for row in sink.rows if row.status == "failed")
    assert (failed.id, failed.value, failed.stage, failed.attempts) == (3, 6, "second", 2)
    assert repr(failed.error) == "ValueError('six')"
    assert [(stage.done, stage.failed) for stage in report.stages] == [(5, 0), (4, 1), (4, 0)]


@pytest.mark.parametrize(("strategy", "scheduler"), WAYS)
def test_attempts_count_every_call_in_all_stages(strategy: Strategy, scheduler: Scheduler) -> None:
    """Retries included."""
    sink = ListSink()
    calls: list[int] = []

    def flaky(value: int) -> int:
        calls.append(value)
        if calls.count(value) < 3:
            raise OSError
        return value

    retry = Retry(max_attempts=3, initial=0.0, max_delay=0.0)
    report = Pipeline(
        Stage("flaky", flaky, retry=retry), Stage("sure", doubled), sink=sink, strategy=strategy, scheduler=scheduler
    ).run([1, 2])
    assert [row.attempts for row in sink.rows] == [4, 4]
    assert report.stages[0].retried == 4


def test_without_a_sink_an_item_is_written_when_the_last_stage_has_returned() -> None:
    """There is nothing to wait for."""
    assert counts(Pipeline(Stage("s", same)).run(range(3))) == (3, 3, 0, 0)


def test_a_pipeline_runs_again_and_several_times_at_once() -> None:
    """It holds no state of its runs: their counts are their own."""
    pipeline = Pipeline(Stage("s", doubled), sink=ListSink())
    with ThreadPoolExecutor(3) as pool:
        reports = list(pool.map(pipeline.run, [range(10), range(20), range(30)]))
    assert [(report.taken, report.stages[0].done) for report in reports] == [(10, 10), (20, 20), (30, 30)]
    assert counts(pipeline.run(range(5))) == (5, 5, 0, 0)


def test_outcomes_are_cold() -> None:
    """Two subscriptions are two runs."""
    sink = ListSink()
    outcomes = Pipeline(Stage("s", doubled), sink=sink).outcomes([1, 2])
    assert sink.opened == 0
    for _ in range(2):
        seen = Seen()
        outcomes.subscribe(seen)
        assert seen.ended.wait(20)
        assert sorted(outcome.value for outcome in seen.outcomes) == [2, 4]
    assert (sink.opened, len(sink.rows)) == (2, 4)


def test_a_sink_that_cannot_be_opened_fails_the_run_before_anything_is_taken(tmp_path: Path) -> None:
    """Nothing is called, and paid for."""
    called: list[Any] = []
    pipeline = Pipeline(Stage("s", called.append), sink=DatabaseSink(f"sqlite:///{tmp_path}/none/x.db"))
    with pytest.raises(SinkError, match="there is no directory"):
        pipeline.run([1])
    with pytest.raises(SinkError, match="there is no directory"):
        asyncio.run(pipeline.run_async([1]))
    seen = Seen()
    pipeline.outcomes([1]).subscribe(seen)
    assert isinstance(seen.error, SinkError)
    assert called == []


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_outcomes_of_a_sequence_given_to_observers_are_complete_at_its_completion(scheduler: Scheduler) -> None:
    """Observers see an outcome for every ID, then the end."""

    async def main() -> Seen:
        seen, over = Seen(), asyncio.Event()
        seen.on_completed = over.set  # type: ignore[method-assign]
        Pipeline(Stage("s", doubled_later), scheduler=scheduler).outcomes(range(20)).subscribe(seen)
        await over.wait()
        return seen

    seen = asyncio.run(main())
    assert sorted(seen.ids) == list(range(20))
    assert seen.broken == []


def test_subscribed_to_on_a_loop_everything_is_notified_there() -> None:
    """Also where plain functions run on threads."""

    async def main() -> set[threading.Thread]:
        threads: set[threading.Thread] = set()
        over = asyncio.Event()

        def note(_: object) -> None:
            threads.add(threading.current_thread())

        Pipeline(Stage("s", doubled), sink=SinkOnThreads()).outcomes(range(20)).subscribe(note, None, over.set)
        await over.wait()
        return threads

    assert asyncio.run(main()) == {threading.current_thread()}


class SinkOnThreads(SlowSink):
    def __init__(self) -> None:
        super().__init__()
        self.may_go_on.set()


def test_starting_on_asyncio_needs_a_running_loop() -> None:
    """The error says what to do."""
    with pytest.raises(RuntimeError, match="starts on a running event loop"):
        Pipeline(Stage("s", same), scheduler="asyncio").start([])


@pytest.mark.parametrize(
    ("stages", "options", "message"),
    [
        ([], {}, "at least one stage"),
        ([Stage("a", same), Stage("b", same), Stage("a", same)], {}, "two called a"),
        ([Stage("a", same)], {"concurrency": 0}, "concurrency must be a whole number of at least 1, not 0"),
        (
            [Stage("a", same)],
            {"concurrency": float("inf")},
            "concurrency must be a whole number of at least 1, not inf",
        ),
        ([Stage("a", same)], {"strategy": "per_stag"}, "strategy must be one of per_stage, .* not 'per_stag'"),
        ([Stage("a", same)], {"scheduler": "dask"}, "scheduler must be one of threads, asyncio, not 'dask'"),
        ([Stage("a", same, concurrency=0)], {}, "concurrency must be a whole number of at least 1, not 0"),
        ([Stage("a", same, queue_size=-1)], {}, "queue_size must be a whole number of at least 0"),
        ([Stage("a", same, timeout=0)], {}, "timeout must be above 0"),
        ([Stage("a", same, max_abandoned=-1)], {}, "max_abandoned must be a whole number of at least 0"),
    ],
)
def test_what_is_out_of_range_is_refused_at_once(stages: list[Stage], options: dict[str, Any], message: str) -> None:
    """Not when it is run, hours later."""
    with pytest.raises(ValueError, match=message):
        Pipeline(*stages, **options)


def test_what_is_no_listener_is_refused_at_once() -> None:
    """Such as the class of one."""
    listener: Any = Listener
    with pytest.raises(TypeError, match="made of Listener, not <class"):
        Pipeline(Stage("a", abs), listeners=[listener])


def test_what_is_no_function_is_refused_at_once() -> None:
    """As where it was called instead of named."""
    call: Any = 5
    with pytest.raises(TypeError, match="stage a: call must be a function, not 5"):
        Pipeline(Stage("a", call))


@pytest.mark.parametrize(
    ("name", "call", "options", "message"),
    [
        ("", abs, {}, "a stage needs a name"),
        (5, abs, {}, "name must not be 5, of type int"),
        ("a", abs, {"retry": 3}, "stage a: retry must not be 3"),
        ("a", abs, {"timeout": "60"}, "stage a: timeout must not be '60', of type str"),
        ("a", abs, {"rate_limit": 3}, "stage a: rate_limit must not be 3"),
        ("a", abs, {"executor": {"processes": 2}}, r"stage a: executor must not be .*; use Processes\(4\)"),
        ("a", abs, {"executor": Processes}, "stage a: executor must not be <class"),
        ("a", pow, {}, r"stage a: call must take one argument; it takes \(base, exp, mod=None\)"),
        ("a", lambda: None, {}, r"stage a: call must take one argument; it takes \(\)"),
    ],
)
def test_a_stage_of_wrong_types_is_refused_at_once(name: Any, call: Any, options: dict[str, Any], message: str) -> None:
    """Not when it is run, in the words of something else."""
    with pytest.raises((TypeError, ValueError), match=message):
        Stage(name, call, **options)


def test_a_function_instead_of_a_stage_is_refused_at_once() -> None:
    """It is easily forgotten."""
    function: Any = abs
    with pytest.raises(TypeError, match="a pipeline is made of Stage, not <built-in function abs>"):
        Pipeline(function)


def test_a_function_that_does_not_tell_its_arguments() -> None:
    """It is believed to take one."""
    assert Pipeline(Stage("s", str)).run([]).taken == 0


def test_a_coroutine_function_on_an_executor_is_refused_at_once() -> None:
    """It runs on a loop only."""
    with (
        ThreadPoolExecutor() as executor,
        pytest.raises(TypeError, match="a coroutine function cannot run on an executor"),
    ):
        Pipeline(Stage("a", doubled_later, executor=executor))


def test_a_stage_runs_on_the_executor_that_it_is_given() -> None:
    """The executor stays its owner's."""
    with ThreadPoolExecutor(2, thread_name_prefix="mine") as executor:
        names: set[str] = set()
        stage = Stage("a", lambda _: names.add(threading.current_thread().name), executor=executor)
        assert counts(Pipeline(stage).run(range(10))) == (10, 10, 0, 0)
        assert {name[:4] for name in names} == {"mine"}
        executor.submit(same, 1).result()


def test_load_pipeline_gives_the_pipeline_that_a_config_describes(tmp_path: Path) -> None:
    """See test_configured.py for the rest."""
    path = tmp_path / "p.yaml"
    path.write_text("strategy: staged\n")
    assert load_pipeline(path).strategy == "staged"
    path.write_text("strategy: nonsense\n")
    with pytest.raises(ConfigError, match="strategy"):
        load_pipeline(path)


def test_a_run_without_an_observer_shows_no_error_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    """Who waits for it is told; nothing else is printed."""
    run = Pipeline(Stage("s", same)).start(reactivex.throw(ValueError("source")))
    with pytest.raises(ValueError, match="source"):
        finish(run)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("strategy", "most"), [("per_stage", 100), ("per_item", 100), ("staged", 50)])
def test_more_stages_than_the_stack_allows_are_refused(strategy: Strategy, most: int) -> None:
    """When the pipeline is made; as many as are allowed work."""
    stages = [Stage(f"s{number}", same) for number in range(most + 1)]
    with pytest.raises(ValueError, match=f"at most {most} stages with strategy {strategy}, not {most + 1}"):
        Pipeline(*stages, strategy=strategy)
    assert Pipeline(*stages[1:], strategy=strategy).run([1, 2]).written == 2


def test_options_of_a_stage_are_given_by_keyword() -> None:
    """One that there is not is named, with those that there are; ``help`` shows them all; none can be changed."""
    with pytest.raises(
        TypeError, match="stage a has no option retries; it has batch, cache, collect, concurrency, executor"
    ):
        Stage("a", same, retries=3)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError):
        Stage("a", same, 3)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
    shown = inspect.signature(Stage).parameters
    assert set(shown) == {one.name for one in fields(Stage)}
    assert shown["queue_size"].default == Stage("a", same).queue_size == 10
    with pytest.raises(AttributeError):
        Stage("a", same).timeout = 3  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    "options", [{"sink": "sqlite:///x.db"}, {"sink": ListSink}, {"store": "x.db"}, {"store": RunStore}]
)
def test_what_is_no_sink_or_store_is_refused_at_once(options: Any) -> None:
    """With what to write instead."""
    (option,) = options
    with pytest.raises(TypeError, match=rf"^{option} must be a {option}, such as (DatabaseSink|RunStore)\(.*, not "):
        Pipeline(Stage("a", same), **options)
