from __future__ import annotations

import pytest

from .runs import Runs


@pytest.fixture
def runs(store_url: str) -> Runs:
    """Runs on each database in turn."""
    return Runs(store_url)
