"""Whose rows a table has: another pipeline overwrites them only when it is told to."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import reactivex
from servers import execute
from sqlalchemy import Column, MetaData, String, Table, create_engine, select
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool
from structlog.testing import capture_logs

from rxpipe import DatabaseSink, Outcome, Pipeline, RunStore, Stage
from rxpipe.database import default_table
from rxpipe.database.table_owner import OWNERS, Owner, claim, make_owners
from rxpipe.errors import OtherPipeline
from rxpipe.identity import Identity
from rxpipe.identity.names import DefaultName
from rxpipe.identity.signature import StageSignature


def first(value: Any) -> dict[str, Any]:
    return {"question": f"first {value}"}


def second(value: Any) -> dict[str, Any]:
    return {"question": f"second {value}"}


def key(outcome: Outcome[Any]) -> dict[str, Any]:
    return {"id": str(outcome.id)}


def word(outcome: Outcome[Any]) -> dict[str, Any]:
    return {**key(outcome), "text": "new"}


@pytest.fixture
def owned(url: str, name: str) -> Iterator[tuple[str, str]]:
    """A database of each kind and a table of the test's own, which is forgotten afterwards."""
    yield url, name
    if make_url(url).get_backend_name() != "sqlite":
        execute(url, f"DROP TABLE IF EXISTS {name}", f"DELETE FROM rxpipe_tables WHERE name = '{name}'")


def run(url: str, table: Any, call: Any = first, *, replace: bool = False, **options: Any) -> None:
    """Run a pipeline over three IDs."""
    sink = DatabaseSink(url, table=table, replace=replace, row=options.pop("row", None))
    Pipeline(Stage("asking", call), sink=sink, **options).run(range(3))


def questions(url: str, table: str) -> set[str]:
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        return {row.question for row in connection.execute(select(default_table(table)))}


def test_another_pipeline_is_refused(owned: tuple[str, str]) -> None:
    """Before it calls anything; the message names both, and the ways out. The first one goes on as ever."""
    url, table = owned
    called: list[Any] = []
    run(url, table, name="bank")
    with pytest.raises(OtherPipeline) as refused:
        run(url, table, called.append, name="other")
    told = str(refused.value)
    assert f"the table {table} of " in told
    assert "has rows of pipeline bank; this is pipeline other" in told
    assert "--replace" in told
    assert "DatabaseSink(replace=True)" in told
    assert "Pipeline(name='bank')" in told
    assert called == []
    run(url, table, second, name="bank")
    assert questions(url, table) == {"second 0", "second 1", "second 2"}


def test_it_may_replace_rows_when_told_to(owned: tuple[str, str]) -> None:
    """Then the table is its own, and the first pipeline is the one that is refused."""
    url, table = owned
    run(url, table, name="bank")
    run(url, table, second, name="other", replace=True)
    assert questions(url, table) == {"second 0", "second 1", "second 2"}
    run(url, table, second, name="other")
    with pytest.raises(OtherPipeline, match="rows of pipeline other; this is pipeline bank"):
        run(url, table, name="bank")


def test_a_table_that_was_dropped_is_nobodys(owned: tuple[str, str]) -> None:
    """It has no rows to lose."""
    url, table = owned
    run(url, table, name="bank")
    execute(url, f"DROP TABLE {table}")
    run(url, table, second, name="other")
    with pytest.raises(OtherPipeline):
        run(url, table, name="bank")


def test_a_chain_is_no_pipeline(owned: tuple[str, str]) -> None:
    """Its sink owns nothing, and overwrites rows of a pipeline only when it is told to."""
    url, table = owned

    def chain(**options: Any) -> None:
        sink = DatabaseSink(url, table=table, **options)
        reactivex.of({"id": "1", "question": "of a chain"}).subscribe(sink)
        sink.finished.result(30)

    chain()
    run(url, table, name="bank")
    with pytest.raises(OtherPipeline, match="this is a sink of no pipeline"):
        chain()
    assert "of a chain" not in questions(url, table)
    chain(replace=True)
    assert "of a chain" in questions(url, table)
    run(url, table, name="bank")


@pytest.mark.parametrize("store", [None, RunStore()], ids=["plain", "durable"])
def test_a_table_of_the_users_own(tmp_path: Any, store: RunStore | None) -> None:
    """It counts as well, also with rows that the user had put there before."""
    url = f"sqlite:///{tmp_path / 'bank.db'}"
    words = Table("words", MetaData(), Column("id", String(20), primary_key=True), Column("text", String(20)))
    engine = create_engine(url, poolclass=NullPool)
    words.create(engine)
    with engine.begin() as connection:
        connection.execute(words.insert().values(id="0", text="mine"))
    options: dict[str, Any] = {"row": word, "store": store}
    run(url, words, name="bank", **options)
    with pytest.raises(OtherPipeline):
        run(url, words, name="other", **options)
    run(url, words, name="other", replace=True, **options)


def test_with_and_without_a_store(tmp_path: Any) -> None:
    """Both know each other's rows; and a run that is refused leaves no run behind."""
    url = f"sqlite:///{tmp_path / 'bank.db'}"
    run(url, "bank", name="plain")
    with pytest.raises(OtherPipeline):
        run(url, "bank", second, name="durable", store=RunStore())
    run(url, "bank", second, name="durable", store=RunStore(), replace=True)
    with pytest.raises(OtherPipeline):
        run(url, "bank", name="plain")
    with pytest.raises(OtherPipeline):
        run(url, "bank", name="fresh", store=RunStore(fresh=True))
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT name FROM rxpipe_runs").scalars().all() == ["durable"]


def default(origin: str, version: str | None = None, name: str = "pipeline") -> Identity:
    """A pipeline of a file that is called so, and nobody named."""
    found = DefaultName(name)
    found.origin = origin
    return Identity(found, (StageSignature("asking", "my_stages:ask", version),))


def test_two_files_of_one_name(tmp_path: Any) -> None:
    """Copies on two machines are one pipeline; with other stages elsewhere it is another; an edited one is not."""
    engine = create_engine(f"sqlite:///{tmp_path / 'bank.db'}", poolclass=NullPool)
    make_owners(engine)

    def claimed(identity: Identity) -> None:
        with engine.begin() as connection:
            claim(connection, "results", identity, replace=False)

    claimed(default("/a/pipeline.yaml"))
    claimed(default("/b/pipeline.yaml"))
    claimed(default("/a/pipeline.yaml", "2"))
    with pytest.raises(OtherPipeline, match=r"has rows of pipeline pipeline .*a.pipeline.yaml.; this is .*b.pipeline"):
        claimed(default("/b/pipeline.yaml", "3"))
    with engine.connect() as connection:
        found = Owner(*connection.execute(select(OWNERS.c.pipeline, OWNERS.c.origin, OWNERS.c.stages)).one())
    assert found == Owner.of(default("/a/pipeline.yaml", "2"))


def test_two_at_once(postgres: str, name: str) -> None:
    """Of two pipelines that claim a table at one moment, one gets it; the other one waits for it, and is refused."""
    engine = create_engine(postgres)
    make_owners(engine)
    try:
        raised: list[BaseException] = []

        def claim_later() -> None:
            try:
                with engine.begin() as connection:
                    claim(connection, name, default("/b", name="other"), replace=False)
            except OtherPipeline as error:
                raised.append(error)

        with engine.begin() as connection:
            claim(connection, name, default("/a", name="bank"), replace=False)
            late = threading.Thread(target=claim_later)
            late.start()
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
            while late.is_alive() and not connection.exec_driver_sql(waiting).scalar_one():
                pass
        late.join()
        assert "has rows of pipeline bank" in str(raised[0])
    finally:
        execute(postgres, f"DELETE FROM rxpipe_tables WHERE name = '{name}'")
        engine.dispose()


def test_without_the_right_to_create_tables(postgres: str) -> None:
    """Rows are written, and it is said that they may be those of others."""
    user = f"rxpipe_{uuid.uuid4().hex[:12]}"
    schema = f"of_{user}"
    execute(
        postgres,
        f"CREATE ROLE {user} LOGIN",
        f"CREATE SCHEMA {schema}",
        f"CREATE TABLE {schema}.words (id text PRIMARY KEY)",
        f"GRANT USAGE ON SCHEMA {schema} TO {user}",
        f"GRANT ALL ON {schema}.words TO {user}",
    )
    url = make_url(postgres).set(username=user).update_query_dict({"options": f"-csearch_path={schema}"})
    words = Table("words", MetaData(), Column("id", String(20), primary_key=True))
    try:
        with capture_logs() as logs:
            for pipeline in ("bank", "other"):
                run(url.render_as_string(False), words, row=key, name=pipeline)
        assert "rows of other pipelines may be overwritten" in logs[0]["event"]
    finally:
        execute(postgres, f"DROP SCHEMA {schema} CASCADE", f"DROP ROLE {user}")
