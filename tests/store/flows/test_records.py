"""Records, dropped items, conditions, keys and batches, with a store."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from rxpipe import Batch, ConfigError, Drop, Record
from rxpipe.store.schema.tables import CHECKPOINTS, ITEMS
from store.bank import rows

from .runs import Runs, stage


def test_values_are_kept(runs: Runs) -> None:
    """A run that goes on needs no source for what was taken; large values are kept, too."""
    first = [True]
    large = "x" * 1_000_001

    def work(value: dict[str, str]) -> str:
        if first[0]:
            runs.cut_when(lambda states: len(states) == 2)
        return value["text"]

    runs.die(runs.pipeline(stage("work", work)), [Record("a", {"text": "1"}), Record(7, {"text": large})])
    assert {(row.item_key, row.stage) for row in rows(runs.url, CHECKPOINTS)} == {("a", -1), ("7", -1)}
    first[0] = False
    assert runs.pipeline(stage("work", work)).run([]).written == 2
    assert runs.written() == {"a": "1", "7": large}


@pytest.mark.parametrize(("on_change", "value", "calls"), [("keep", 2, 1), ("redo", 1, 2)])
def test_a_record_that_has_changed(runs: Runs, on_change: str, value: int, calls: int) -> None:
    """The first value is kept, or the item is done again with the other one and has other children."""

    def split(given: int) -> list[int]:
        return list(range(given))

    stages = (
        stage("split", runs.noted("split", split), expand=True),
        stage("work", int),
        stage("merge", lambda children: [children.parent, children.values], collect=True),
    )
    options: dict[str, Any] = {"store": {"on_change": on_change}}
    assert runs.pipeline(*stages, **options).run([Record("a", 2)]).written == 1
    for _ in range(2):
        runs.pipeline(*stages, **options).run([Record("a", 1), Record("b", 0)])
    assert runs.written() == {"a": [value, list(range(value))], "b": [0, []]}
    assert len(runs.called("split")) == calls + 1
    assert runs.numbers() == {f"a/{number}": number for number in range(value)}


def test_a_changed_record_may_be_an_error(runs: Runs) -> None:
    """Also when both come at once."""
    for ids in ([Record("a", 1)], [Record("a", 2)]), ([Record("b", 1), Record("b", 2)],):
        pipeline = runs.pipeline(stage("work", int), store={"on_change": "fail"})
        for each in ids[:-1]:
            pipeline.run(each)
        with pytest.raises(ConfigError, match="another value than before"):
            pipeline.run(ids[-1])


def test_the_first_of_two_that_come_at_once_is_kept(runs: Runs) -> None:
    """It is the first in the source, whatever is asked for at once."""
    assert runs.pipeline(stage("work", int)).run([Record("a", 1), Record("a", 2), Record("b", 3)]).taken == 2
    assert runs.written() == {"a": 1, "b": 3}


def test_a_value_that_cannot_be_kept_fails_alone(runs: Runs) -> None:
    """And is a dead letter."""
    ids = [Record("a", threading.Lock()), Record("b", 1)]
    report = runs.pipeline(stage("work", int)).run(ids)
    assert (report.written, report.failed) == (1, 1)
    assert runs.states() == {"a": "failed", "b": "written"}


def test_dropped_items_stay_dropped(runs: Runs) -> None:
    """With their reason, without a row, and without another call."""
    work = stage("work", runs.noted("work", lambda value: Drop("odd") if value % 2 else value))
    assert runs.pipeline(work).run(range(4)).dropped == 2
    assert runs.pipeline(work).run(range(4)).taken == 0
    found = {row.item_key: (row.state, row.last_error, row.failures) for row in rows(runs.url, ITEMS)}
    assert found == {str(one): ("dropped", "odd", 0) if one % 2 else ("written", None, 0) for one in range(4)}
    assert len(runs.calls) == 4
    assert set(runs.written()) == {"0", "2"}


def test_conditions_keys_and_batches(runs: Runs) -> None:
    """What a batch has returned for each of its items is kept for each of them; what passes goes on unchanged."""
    first = [True]

    def last(value: int) -> int:
        if first[0]:
            runs.cut_when(lambda _: all(row.stage == 2 for row in rows(runs.url, ITEMS)))
        return value

    batch = Batch(max_items=2, max_seconds=0.01)

    def is_odd(value: int) -> bool:
        return value % 2 > 0

    stages = (
        stage("some", runs.noted("some", lambda value: 10 * value), when=is_odd),
        stage("batch", runs.noted("batch", lambda values: [one + 1 for one in values]), batch=batch),
        stage("last", last, key=is_odd),
    )
    runs.die(runs.pipeline(*stages), range(4))
    first[0] = False
    assert runs.pipeline(*stages).run(range(4)).written == 4
    assert runs.written() == {"0": 1, "1": 11, "2": 3, "3": 31}
    assert sorted(runs.called("some")) == [1, 3]
    given: list[Any] = [one for values in runs.called("batch") for one in values]
    assert sorted(given) == [0, 2, 10, 30]


def test_so_many_children(runs: Runs) -> None:
    """No more rows than are wanted, of children, too; and a later run that wants more writes those that are left."""
    stages = stage("split", lambda value: [value] * 3, expand=True), stage("work", str)
    for wanted in (4, 5, 5):
        report = runs.pipeline(*stages).run(range(100), until=wanted)
        assert (len(runs.written()), report.missing) == (wanted, 0)
