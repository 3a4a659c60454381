"""The rights that ``docs/production/privileges.md`` lists: they suffice, and none is too many."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.program import Ended, rxpipe, write_config
from servers import POSTGRES, answering
from sqlalchemy import create_engine, insert, select
from sqlalchemy.pool import NullPool
from store.older import make_older

from rxpipe import RunStore
from rxpipe.store.schema.migrations import newest_version
from rxpipe.store.schema.tables import WORKERS, db_now

from .roles import Bank, bank

PAGE = Path(__file__).parents[2] / "docs" / "production" / "privileges.md"
_, BEFORE, AFTER = (
    [statement.strip() for statement in re.sub(r"^--.*$", "", text, flags=re.MULTILINE).split(";") if statement.strip()]
    for text in re.findall(r"^```sql\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
)
STAGES = """
import pathlib, rxpipe
here = pathlib.Path(__file__).parent
def work(i):
    if i == 2 and not (here / "mended").exists():
        raise ValueError("no")
    if i == 3 and (here / "mended").exists():
        raise rxpipe.Drop("odd")
    rxpipe.record_usage(rxpipe.Usage(prompt_tokens=1, completion_tokens=1, cost=0.1))
    return {"id": i}
"""
RIGHTS = {
    "CONNECT on the database": "CONNECT ON DATABASE bank",
    "USAGE on the schema": "USAGE ON SCHEMA public",
    **{
        f"{right} on tables": f"{right} ON ALL TABLES IN SCHEMA public"
        for right in ["SELECT", "INSERT", "UPDATE", "DELETE"]
    },
    "USAGE on sequences": "USAGE ON ALL SEQUENCES IN SCHEMA public",
}
LOOKS = (["runs"], ["show", "1"], ["failures", "1"], ["workers"], ["cache"], ["export", "1", "items.jsonl"])


@pytest.fixture
def granted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bank]:
    """A database with what the page has executed, and a config in the current folder."""
    monkeypatch.chdir(tmp_path)
    server = answering(POSTGRES)
    with bank(server) as made:
        made.execute(*BEFORE)
        use(made, monkeypatch, owner=True)
        config = write_config(
            tmp_path,
            STAGES,
            database={"url": "${DATABASE_URL}"},
            pipeline_config={"retry": {"max_attempts": 1}},
            stages=[{"name": "work", "call": "MODULE:work", "cache": True}],
        )
        assert rxpipe("migrate", config).code == 0
        made.execute(*AFTER)
        use(made, monkeypatch)
        yield made


def use(made: Bank, monkeypatch: pytest.MonkeyPatch, *, owner: bool = False) -> None:
    url = made.owner if owner else made.worker
    monkeypatch.setenv("DATABASE_URL", url.render_as_string(hide_password=False))


def whole_life(folder: Path) -> Iterator[Ended]:
    """What becomes of a run, each step told with its command: run, resume, look, requeue, begin anew, forget, prune."""
    config = folder / "pipeline.yaml"
    mended = folder / "mended"
    mended.unlink(missing_ok=True)
    yield rxpipe("run", config, "--fresh")
    yield rxpipe("run", config, "--count", "4")
    yield from looks(config)
    mended.touch()
    for command in (["requeue"], ["requeue", "--rows"]):
        yield rxpipe(command[0], "latest", *command[1:], "-c", config)
        yield rxpipe("run", config)
    for command in (["forget", "1", "--yes"], ["prune", "--keep", "0"], ["cache", "--clear"]):
        yield rxpipe(*command, "-c", config)


def looks(config: Path) -> Iterator[Ended]:
    for command in LOOKS:
        words = ["latest" if word == "1" else word for word in command]
        yield rxpipe(*words, "-c", config)


def is_refused(step: Ended) -> bool:
    """By the server, which does not even tell of a schema that a role must not use."""
    return any(text in step.err + step.out for text in ("permission denied", "no schema has been selected"))


@pytest.mark.slow
def test_the_rights_suffice(granted: Bank, tmp_path: Path) -> None:
    """For all that becomes of a run; nothing fails but the one item that is to."""
    codes = [(step.code, step.err) for step in whole_life(tmp_path)]
    assert {code for code, _ in codes} <= {0, 1}
    assert [err for _, err in codes if "denied" in err or "error: " in err] == []
    assert [code for code, _ in codes].count(1) == 2  # runs in which an item has failed
    store = RunStore(granted.worker)
    with store.reader() as reader, store.actor():
        assert reader.runs() == []  # pruned


@pytest.mark.slow
def test_each_right_is_needed(granted: Bank, tmp_path: Path) -> None:
    """Without it, something is refused. The page names all of them."""
    told = re.findall(r"^\| `(\w+)` (on [a-z ]+) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert [" ".join(one) for one in told] == [*RIGHTS]
    for right in RIGHTS.values():
        granted.execute(f"REVOKE {right} FROM bank_worker")
        assert any(is_refused(step) for step in whole_life(tmp_path)), right
        granted.execute(f"GRANT {right} TO bank_worker", *AFTER)


@pytest.mark.slow
def test_who_only_looks_needs_to_read(granted: Bank, tmp_path: Path) -> None:
    """The commands that change nothing, and what the page reads."""
    rxpipe("run", tmp_path / "pipeline.yaml")
    granted.execute(
        "REVOKE INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public FROM bank_worker",
        "REVOKE USAGE ON ALL SEQUENCES IN SCHEMA public FROM bank_worker",
    )
    assert [(step.code, step.err) for step in looks(tmp_path / "pipeline.yaml")] == [(0, "")] * len(LOOKS)
    with RunStore(granted.worker).reader() as reader:
        assert len(reader.runs()) == 1


@pytest.mark.slow
def test_a_worker_that_may_not_migrate_stops_nobody(granted: Bank, tmp_path: Path) -> None:
    """Older workers go on until the owner migrates the tables."""
    with create_engine(granted.owner, poolclass=NullPool).begin() as connection:
        make_older(connection, newest_version() - 1)
        row = {"id": "x", "run_id": 1, "host": "far", "pid": 17, "lease": 60.0, "started_at": 0.0}
        connection.execute(insert(WORKERS).values(**row, heartbeat_at=db_now()))
    ended = rxpipe("run", tmp_path / "pipeline.yaml")
    assert ended.code == 2
    assert "must be owner of table rxpipe_items" in ended.err or "permission denied" in ended.err
    with create_engine(granted.owner, poolclass=NullPool).begin() as connection:
        assert connection.execute(select(WORKERS.c.asked).where(WORKERS.c.id == "x")).scalar() is None


@pytest.mark.slow
def test_a_worker_makes_no_tables(granted: Bank, tmp_path: Path) -> None:
    """It says so, and calls nothing."""
    granted.execute("DROP TABLE rxpipe_schema")
    ended = rxpipe("run", tmp_path / "pipeline.yaml")
    assert ended.code == 2
    assert "permission denied for schema public" in ended.err
    assert "run `rxpipe migrate CONFIG` as their owner" in ended.err
