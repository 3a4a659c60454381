"""``compare``: all ways, the same work, nothing left behind."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rxpipe.config import Config, load_config
from rxpipe.devtools.compare import Comparison, compare
from rxpipe.errors import ConfigError

from . import odd_stages

WAYS = [
    "staged on threads",
    "per_item on threads",
    "per_stage on threads",
    "staged on asyncio",
    "per_item on asyncio",
    "per_stage on asyncio",
]
TINY = {"generation": 0.002, "answering": 0.004, "grading": 0.002}


def silent(line: str) -> None:
    """Shows no progress."""


def odd_config(*calls: str, **keys: Any) -> Config:
    stages = [{"name": f"{call} {number}", "call": f"{odd_stages.NAME}:{call}"} for number, call in enumerate(calls)]
    return Config.model_validate({"stages": stages, "pipeline_config": {"retry": {"max_attempts": 1}}, **keys})


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go; a comparison leaves none."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.chdir(tmp_path)
    yield folder
    assert list(folder.iterdir()) == []
    assert list(tmp_path.iterdir()) == [folder]  # above all no questions.db


def count_calls(comparison: Comparison) -> list[list[int]]:
    return [[len(stage.calls) for stage in row.timeline.stages] for row in comparison.rows]


@pytest.mark.slow
def test_all_ways_are_complete() -> None:
    """Six runs, each with every row written, every call noted and every figure there."""
    lines: list[str] = []
    comparison = compare(Config(), latency=TINY, count=8, progress=lines.append)
    assert [row.name for row in comparison.rows] == WAYS
    assert [line.split(":")[0] for line in lines] == [f"{number}/6 {way}" for number, way in enumerate(WAYS, 1)]
    assert all(row.is_complete and row.report.written == row.rows == 8 for row in comparison.rows)
    assert count_calls(comparison) == [[8, 8, 8]] * 6
    assert [row.at_once for row in comparison.rows] == ["3", "9", "3+3+3"] * 2
    for row in comparison.rows:
        assert row.share is not None
        assert 0 < row.share <= 1
        assert 0 < row.busy <= 1
        assert len(row.timeline.commits) == 8
        assert all(0 <= call.began <= call.ended for stage in row.timeline.stages for call in stage.calls)
    assert [row.speed_up for row in comparison.rows if row.strategy == "staged"] == [1.0, 1.0]
    assert "staged 24.0 ms, per_item 8.0 ms, per_stage 16.0 ms" in comparison.notes[0]


@pytest.mark.slow
def test_the_order_of_events() -> None:
    """Staged writes when all calls have ended; the others write before the last item is even generated."""
    comparison = compare(Config(), latency={"generation": 0.03}, count=90, progress=silent)
    for row in comparison.rows:
        generation, answering, grading = row.timeline.stages
        first_commit, last_generated = row.timeline.commits[0].at, max(call.ended for call in generation.calls)
        if row.strategy == "staged":
            assert last_generated <= min(call.began for call in answering.calls)
            assert max(call.ended for call in grading.calls) <= first_commit
            assert row.report.most_in_flight == 90
        else:
            assert first_commit < last_generated
            assert row.report.most_in_flight < 90


@pytest.mark.slow
def test_without_latency_it_is_of_overhead() -> None:
    """There is no bound, and the table shows what an item takes."""
    comparison = compare(Config(), latency={}, count=1, progress=silent)
    assert not comparison.has_latency
    assert "an item" in comparison.columns
    assert "of bound" not in comparison.columns
    assert "overhead" in comparison.notes[0]
    assert [row.bound for row in comparison.rows] == [None] * 6
    assert all(row.is_complete for row in comparison.rows)


@pytest.mark.slow
@pytest.mark.parametrize(("stages", "width"), [(3, 80), (12, 84)])
def test_a_table_of_eight_columns_that_fits_a_terminal(stages: int, width: int) -> None:
    """The gaps between them are two characters wide."""
    config = odd_config(*["double"] * stages)
    comparison = compare(config, latency={"double 1": 0.001}, count=2, progress=silent)
    lines = [comparison.columns, *(comparison.cells(row) for row in comparison.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    assert len(widths) == 8
    assert sum(widths) + 2 * (len(widths) - 1) <= width


@pytest.mark.slow
@pytest.mark.parametrize("call", ["fail_for_three", "hang_for_three", "block_for_three"])
def test_failures_are_counted_and_the_comparison_goes_on(call: str) -> None:
    """An item that fails, a coroutine that hangs and a thread that blocks, each with a latency."""
    config = odd_config(
        "double_soon",
        call,
        "double",
        pipeline_config={"timeouts": {f"{call} 1": 0.1}, "retry": {"max_attempts": 1}},
        source={"call": f"{odd_stages.NAME}:soon_ids"},
    )
    # The IDs 0 to 3, doubled: none of them is 3.
    assert all(row.report.failed == 0 for row in compare(config, latency={}, count=9, progress=silent).rows)
    config = odd_config(
        call,
        "double",
        pipeline_config={"timeouts": {f"{call} 0": 0.1}, "retry": {"max_attempts": 1}},
        source={"call": f"{odd_stages.NAME}:soon_ids"},
    )
    comparison = compare(config, latency={f"{call} 0": 0.001}, count=9, progress=silent)
    assert comparison.count == 4
    for row in comparison.rows:
        assert row.is_complete
        assert (row.report.written, row.report.failed, row.rows) == (3, 1, 4)
        assert row.written == "3, 1 failed"
        assert row.share is None
        assert [call.item for call in row.timeline.stages[0].calls if not call.ok] == [3]
        assert [call.item for call in row.timeline.stages[1].calls].count(3) == 0


@pytest.mark.slow
def test_a_run_that_fails_is_one_row() -> None:
    """A stage whose only slot is taken for good ends its run with an error, and the other runs are made."""
    config = odd_config(
        "block_for_three",
        "double",
        source={"range": [3, 9]},
        pipeline_config={
            "parallel_pipelines": 1,
            "timeouts": {"block_for_three 0": 0.05},
            "retry": {"max_attempts": 9, "initial": 0},
        },
    )
    comparison = compare(config, latency={}, count=2, progress=silent)
    assert len(comparison.rows) == 6
    for row in comparison.rows:
        if row.error:
            assert row.error.startswith("StageStalled")
            assert not row.is_complete
            assert row.speed_up is None
            assert "stopped" in row.written
            assert f"{row.name} was stopped by {row.error}" in comparison.notes
    assert any(row.error for row in comparison.rows)


@pytest.mark.slow
def test_the_first_interrupt_cancels_and_leaves_nothing() -> None:
    """Ctrl-C ends the comparison with the run of the moment, and its database is removed."""
    lines: list[str] = []
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        compare(
            odd_config("interrupt_at_three"), latency={"interrupt_at_three 0": 0.01}, count=500, progress=lines.append
        )
    assert len(lines) == 1
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive()


def test_what_progress_raises_ends_it() -> None:
    """An interrupt between two runs, too."""

    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(Config(), latency=TINY, count=1, progress=interrupt)


@pytest.mark.parametrize(
    ("latency", "text"),
    [
        ({"generate": 0.1}, "latency: there is no stage 'generate'; did you mean 'generation'?"),
        ({"grading": -1.0}, "latency: grading: given -1.0; allowed: seconds, 0 or more and below the stage's timeout"),
        ({"grading": float("nan")}, "latency: grading: given .nan; allowed: seconds"),
        ({"grading": 60.0}, "below the stage's timeout of 60"),
    ],
)
def test_latencies_that_cannot_be(latency: dict[str, float], text: str) -> None:
    """Nothing is run."""
    with pytest.raises(ConfigError) as caught:
        compare(Config(), latency=latency, count=1, progress=pytest.fail)
    assert text in str(caught.value)


@pytest.mark.parametrize("count", [0, -1])
def test_a_count_that_cannot_be(count: int) -> None:
    """At least one item is compared."""
    with pytest.raises(ConfigError, match=f"count: given {count}; allowed: a whole number, 1 or more"):
        compare(Config(), latency={}, count=count, progress=pytest.fail)


def test_a_source_without_ids(tmp_path: Path) -> None:
    """There is nothing to compare."""
    with pytest.raises(ConfigError, match="source: it has no IDs"):
        compare(odd_config("double", source={"call": "builtins:list"}), latency={}, count=1, progress=pytest.fail)


def test_an_id_that_is_too_long_for_a_row(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its item fails in each run, and no other does."""
    folder = tmp_path_factory.mktemp("config")
    (folder / "ids.txt").write_text("a\n" + "x" * 300 + "\nb\n")
    (folder / "c.yaml").write_text("source: {file: ids.txt}\nstages: [{name: s, call: 'builtins:str'}]\n")
    comparison = compare(load_config(folder / "c.yaml"), latency={}, count=5, progress=silent)
    assert {(row.rows, row.expected_rows, row.report.failed) for row in comparison.rows} == {(2, 2, 1)}


def test_an_id_that_is_none() -> None:
    """It is the config's fault and not a run's: said at once."""
    config = odd_config("double", source={"call": f"{odd_stages.NAME}:odd_ids"})
    with pytest.raises(ConfigError, match="an ID must be an int or a str"):
        compare(config, latency={}, count=5, progress=silent)


def test_on_a_running_loop() -> None:
    """It would block the loop."""

    async def main() -> None:
        compare(Config(), latency={}, count=1, progress=silent)

    with pytest.raises(RuntimeError, match=r"asyncio\.to_thread"):
        asyncio.run(main())
