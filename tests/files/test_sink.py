"""A sink without a store."""

from __future__ import annotations

import errno
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pipeline_helpers import SCHEDULERS, finish, noting, same, until
from reactivex.operators import do_action

from rxpipe import ConfigError, JsonLinesSink, Outcome, Pipeline, Retry, RunStore, SinkError, Stage
from rxpipe.database import abort_deadline
from rxpipe.errors import StoreError
from rxpipe.files.output_file import OutputFile

QUICK = Retry(max_attempts=3, initial=0.001, jitter=0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def ids(path: Path) -> list[Any]:
    return sorted(line["id"] for line in lines(path))


def numbered(number: int) -> dict[str, int]:
    return {"n": number}


def long(_: int) -> dict[str, str]:
    return {"text": "x" * 200}


def two_as(value: Any) -> Callable[[int], Any]:
    """A stage that makes this of 2."""

    def call(number: int) -> Any:
        return value if number == 2 else number

    return call


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_run_writes_lines(path: Path, scheduler: Any) -> None:
    """One for each item; another run appends its own."""
    pipeline = Pipeline(Stage("s", numbered), sink=JsonLinesSink(path), scheduler=scheduler)
    assert pipeline.run(range(50)).written == 50
    assert ids(path) == list(range(50))
    assert all(line["value"] == {"n": line["id"]} for line in lines(path))
    assert pipeline.run([7, 60]).written == 2
    assert ids(path) == sorted([*range(50), 7, 60])


def test_an_outcome_comes_out_when_its_line_is_there(path: Path) -> None:
    """Not before."""
    seen = list[bool]()
    pipeline = Pipeline(Stage("s", same), sink=JsonLinesSink(path, max_items=3))

    def look(outcome: Outcome[Any]) -> None:
        seen.append(outcome.id in ids(path))

    pipeline.outcomes(range(10)).pipe(do_action(look)).run()
    assert seen == [True] * 10


def test_a_line_that_cannot_be_made_fails_its_item_alone(path: Path) -> None:
    """A line says so, and the others are written."""
    loop: list[Any] = []
    loop.append(loop)
    report = Pipeline(Stage("s", two_as(loop)), sink=JsonLinesSink(path)).run(range(5))
    assert (report.written, report.failed) == (4, 1)
    assert {line["id"]: line["status"] for line in lines(path)}[2] == "failed"
    assert report.errors[0].stage == "database"


def fail(monkeypatch: pytest.MonkeyPatch, times: int, calls: list[int]) -> None:
    """The disk is full for so many writes, each after a few bytes."""
    write: Any = OutputFile._write  # pyright: ignore[reportPrivateUsage] - what it writes is to fail half-way

    def broken(self: OutputFile, file: Any, data: bytes) -> None:
        calls.append(len(data))
        if len(calls) <= times:
            file.write(data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, file, data)

    monkeypatch.setattr(OutputFile, "_write", broken)


def test_a_full_disk_is_tried_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no line is there twice, or in part."""
    calls: list[int] = []
    fail(monkeypatch, 2, calls)
    report = Pipeline(Stage("s", same), sink=JsonLinesSink(path, retry=QUICK)).run(range(20))
    assert report.written == 20
    assert ids(path) == list(range(20))
    assert len(calls) > 2


def test_a_disk_that_stays_full(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run ends with an error that says how many rows are lost."""
    fail(monkeypatch, 1000, [])
    pipeline = Pipeline(Stage("s", same), sink=JsonLinesSink(path, retry=QUICK))
    with pytest.raises(SinkError, match=r"out\.jsonl could not be written for too long: OSError.*rows? (is|are) lost"):
        pipeline.run(range(3))


@pytest.mark.parametrize("durable", [False, True])
def test_an_aborted_run_does_not_wait_for_room(path: Path, monkeypatch: pytest.MonkeyPatch, *, durable: bool) -> None:
    """It ends soon, with a store and without."""
    monkeypatch.setattr(abort_deadline, "SECONDS", 0.05)
    calls: list[int] = []
    fail(monkeypatch, 1000, calls)
    run = Pipeline(Stage("s", same), sink=JsonLinesSink(path), store=RunStore() if durable else None).start(range(3))
    until(lambda: bool(calls))
    run.abort()
    with pytest.raises(SinkError, match=r"did not answer for 0\.05 seconds after the run was aborted"):
        finish(run)


def test_a_file_in_use(path: Path) -> None:
    """Another run is refused before it makes a call."""
    calls: list[Any] = []
    held = OutputFile(str(path))
    held.open()
    try:
        with pytest.raises(SinkError, match="is in use"):
            Pipeline(Stage("s", noting(calls)), sink=JsonLinesSink(path)).run(range(3))
    finally:
        held.close()
    assert calls == []


def test_a_file_with_a_store(path: Path) -> None:
    """A run without one is refused, unless it is told to append all the same."""
    path.with_name("out.jsonl.run.db").touch()
    stage = Stage("s", same)
    with pytest.raises(StoreError, match=r"is written with a run store.*replace=True"):
        Pipeline(stage, sink=JsonLinesSink(path)).run([1])
    assert Pipeline(stage, sink=JsonLinesSink(path, replace=True)).run([1]).written == 1


def test_what_is_no_sink(tmp_path: Path) -> None:
    """Said at once."""
    with pytest.raises(ConfigError, match="path: the name of a file"):
        JsonLinesSink(" ")
    with pytest.raises(ConfigError, match="row: a function"):
        JsonLinesSink("a.jsonl", row={})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rows must be of"):
        JsonLinesSink("a.jsonl", rows=["gone"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="max_items"):
        JsonLinesSink("a.jsonl", max_items=0)


@pytest.mark.slow
def test_memory_does_not_grow(path: Path) -> None:
    """Thirty thousand rows take no more than a thousand, and a fraction of what the file does."""
    pipeline = Pipeline(Stage("s", long), sink=JsonLinesSink(path))
    tracemalloc.start()
    try:
        pipeline.run(range(1_000))
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        assert pipeline.run(range(30_000)).written == 30_000
        assert tracemalloc.get_traced_memory()[1] - before < 6_000_000
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 8_000_000
    with path.open("rb") as file:
        assert sum(1 for _ in file) == 31_000
