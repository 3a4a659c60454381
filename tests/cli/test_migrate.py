"""``rxpipe migrate``: the tables of a store and of results are made, or brought up to date, and nothing is run."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool
from store.older import make_older

from rxpipe.store.maintenance.migrate import migrate_store
from rxpipe.store.schema.migrations import newest_version
from rxpipe.store.schema.tables import METADATA

from .program import refused, rows, write_config
from .store_program import document, lines

pytest_plugins = ("store.store_fixtures",)
SCHEMA, TABLES = newest_version(), len(METADATA.tables)
STORE = f"store: schema {SCHEMA}, {TABLES} tables,"
PAGE = Path(__file__).parents[2] / "docs" / "production" / "privileges.md"
NEVER = "raise RuntimeError('stages are not imported')"


def test_a_config(folder: Path) -> None:
    """Both are made, once; no run begins, and no stage is imported: the owner may lack what these need."""
    config = write_config(folder, NEVER)
    told = lines("migrate", config)
    assert told == [f"{STORE} made", "table results: made"]
    assert "\n".join(told) in PAGE.read_text("utf-8")
    assert lines("migrate", config) == [f"{STORE} as it was", "table results: as it was"]
    assert rows(folder / "bank.db", "select count(*) from rxpipe_runs") == [(0,)]
    assert rows(folder / "bank.db", "select count(*) from rxpipe_tables") == [(0,)]


def test_a_config_without_a_store(folder: Path) -> None:
    """The table of results alone; a file needs none."""
    url = f"sqlite:///{folder / 'bank.db'}"
    config = write_config(folder, NEVER, database={"url": url, "durable": False, "table": "mine"})
    assert lines("migrate", config) == ["table mine: made"]
    config.write_text("source: {range: 3}\noutput: {jsonl: rows.jsonl, durable: false}\n")
    assert "rows go into a file, and no run is kept" in refused("migrate", config)


def test_an_older_store(bank_in: str) -> None:
    """With the URL alone; what is in it stays, and commands that refused it before read it."""
    engine = create_engine(bank_in, poolclass=NullPool)
    with engine.begin() as connection:
        make_older(connection, 4)
    assert "rxpipe migrate" in refused("runs")
    assert lines("migrate", bank_in) == [f"{STORE} brought up to date from schema 4"]
    (run,) = document("runs")
    assert run["failed"] == 4
    assert migrate_store(bank_in).before == SCHEMA


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("none.yaml", "no such file"),
        ("sqlite:////none/x.db", "there is no directory /none"),
        ("mysql://me@host/bank", "a run store needs SQLite or PostgreSQL"),
    ],
)
def test_what_cannot_be(folder: Path, target: str, told: str) -> None:
    """One sentence each."""
    assert told in refused("migrate", target)
