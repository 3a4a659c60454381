"""``compare_simulated``: the same figures in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rxpipe.config import Config
from rxpipe.devtools.compare import Comparison, compare, compare_simulated, page
from rxpipe.errors import ConfigError
from rxpipe.foresight import RecordedCall, RecordedRun

SLOW = {"generation": 30.0, "answering": 60.0, "grading": 30.0}


@pytest.fixture(autouse=True)
def nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Neither a database nor anything else."""
    monkeypatch.chdir(tmp_path)
    yield
    assert list(tmp_path.iterdir()) == []


def config(**keys: Any) -> Config:
    """Three stages whose functions are not there to be called."""
    return Config.model_validate({"pipeline_config": {"timeouts": dict.fromkeys(SLOW, 600)}, **keys})


def shape(comparison: Comparison) -> list[tuple[str, float]]:
    return [(row.name, round(row.report.seconds, 3)) for row in comparison.rows]


def test_all_ways() -> None:
    """Each takes its bound, as nothing else takes time; an hour of calls is over in a moment."""
    comparison = compare_simulated(config(), latency=SLOW, count=90)
    assert comparison.simulated
    assert [row.name for row in comparison.rows] == [
        f"{strategy} on {scheduler}"
        for scheduler in ("threads", "asyncio")
        for strategy in ("staged", "per_item", "per_stage")
    ]
    assert all(row.is_complete and row.share == pytest.approx(1.0, abs=1e-6) for row in comparison.rows)
    assert all(len(stage.calls) == 90 for row in comparison.rows for stage in row.timeline.stages)
    assert all(len(row.timeline.commits) == 90 for row in comparison.rows)
    assert comparison.rows[0].report.seconds == pytest.approx(3600, rel=0.01)


@pytest.mark.slow
def test_it_is_what_the_runs_would_take() -> None:
    """Nearly: they have overhead besides."""
    latency = {"generation": 0.04, "answering": 0.08, "grading": 0.04}
    simulated, real = (compared(Config(), latency=latency, count=12) for compared in (compare_simulated, compare))
    for foretold, row in zip(simulated.rows, real.rows, strict=True):
        assert foretold.report.seconds <= row.report.seconds


def test_recorded_calls() -> None:
    """Without a latency, calls take as long as those of a run."""
    calls = [
        RecordedCall(str(item), stage, 1, 10.0 * item, seconds, "ok")
        for item in range(50)
        for stage, seconds in SLOW.items()
    ]
    comparison = compare_simulated(config(), latency={}, count=30, record=lambda: RecordedRun(calls=calls))
    again = compare_simulated(config(), latency=SLOW, count=30)
    assert shape(comparison) == shape(again)
    assert "as recorded ones" in comparison.notes[0]


def test_nothing_to_go_by() -> None:
    """Neither latencies nor recorded calls."""
    with pytest.raises(ConfigError, match="no recorded calls"):
        compare_simulated(config(), latency={}, count=3)


def test_it_says_that_it_is_simulated() -> None:
    """In notes, page and JSON."""
    comparison = compare_simulated(config(), latency=SLOW, count=9)
    assert any(note.startswith("Simulated, in virtual time") for note in comparison.notes)
    assert not any("temporary database" in note for note in comparison.notes)
    assert "<h1>9 items through generation, answering, grading (simulated)</h1>" in page(comparison)
    plain = comparison.as_json()
    assert plain["simulated"] is True
    assert [run["seconds"] for run in plain["runs"]] == [row.report.seconds for row in comparison.rows]
