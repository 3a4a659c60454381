"""Parents that are called with their children, with a store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rxpipe import Children, Drop, Record, Stage
from rxpipe.store.schema.tables import ITEMS
from store.bank import rows

from .runs import Runs, stage


def split(value: int) -> list[int]:
    return [10 * value, 10 * value + 1, 10 * value + 2]


def told(children: Children[Any]) -> list[Any]:
    return [children.parent, *((one.id, one.status, one.value) for one in children)]


def work(value: int) -> int:
    if value == 11:
        raise ValueError("no")
    return -value


@pytest.mark.parametrize("collected", [1, 3])
def test_the_process_dies_while_children_are_collected(runs: Runs, collected: int) -> None:
    """After some were, or all: the parent is called with all of them once, and none of them again."""
    first = [True]

    def stop(value: Any) -> Any:
        if first[0] and (collected == 3 or value == 12):
            ends = ["collected"] * min(collected, 2) + ["failed"]
            runs.cut_when(lambda states: sorted(one for one in states.values() if one in ends) == ends)
        children: Any = value
        return told(children) if collected == 3 else work(value)

    stages = (
        stage("split", runs.noted("split", split), expand=True),
        stage("work", runs.noted("work", work if collected == 3 else stop), concurrency=1),
        stage("vote", runs.noted("vote", stop if collected == 3 else told), collect=True),
    )
    runs.die(runs.pipeline(*stages, rows=("written",)), [1])
    assert runs.states()["1"] == ("ready" if collected == 3 else "waiting")
    first[0] = False
    assert runs.pipeline(*stages, rows=("written",)).run([1]).finished
    assert runs.written() == {"1": [1, ["1/0", "collected", -10], ["1/1", "failed", 11], ["1/2", "collected", -12]]}
    assert runs.called("split") == [1]
    assert sorted(runs.called("work")) == ([10, 11, 12] if collected == 3 else [10, 11, 12, 12])


def test_children_of_children(runs: Runs) -> None:
    """The inner ones first, also in another run."""
    first = [True]

    def inner(children: Children[Any]) -> Any:
        if first[0] and children.id == "1/2":
            runs.cut_when(lambda states: {states.get(f"1/2/{number}") for number in range(3)} == {"collected"})
        return sum(children.values)

    stages = (
        stage("split", runs.noted("split", split), expand=True),
        stage("again", runs.noted("again", split), expand=True),
        stage("inner", inner, collect=True),
        stage("outer", lambda children: children.values, collect=True),
    )
    runs.die(runs.pipeline(*stages, concurrency=1), [1])
    first[0] = False
    assert runs.pipeline(*stages).run([1]).finished
    assert runs.written() == {"1": [303, 333, 363]}
    assert (runs.called("split"), sorted(runs.called("again"))) == ([1], [10, 11, 12])


def test_a_child_that_failed_with_its_children(runs: Runs) -> None:
    """Its value is those children, for its parent in this run and in another; and the same of one that was dropped."""
    first = [True]

    def inner(children: Children[Any]) -> Any:
        if children.parent % 10 == 1:
            raise ValueError("no")
        return sum(children.values) if children.parent % 10 == 0 else Drop("odd")

    def outer(children: Children[Any]) -> Any:
        if first[0]:
            ends = {"collected", "failed", "dropped"}
            runs.cut_when(lambda states: {states.get(f"1/{number}") for number in range(3)} == ends)
        return [value if isinstance(value := one.value, int) else told(value) for one in children]

    stages = (
        stage("split", split, expand=True),
        stage("again", lambda value: [value, -value], expand=True),
        stage("inner", inner, collect=True),
        stage("outer", outer, collect=True),
    )
    runs.die(runs.pipeline(*stages), [1])
    first[0] = False
    assert runs.pipeline(*stages).run([1, 2]).finished
    for key, value in runs.written().items():
        tens = 10 * int(key)
        ended = [[f"{key}/{kid}/{number}", "collected"] for kid in (1, 2) for number in range(2)]
        values = [tens + 1, -tens - 1, tens + 2, -tens - 2]
        kids = [[*one, number] for one, number in zip(ended, values, strict=True)]
        assert value == [0, [tens + 1, *kids[:2]], [tens + 2, *kids[2:]]]
    assert len(runs.written()) == 2


def test_a_stage_that_collects_and_expands(runs: Runs) -> None:
    """The parent's second children are told apart from its first ones, also in another run."""
    first = [True]

    def stop(children: Children[Any]) -> Any:
        if first[0]:
            runs.cut_when(lambda states: list(states.values()).count("collected") == 5)
        return [told(children.parent), children.values]

    def regroup(children: Children[Any]) -> list[int]:
        return children.values[:2]

    stages = (
        stage("split", runs.noted("split", split), expand=True),
        stage("regroup", runs.noted("regroup", regroup), collect=True, expand=True),
        stage("end", stop, collect=True),
    )
    runs.die(runs.pipeline(*stages), [1])
    first[0] = False
    assert runs.pipeline(*stages).run([1]).finished
    before = [1, *([f"1/{number}", "collected", 10 + number] for number in range(3))]
    assert runs.written() == {"1": [before, [10, 11]]}
    assert (len(runs.called("split")), len(runs.called("regroup"))) == (1, 1)


@pytest.mark.parametrize("between", [0, 1])
def test_a_stage_that_collects_and_makes_none(runs: Runs, between: int) -> None:
    """The next one that collects is called with no children, not with those of a stage before, also in another run."""
    first, collector = [True], 2 + between

    def end(children: Children[Any]) -> Any:
        if first[0]:
            runs.cut_when(lambda states: runs.item("1").collected_by == collector)
        return [told(children.parent), children.values]

    stages = (
        stage("split", runs.noted("split", split), expand=True),
        stage("none", runs.noted("none", lambda children: []), collect=True, expand=True),
        *[stage("work", lambda value: value)] * between,
        stage("end", end, collect=True),
    )
    runs.die(runs.pipeline(*stages), [1])
    first[0] = False
    assert runs.pipeline(*stages).run([1]).finished
    before = [1, *([f"1/{number}", "collected", 10 + number] for number in range(3))]
    assert runs.written() == {"1": [before, []]}
    assert (len(runs.called("split")), len(runs.called("none"))) == (1, 1)


def test_only_a_stage_that_expands_too_collects(runs: Runs) -> None:
    """Parents are woken then, too."""
    first = [True]

    def stop(value: int) -> int:
        if first[0]:
            runs.cut_when(lambda states: states["1"] == "running" and len(states) == 4)
        return value

    stages = (
        stage("split", split, expand=True),
        stage("work", stop),
        stage("regroup", lambda children: children.values, collect=True, expand=True),
    )
    runs.die(runs.pipeline(*stages), [1])
    first[0] = False
    assert runs.pipeline(*stages).run([1]).finished
    assert runs.written() == {"1/3": 10, "1/4": 11, "1/5": 12}


def test_no_children_at_all(runs: Runs) -> None:
    """The parent is called with none, in whichever run; and dropped children are told of."""
    first = [True]

    def vote(children: Children[Any]) -> Any:
        if first[0]:
            runs.cut_when(lambda states: states.get("2/0") == "dropped")
        return [len(children), [str(one.error) for one in children]]

    def none_or_one(value: int) -> list[int]:
        return [] if value == 1 else [5]

    stages = (
        stage("split", none_or_one, expand=True),
        stage("work", lambda value: Drop("odd")),
        stage("vote", vote, collect=True, concurrency=2),
    )
    runs.die(runs.pipeline(*stages), [1, 2])
    first[0] = False
    assert runs.pipeline(*stages).run([1, 2]).finished
    assert runs.written() == {"1": [0, []], "2": [1, ["odd"]]}


@pytest.mark.parametrize("dies", [False, True])
def test_a_stage_that_collects_nothing_and_expands_to_nothing(runs: Runs, dies: bool) -> None:
    """The parent has been called with no children twice, though none tells of that."""

    def vote(children: Children[Any]) -> Any:
        if dies and len(runs.called("vote")) == 1:
            runs.cut_when(lambda states: rows(runs.url, ITEMS)[0].collected_by == 2)
        return [type(children.parent).__name__, children.parent.parent, len(children)]

    stages = (
        stage("split", lambda value: [], expand=True),
        stage("regroup", lambda children: [], collect=True, expand=True),
        stage("vote", runs.noted("vote", vote), collect=True),
    )
    if dies:
        runs.die(runs.pipeline(*stages), [1])
    assert runs.pipeline(*stages).run([1]).finished
    assert runs.written() == {"1": ["Children", 1, 0]}


@pytest.mark.parametrize("dies", [False, True])
def test_a_child_that_failed_with_its_own_children(runs: Runs, dies: bool) -> None:
    """Its parent sees it as it was then, also in another run: where it failed, what with, and where it came from."""

    def inner(children: Children[Any]) -> Any:
        if children.id == "1/1":
            raise ValueError("no")
        return sum(children.values)

    def outer(children: Children[Any]) -> Any:
        if dies and len(runs.called("outer")) == 1:
            ended = sorted(["collected", "failed", "collected"])
            runs.cut_when(lambda states: sorted(states.get(f"1/{number}", "") for number in range(3)) == ended)
        return [
            [one.id, one.stage, one.parent, one.record, one.value if number != 1 else one.value.values]
            for number, one in enumerate(children)
        ]

    stages = (
        stage("split", lambda value: split(1), expand=True),
        stage("again", split, expand=True),
        stage("inner", inner, collect=True),
        stage("outer", runs.noted("outer", outer), collect=True),
    )
    if dies:
        runs.die(runs.pipeline(*stages), [Record(1, "one")])
    assert runs.pipeline(*stages).run([Record(1, "one")]).finished
    assert runs.written() == {
        "1": [
            ["1/0", None, 1, "one", 303],
            ["1/1", "inner", 1, "one", [110, 111, 112]],
            ["1/2", None, 1, "one", 363],
        ]
    }


class Gone:
    """What will not be found again."""


def test_a_child_that_cannot_be_read_fails_its_parent_alone(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an error that says so, and the others go on."""
    first = [True]

    def vote(children: Children[Any]) -> Any:
        if first[0]:
            runs.cut_when(lambda states: list(states.values()).count("collected") == 2)
        return len(children)

    stages = (
        stage("split", lambda value: [Gone() if value == 1 else value], expand=True),
        stage("vote", vote, collect=True, concurrency=2),
    )
    runs.die(runs.pipeline(*stages), [1, 2])
    first[0] = False
    monkeypatch.delattr(f"{__name__}.Gone")
    report = runs.pipeline(*stages).run([1, 2])
    assert (report.failed, report.written) == (1, 1)
    assert runs.written() == {"2": 1}


def test_changed_stages_behind_the_one_that_expands(runs: Runs) -> None:
    """Its children stay, and are called again where the stages are others; the parent waits for them again."""

    def stages(*versions: int) -> list[Stage]:
        calls: tuple[Callable[[Any], Any], ...] = (split, lambda value: value, told, lambda value: value)
        names = "split", "work", "vote", "end"
        return [
            stage(name, runs.noted(name, call), version=version, expand=name == "split", collect=name == "vote")
            for name, call, version in zip(names, calls, versions, strict=True)
        ]

    ended = [1, *([f"1/{number}", "collected", 10 + number] for number in range(3))]
    expected = {"split": 1, "work": 3, "vote": 1, "end": 1}
    runs.pipeline(*stages(1, 1, 1, 1)).run([1])
    for versions, again in [
        ((1, 1, 1, 2), ("end",)),
        ((1, 1, 2, 2), ("vote", "end")),
        ((1, 2, 2, 2), ("work", "vote", "end")),
        ((2, 2, 2, 2), ("split", "work", "vote", "end")),
    ]:
        for name in again:
            expected[name] += 3 if name == "work" else 1
        assert runs.pipeline(*stages(*versions), resume=True).run([1]).finished
        assert {name: len(runs.called(name)) for name in expected} == expected
        assert runs.written() == {"1": ended}
        assert len(runs.states()) == 4


def test_a_new_stage_that_collects(runs: Runs) -> None:
    """Parents that had ended with their children wait for them; without that stage they end with them again."""

    def stages(name: str) -> list[Stage]:
        last = stage("vote", lambda value: value.values, collect=True) if name == "vote" else stage("work", int)
        return [stage("split", runs.noted("split", split), expand=True), last]

    runs.pipeline(*stages("work")).run([1])
    assert runs.states()["1"] == "expanded"
    assert runs.pipeline(*stages("vote"), resume=True).run([1]).finished
    assert runs.states() == {"1": "written"} | {f"1/{number}": "collected" for number in range(3)}
    assert runs.written()["1"] == [10, 11, 12]
    assert runs.pipeline(*stages("work"), resume=True).run([1]).finished
    assert runs.states() == {"1": "expanded"} | {f"1/{number}": "written" for number in range(3)}
    assert runs.called("split") == [1]


@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
def test_a_child_whose_id_is_taken_is_not_collected(runs: Runs, dies: bool, scheduler: Any) -> None:
    """Whether the parent waits in memory or in the store; the other item with that ID goes its own way."""
    first = [dies]

    def is_one(value: int) -> bool:
        return value == 1

    def named(value: int) -> list[Any]:
        return [Record("x", value), Record("x", value + 1), Record("7", value + 2), value + 3]

    def vote(children: Children[Any]) -> Any:
        if first[0]:
            runs.cut_when(lambda states: list(states.values()).count("collected") == 2)
        return told(children)

    stages = stage("named", named, expand=True, when=is_one), stage("vote", vote, collect=True)
    pipeline = runs.pipeline(*stages, scheduler=scheduler)
    assert pipeline.run([7]).written == 1
    if dies:
        runs.die(pipeline, [1])
        first[0] = False
        runs.pipeline(*stages, scheduler=scheduler).run([])
    else:
        report = pipeline.run([1])
        assert (report.written, report.collected, report.failed) == (1, 2, 2)
        assert "has the ID" in report.errors[0].text
    assert runs.written()["1"] == [1, ["x", "collected", 1], ["1/3", "collected", 4]]
