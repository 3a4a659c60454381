from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rxpipe import ConfigError, DatabaseSink, Retry, load_pipeline
from rxpipe.config.build import pipeline_of
from rxpipe.config.model import load_config

SEED = Path(__file__).parents[1] / "data" / "seed.yaml"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "pipeline.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_seeds_config_is_a_pipeline_with_its_settings() -> None:
    """It names no stages: those of the question bank are meant."""
    pipeline = pipeline_of(load_config(SEED))
    retry = Retry(max_attempts=3, backoff_factor=2)
    assert [
        (stage.name, stage.concurrency, stage.queue_size, stage.timeout, stage.retry) for stage in pipeline.stages
    ] == [
        ("generation", 3, 10, 60, retry),
        ("answering", 3, 10, 120, retry),
        ("grading", 3, 10, 60, retry),
    ]
    assert (pipeline.concurrency, pipeline.strategy, pipeline.scheduler) == (3, "per_stage", "threads")
    assert isinstance(pipeline.sink, DatabaseSink)


@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
@pytest.mark.parametrize("strategy", ["per_stage", "per_item", "staged"])
def test_the_seeds_pipeline_runs_in_every_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str, scheduler: str
) -> None:
    """Into the database that the config names."""
    text = SEED.read_text(encoding="utf-8")
    text += f"\nstrategy: {strategy}\nscheduler: {scheduler}\ndatabase:\n  url: sqlite:///bank.db\n  table: bank\n"
    monkeypatch.chdir(tmp_path)
    report = load_pipeline(written(tmp_path, text)).run(range(1, 31))
    assert (report.taken, report.written) == (30, 30)
    with closing(sqlite3.connect("bank.db")) as connection:
        assert connection.execute("SELECT count(*) FROM bank WHERE score IS NOT NULL").fetchone() == (30,)


def test_a_stage_is_of_the_users_module_beside_the_config(tmp_path: Path) -> None:
    """With settings of its own before those of all."""
    (tmp_path / "my_stages_of_build.py").write_text("def shout(value):\n    return f'{value}!'\n")
    path = written(
        tmp_path,
        """
stages:
  - name: shout
    call: my_stages_of_build:shout
    concurrency: 7
    timeout: 1.5
    queue_size: 2
    retry: {max_attempts: 9}
pipeline_config:
  parallel_pipelines: 2
  retry: {max_attempts: 4, backoff_factor: 3}
""",
    )
    pipeline = pipeline_of(load_config(path))
    (stage,) = pipeline.stages
    assert stage.call(1) == "1!"
    assert (stage.concurrency, stage.timeout, stage.queue_size, pipeline.concurrency) == (7, 1.5, 2, 2)
    assert stage.retry is not None
    assert (stage.retry.max_attempts, stage.retry.backoff_factor) == (9, 3)


def test_a_stage_that_cannot_be_imported_is_an_error_that_names_its_place(tmp_path: Path) -> None:
    """File, key and what is wrong."""
    path = written(tmp_path, "stages:\n  - {name: a, call: 'rxpipe.questions.arithmetic:generat'}\n")
    with pytest.raises(ConfigError, match=r"pipeline\.yaml: stages\[0\]\.call: .*generat"):
        pipeline_of(load_config(path))


def test_nothing_is_opened_before_the_pipeline_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No database is made by reading a config."""
    opened: list[Any] = []
    monkeypatch.setattr("rxpipe.database.writer.open_engine", opened.append)
    monkeypatch.chdir(tmp_path)
    pipeline_of(load_config(SEED))
    assert opened == []
    assert list(tmp_path.iterdir()) == []
