from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it has no types
import pytest
from pipeline_helpers import until

from .executor_helpers import a_cluster, connections, threads, workers
from .executor_stages import LIMIT


@pytest.fixture(autouse=True)
def _nothing_leaks() -> Iterator[None]:
    """Fails a test that leaves processes, threads of rxpipe's or Dask's, or connections."""
    before, running, connected = workers(), threads(), connections()
    yield
    for thread in threads() - running:
        getattr(thread, "_started").wait(LIMIT)  # noqa: B009 - one that is just being started cannot be joined yet
        thread.join(LIMIT)
    assert [thread.name for thread in threads() - running] == []
    _, left = psutil.wait_procs(list(workers() - before), timeout=LIMIT)
    assert left == []
    until(lambda: connections() <= connected)


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The address of a Dask cluster of two worker processes, which can import the tests' stages."""
    with a_cluster(2) as (_, address):
        yield address


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where calls tell what they do."""
    return tmp_path
