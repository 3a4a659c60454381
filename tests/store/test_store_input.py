"""Pipelines with a store: sources, IDs, results and errors of all kinds."""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import Mock

import pytest
import reactivex
from pipeline_helpers import LIMIT, counts
from reactivex.subject import Subject

from rxpipe import ConfigError, Outcome, Pipeline, RunStore, Stage
from rxpipe.database import default_table
from rxpipe.errors import CheckpointError
from rxpipe.store.schema.tables import CHECKPOINTS, RUNS

from .bank import Bank, rows, states

QUESTIONS = default_table("results")


class Interrupted(Exception):
    """What a source raises in the middle."""


def test_an_id_that_comes_twice_is_one_item(store_url: str) -> None:
    """Also as text and as a number: they are one row."""
    bank = Bank(store_url)
    assert bank.pipeline().run([1, "1", 2, 1]).taken == 2
    assert len(rows(store_url, QUESTIONS)) == 2


@dataclass
class Question:
    text: str
    tags: tuple[str, ...] = ()


def as_dataclass(item_id: int) -> Question:
    return Question(f"question {item_id}", ("a", "b"))


def test_results_of_any_type_come_back(store_url: str) -> None:
    """A stage that is called in a later run gets the very object, not its JSON."""
    seen: list[Any] = []
    fail = [True]

    def answer(question: Question) -> str:
        seen.append(question)
        if fail[0]:
            raise SystemExit
        return question.text

    stages = Stage("generation", as_dataclass), Stage("answering", answer, version=1)
    Pipeline(*stages, store=RunStore(store_url)).run([1])
    fail[0] = False
    again = Stage("generation", as_dataclass), Stage("answering", answer, version=2)
    assert Pipeline(*again, store=RunStore(store_url, resume=True)).run([1]).written == 1
    assert seen == [Question("question 1", ("a", "b"))] * 2
    assert rows(store_url, CHECKPOINTS)[0].output == '{"text":"question 1","tags":["a","b"]}'


def test_a_result_that_cannot_be_kept_fails_its_item(store_url: str) -> None:
    """With an error that says what to do."""

    def generate(item_id: int) -> Any:
        return threading.Lock() if item_id == 2 else item_id

    outcomes = Pipeline(Stage("generation", generate), store=RunStore(store_url)).outcomes(range(4))
    found: dict[Any, Outcome[Any]] = {}
    done = threading.Event()
    outcomes.subscribe(lambda one: found.update({one.id: one}), on_completed=done.set)
    assert done.wait(LIMIT)
    assert [found[number].status for number in range(4)] == ["written", "written", "failed", "written"]
    assert isinstance(found[2].error, CheckpointError)
    assert "of type _thread.lock, cannot be kept" in str(found[2].error)
    assert found[2].stage == "generation"


def test_ids_keep_their_type(store_url: str) -> None:
    """A number is given to the stages as a number also in a later run, and text as text."""
    fail = [True]
    seen: list[Any] = []

    def work(item_id: Any) -> Any:
        if fail[0]:
            raise ValueError
        seen.append(item_id)
        return item_id

    Pipeline(Stage("work", work, version=1), store=RunStore(store_url)).run([7, "8", "x"])
    fail[0] = False
    Pipeline(Stage("work", work, version=2), store=RunStore(store_url, resume=True)).run([])
    assert sorted(seen, key=str) == [7, "8", "x"]


class Color(enum.StrEnum):
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


def test_ids_of_enums_are_what_they_equal(store_url: str) -> None:
    """In this run and in later ones."""
    bank = Bank(store_url)
    assert bank.pipeline().run([Color.RED, Number.ONE]).written == 2
    assert states(store_url) == {"red": "written", "1": "written"}
    assert bank.pipeline().run(["red", 1]).taken == 0


class Odd(Exception):
    def __getattribute__(self, name: str) -> Any:
        if name == "__notes__":
            raise RuntimeError
        return super().__getattribute__(name)


def test_odd_exceptions_fail_their_items(store_url: str) -> None:
    """Of which not even a traceback can be written."""

    def act(stage: str, item_id: Any) -> None:
        if item_id == 1:
            raise Odd("odd")
        if item_id == 2:
            details: Any = ("f", 1, 1, 5)
            raise SyntaxError("bad", details)

    assert counts(Bank(store_url, act).pipeline().run(range(4))) == (4, 2, 2, 0)


def test_a_stage_that_is_any_object(store_url: str) -> None:
    """One that has every attribute, too."""
    assert Pipeline(Stage("work", Mock(return_value=1)), store=RunStore(store_url)).run([1]).written == 1


class Slow:
    """Takes longer to be kept than its stage may take."""

    def __getstate__(self) -> dict[str, Any]:
        time.sleep(1.5)
        return {"a": 1}


@pytest.mark.slow
def test_keeping_a_result_is_not_part_of_its_call(store_url: str) -> None:
    """The stage's time is over when its Observable has given the value."""
    work = Stage("work", lambda item_id: reactivex.just(Slow()), timeout=1.0)
    assert counts(Pipeline(work, store=RunStore(store_url)).run([1])) == (1, 1, 0, 0)


@pytest.mark.parametrize("bad", ["x" * 300, "a\0b"])
def test_an_id_that_cannot_be_a_key_fails_alone(store_url: str, bad: str) -> None:
    """Without a call; it is a dead letter then, as others are, and the others are done."""
    bank = Bank(store_url)
    assert counts(bank.pipeline().run(iter([1, 2, bad, 3]))) == (4, 3, 1, 0)
    assert counts(bank.pipeline().run(iter([1, 2, bad, 3]))) == (0, 0, 0, 0)
    assert bank.calls["generation", bad] == 0
    assert {key for key, state in states(store_url).items() if state == "written"} == {"1", "2", "3"}
    assert sorted(states(store_url).values()) == ["failed", "written", "written", "written"]


def test_a_source_of_what_are_no_ids(store_url: str) -> None:
    """One clear error, and those before it are done."""
    bank = Bank(store_url)
    with pytest.raises(ConfigError, match="an ID must be an int or a str"):
        bank.pipeline().run([1, 2, 3.5, 4])
    assert states(store_url) == {"1": "written", "2": "written"}


@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
def test_any_source_will_do(store_url: str, scheduler: Any) -> None:
    """Iterators, async iterables, observables."""

    async def numbers() -> AsyncIterator[int]:
        for number in range(100, 110):
            yield number

    bank = Bank(store_url)
    assert bank.pipeline(scheduler=scheduler).run(iter(range(10))).written == 10
    assert bank.pipeline(scheduler=scheduler).run(numbers()).written == 10
    assert bank.pipeline(scheduler=scheduler).run(reactivex.from_iterable(range(200, 210))).written == 10


def test_a_hot_source_is_heard_from_the_start(store_url: str) -> None:
    """What a subject emits right after the run has begun is taken."""
    subject: Subject[int] = Subject()
    written: list[Any] = []
    done = threading.Event()
    Bank(store_url).pipeline().outcomes(subject).subscribe(lambda one: written.append(one.id), on_completed=done.set)
    subject.on_next(1)
    subject.on_next(2)
    subject.on_completed()
    assert done.wait(LIMIT)
    assert sorted(written) == [1, 2]


def test_a_failing_source_keeps_what_it_gave(store_url: str) -> None:
    """Those are done, the run fails, and a later one adds the rest."""

    def ids() -> Iterator[int]:
        yield from range(5)
        raise Interrupted

    bank = Bank(store_url)
    with pytest.raises(Interrupted):
        bank.pipeline().run(ids())
    assert states(store_url) == {str(number): "written" for number in range(5)}
    assert rows(store_url, RUNS)[0].finished_at is None
    assert bank.pipeline().run(range(8)).taken == 3
    assert rows(store_url, RUNS)[0].finished_at is not None
