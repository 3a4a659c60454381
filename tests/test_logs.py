"""What is logged of items and pipelines."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import structlog
from pipeline_helpers import LIMIT, SCHEDULERS, WAYS, Block, Seen, finish, same, until
from structlog.contextvars import bind_contextvars, bound_contextvars, get_contextvars, merge_contextvars
from structlog.testing import LogCapture
from structlog.typing import EventDict, Processor

from rxpipe import Drop, Pipeline, Retry, Stage
from rxpipe.log_values import shown
from rxpipe.logs import Logging
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.run.strategies import Strategy

AGAIN = Retry(max_attempts=2, initial=0.001, max_delay=0.001)


@contextmanager
def configured(*processors: Processor) -> Generator[None]:
    """Everything goes through these meanwhile, whatever its level."""
    before = structlog.get_config()
    structlog.reset_defaults()
    structlog.configure(processors=processors)
    yield
    structlog.configure(**before)


@pytest.fixture
def lines() -> Iterator[list[EventDict]]:
    """What is logged during a test, with what is bound where it is."""
    capture = LogCapture()
    with configured(merge_contextvars, capture):
        yield capture.entries


def ended(lines: list[EventDict]) -> None:
    """Wait until a pipeline's end is logged, which may be just after whoever waits for it goes on."""
    until(lambda: any(line["event"] in ("pipeline ended", "pipeline failed") for line in lines))


def events(lines: list[EventDict]) -> list[tuple[str, str]]:
    """How grave each is, and what."""
    return [(line["log_level"], line["event"]) for line in lines]


def fail(value: Any) -> Any:
    raise ValueError(f"{value} is\nno number\x1b[31m")


def test_a_run(lines: list[EventDict]) -> None:
    """Its start and end, a call that is retried, an item that failed for good: with what one needs to know."""
    Pipeline(Stage("a", same), Stage("b", fail, retry=AGAIN), listeners=[Logging()]).run([7])
    ended(lines)
    started, retried, failed, end = lines
    assert started == {"event": "pipeline started", "log_level": "info", "stages": ["a", "b"]}
    text = "ValueError: 7 is no number\\x1b[31m"
    assert retried == {"event": "call retried", "log_level": "debug", "id": 7, "stage": "b", "error": text}
    assert failed.pop("seconds") >= 0
    assert failed == {"event": "item failed", "log_level": "warning", "id": 7, "stage": "b", "calls": 3, "error": text}
    assert end.pop("seconds") >= 0
    assert end == {
        "event": "pipeline ended",
        "log_level": "info",
        "taken": 1,
        "written": 0,
        "failed": 1,
        "cancelled": 0,
        "commonest_error": f"b: {text}",
        "commonest_error_items": 1,
    }


@pytest.mark.parametrize(("strategy", "scheduler"), WAYS)
def test_nothing_of_what_goes_well(strategy: Strategy, scheduler: Scheduler, lines: list[EventDict]) -> None:
    """However it runs, items that are written leave no line."""
    Pipeline(Stage("a", same), strategy=strategy, scheduler=scheduler, listeners=[Logging()]).run(range(3))
    ended(lines)
    assert events(lines) == [("info", "pipeline started"), ("info", "pipeline ended")]


def test_a_run_that_fails(lines: list[EventDict]) -> None:
    """It says why, as an error."""

    def ids() -> Iterator[int]:
        yield 1
        raise OSError("the list is gone")

    with pytest.raises(OSError, match="gone"):
        Pipeline(Stage("a", same), listeners=[Logging()]).run(ids())
    ended(lines)
    assert (lines[-1]["event"], lines[-1]["error"]) == ("pipeline failed", "OSError: the list is gone")


def test_items_that_are_cancelled(lines: list[EventDict]) -> None:
    """They are of interest to who looks closely only."""
    block = Block()
    run = Pipeline(Stage("a", block), listeners=[Logging()]).start([1], Seen())
    block.wait_for(1)
    run.abort()
    finish(run)
    block.may_return.set()
    ended(lines)
    assert events(lines)[1] == ("debug", "item cancelled")


def test_an_open_pipeline(lines: list[EventDict]) -> None:
    """That it stalls is said once, and that it drains when it is closed."""
    block = Block()
    with Pipeline(Stage("a", block), listeners=[Logging()]).open(stalled_after=0.0) as running:
        submission = running.submit(1)
        block.wait_for(1)
        until(lambda: running.health().status == "stalled")
        running.health()
        block.may_return.set()
        submission.result(LIMIT)
        until(lambda: running.health().status == "alive")
    ended(lines)
    assert events(lines) == [
        ("info", "pipeline started"),
        ("warning", "pipeline stalled"),
        ("info", "pipeline draining"),
        ("info", "pipeline ended"),
    ]
    assert "1 calls of a run" in lines[1]["reason"]
    assert lines[2]["on_their_way"] == 0


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("plain", [True, False])
def test_what_whoever_submitted_has_bound(plain: bool, scheduler: Scheduler, lines: list[EventDict]) -> None:
    """It is in the lines of its item's calls and in those about the item, and in no others."""
    log = structlog.get_logger()

    def speak(value: int) -> int:
        log.info("at work")
        return value

    async def speak_async(value: int) -> int:
        await asyncio.sleep(0)
        return speak(value)

    stages = [Stage("a", speak if plain else speak_async, concurrency=4), Stage("b", fail)]
    pipeline = Pipeline(*stages, scheduler=scheduler, listeners=[Logging()])

    async def serve() -> None:
        async with pipeline.open() as running:

            async def request(number: int) -> None:
                bind_contextvars(request_id=f"r{number}")
                await running.submit(number)

            await asyncio.gather(*(asyncio.create_task(request(number)) for number in range(4)))

    asyncio.run(serve())
    ended(lines)
    for event, stage in (("at work", "a"), ("item failed", "b")):
        told = [(line["id"], line["request_id"], line["stage"]) for line in lines if line["event"] == event]
        assert sorted(told) == [(number, f"r{number}", stage) for number in range(4)]
    assert all("request_id" not in line for line in lines if line["event"].startswith("pipeline"))


def test_what_whoever_started_has_bound(lines: list[EventDict]) -> None:
    """It is in every line."""
    with bound_contextvars(job="nightly"):
        Pipeline(Stage("a", fail), listeners=[Logging()]).run([1])
    ended(lines)
    assert [line["job"] for line in lines] == ["nightly"] * 3
    assert get_contextvars() == {}


def test_children_and_drops(lines: list[EventDict]) -> None:
    """A line of a child names its parent; the end of a run has the counts that it has."""
    log = structlog.get_logger()

    def keep(value: int) -> Any:
        log.info("at work")
        return value if value else Drop("nothing\x1b")

    Pipeline(Stage("split", range, expand=True), Stage("keep", keep), listeners=[Logging()]).run([2])
    ended(lines)
    assert [(line["id"], line["parent"]) for line in lines if line["event"] == "at work"] == [("2/0", 2), ("2/1", 2)]
    (dropped,) = (line for line in lines if line["event"] == "item dropped")
    assert dropped.pop("seconds") >= 0
    assert dropped == {
        "event": "item dropped",
        "log_level": "debug",
        "id": "2/0",
        "parent": 2,
        "stage": "keep",
        "calls": 1,
        "reason": "nothing\\x1b",
    }
    end = lines[-1]
    assert (end["event"], end["taken"], end["spawned"], end["written"]) == ("pipeline ended", 1, 2, 1)
    assert (end["dropped"], end["expanded"], "collected" in end) == (1, 1, False)


def test_it_cannot_be_written() -> None:
    """That the log is away costs no item."""

    def broken(logger: Any, method: str, event: EventDict) -> EventDict:
        if event["event"] == "item failed":
            raise BrokenPipeError
        raise structlog.DropEvent

    with configured(broken):
        report = Pipeline(Stage("a", fail), listeners=[Logging()]).run(range(3))
    assert report.failed == 3


def test_ids_do_not_act_on_a_terminal(lines: list[EventDict]) -> None:
    """They may come in a message of whomever."""
    log = structlog.get_logger()

    def call(value: Any) -> Any:
        log.info("at work")
        raise ValueError

    Pipeline(Stage("a", call), listeners=[Logging()]).run(["回\x1b[2J"])
    assert [line["id"] for line in lines[1:3]] == ["回\\x1b[2J"] * 2


def test_long_texts_are_cut(lines: list[EventDict]) -> None:
    """A server may answer with a page; a line of a log is no place for it."""

    def call(value: Any) -> Any:
        raise ValueError("x" * 10_000)

    Pipeline(Stage("a", call), listeners=[Logging()]).run([1])
    assert len(lines[1]["error"]) == 500


def test_long_ids_are_cut(lines: list[EventDict]) -> None:
    """So are IDs, which may come in a message of whomever."""

    def call(value: Any) -> Any:
        raise ValueError

    Pipeline(Stage("a", call), listeners=[Logging()]).run(["i" * 900_000])
    assert lines[1]["id"] == "i" * 200 + "… (900000 characters)"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, 7),
        (None, None),
        (10**5000, "an int of 16610 bits"),
        (ValueError("x" * 1000), "ValueError: " + "x" * 487 + "…"),
        ({"key": "v" * 1000}, "{'key': 'vvvvvvvvvvvv...vvvvvvvvvvvvv'}"),
        ("\ud800\x1b", "\\ud800\\x1b"),
    ],
    ids=["number", "none", "long number", "error", "data", "escapes"],
)
def test_values_of_users(value: Any, text: Any) -> None:
    """Each is a short text that any log can hold, or a number."""
    assert shown(value) == text
