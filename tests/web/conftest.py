from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from rxpipe.web import app

from .fake_runs import FakeRuns
from .page_clients import client_of


@pytest.fixture
def runs() -> FakeRuns:
    """Runs whose clock stands still."""
    return FakeRuns(clock=lambda: 640.0, items=5_000)


@pytest.fixture
def client(runs: FakeRuns) -> Iterator[TestClient]:
    """A browser on this machine, so to speak."""
    with client_of(app(runs, runs)) as client:
        yield client
