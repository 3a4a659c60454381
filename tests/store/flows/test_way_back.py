"""Items that are sent back, with a store."""

from __future__ import annotations

from typing import Any

from pipeline_helpers import until

from rxpipe import Children, SendBack, Stage, feedback
from rxpipe.store.schema.tables import CHECKPOINTS, ITEMS
from store.bank import rows

from .runs import Runs, stage


def test_rounds_and_feedback_survive(runs: Runs) -> None:
    """The stage that it went back to is told in another run, too, and it goes back as often as it may in all."""
    told: list[Any] = []
    first = [True]

    def write(value: int) -> str:
        told.append(feedback())
        if first[0] and feedback() == {"round": 1}:
            runs.cut_when(lambda _: [(row.rounds, row.stage) for row in rows(runs.url, ITEMS)] == [(1, 1)])
        return f"{value} {feedback()}"

    def grade(value: str) -> str:
        until(lambda: [row.stage for row in rows(runs.url, ITEMS)] == [2])
        raise SendBack("write", {"round": len(runs.called("grade"))})

    stages = (
        stage("first", runs.noted("first", int)),
        stage("write", write),
        stage("grade", runs.noted("grade", grade), max_rounds=2),
    )
    runs.die(runs.pipeline(*stages), [1])
    assert [row.stage for row in rows(runs.url, CHECKPOINTS)] == [0]
    first[0] = False
    assert runs.pipeline(*stages).run([1]).failed == 1
    assert told == [None, {"round": 1}, {"round": 1}, {"round": 2}]
    assert runs.called("first") == [1]
    (item,) = rows(runs.url, ITEMS)
    assert (item.state, item.rounds, item.stage) == ("failed", 2, 2)


def family(runs: Runs, to: str, first: list[bool]) -> list[Stage]:
    """A parent that its last stage sends back once, behind its children."""

    def merge(children: Children[Any]) -> Any:
        if first[0] and feedback() is not None:
            runs.cut_when(lambda _: {row.rounds for row in rows(runs.url, ITEMS)} == {0, 1})
        return [feedback(), [one.id for one in children], children.parent]

    def grade(value: Any) -> Any:
        return SendBack(to, "again") if value[0] is None and len(runs.called("grade")) == 1 else value

    return [
        stage("write", runs.noted("write", int)),
        stage("split", runs.noted("split", lambda value: [value, value]), expand=True),
        stage("work", runs.noted("work", int)),
        stage("merge", merge, collect=True),
        stage("pass", lambda value: value),
        stage("grade", runs.noted("grade", grade)),
    ]


def test_back_behind_its_children(runs: Runs) -> None:
    """It has new children then, and is called with these only; the old ones are of an earlier round."""
    stages = family(runs, "write", [False])
    assert runs.pipeline(*stages).run([1]).finished
    assert runs.numbers() == {"1/0": -1, "1/1": -2, "1/1.0": 0, "1/1.1": 1}
    assert runs.written() == {"1": [None, ["1/1.0", "1/1.1"], 1]}
    assert [len(runs.called(name)) for name in ("write", "split", "work", "grade")] == [2, 2, 4, 2]


def test_back_to_the_stage_that_collects(runs: Runs) -> None:
    """It is called with the same children again, also in another run."""
    first = [True]
    stages = family(runs, "merge", first)
    runs.die(runs.pipeline(*stages), [1])
    assert runs.states() == {"1": "ready", "1/0": "collected", "1/1": "collected"}
    first[0] = False
    assert runs.pipeline(*stages).run([1]).finished
    assert runs.written() == {"1": ["again", ["1/0", "1/1"], 1]}
    assert [len(runs.called(name)) for name in ("write", "split", "work")] == [1, 1, 2]


def test_back_in_another_run(runs: Runs) -> None:
    """To a stage before the children, or the one that collects: what it came with is kept."""
    for to in ("write", "merge"):
        url = runs.url if to == "write" else runs.url.replace("store.db", "other.db")
        if to == "merge" and url == runs.url:
            return  # one database is enough for the rest
        again = Runs(url)
        first = [True]

        def grade(value: Any, again: Runs = again, to: str = to, first: list[bool] = first) -> Any:
            if first[0]:
                again.cut_when(lambda _: max(row.stage for row in rows(again.url, ITEMS)) == 5)
            return SendBack(to, "again") if value[0] is None and len(again.called("merge")) == 1 else value

        stages = family(again, to, [False])
        stages[3] = stage(
            "merge",
            again.noted("merge", lambda children: [feedback(), [one.id for one in children], children.parent]),
            collect=True,
        )
        stages[5] = stage("grade", grade)
        again.die(again.pipeline(*stages), [1])
        first[0] = False
        assert again.pipeline(*stages).run([1]).finished
        written = [None, ["1/1.0", "1/1.1"], 1] if to == "write" else ["again", ["1/0", "1/1"], 1]
        assert again.written() == {"1": written}
        old, new = {"1/0": -1, "1/1": -2}, {"1/1.0": 0, "1/1.1": 1}
        assert again.numbers() == (old | new if to == "write" else {"1/0": 0, "1/1": 1})
