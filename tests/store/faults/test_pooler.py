"""Behind a connection pooler that loses prepared statements."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pipeline_helpers import same
from servers import POSTGRES, answering, own_database
from sqlalchemy import URL
from structlog.testing import capture_logs

from rxpipe import DatabaseSink, Pipeline, RunStore, Stage

from .pooler import PROGRAM, pooler


@pytest.fixture
def pooled() -> Iterator[URL]:
    """An empty database behind PgBouncer."""
    if PROGRAM is None:
        pytest.skip("no pgbouncer found")
    with own_database(answering(POSTGRES)) as url, pooler(url) as pooled:
        yield pooled


@pytest.mark.slow
@pytest.mark.parametrize(("option", "warnings"), [(None, 1), ("none", 0)])
def test_prepared_statements_are_lost(pooled: URL, option: str | None, warnings: int) -> None:
    """No item is to blame: all are written, and a URL that says what there is to say leaves nothing to warn of."""
    url = pooled if option is None else pooled.update_query_dict({"prepare_threshold": option})
    with capture_logs() as logs:
        report = Pipeline(Stage("a", same), sink=DatabaseSink(url, max_items=5), store=RunStore()).run(range(100))
    assert (report.written, report.failed) == (100, 0)
    assert sum("prepared statements are lost" in log["event"] for log in logs) == warnings


@pytest.mark.slow
def test_a_sink_alone(pooled: URL) -> None:
    """The same without a store."""
    report = Pipeline(Stage("a", same), sink=DatabaseSink(pooled, max_items=5)).run(range(100))
    assert (report.written, report.failed) == (100, 0)
