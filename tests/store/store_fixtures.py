"""Databases that runs have filled; a plugin, so that the tests of the command line have them, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .stores import Stores, fill_bank, fill_halted, fill_nothing, fill_three


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    """Makes filled databases."""
    with ExitStack() as templates:
        yield Stores(tmp_path_factory.mktemp("stores"), templates)


@pytest.fixture(params=["sqlite", "postgres"])
def store_kind(request: pytest.FixtureRequest) -> str:
    """Each kind of database in turn."""
    found: str = request.param
    return found


@pytest.fixture
def bank_url(stores: Stores, store_kind: str, tmp_path: Path) -> Iterator[str]:
    """A database with a run that is finished, and has dead items."""
    with stores.copy(store_kind, fill_bank, tmp_path) as url:
        yield url


@pytest.fixture
def halted_url(stores: Stores, store_kind: str, tmp_path: Path) -> Iterator[str]:
    """A database with a run that was stopped."""
    with stores.copy(store_kind, fill_halted, tmp_path) as url:
        yield url


@pytest.fixture
def three_url(stores: Stores, store_kind: str, tmp_path: Path) -> Iterator[str]:
    """A database with three runs."""
    with stores.copy(store_kind, fill_three, tmp_path) as url:
        yield url


@pytest.fixture
def no_runs_url(stores: Stores, store_kind: str, tmp_path: Path) -> Iterator[str]:
    """A database with a store that has no runs."""
    with stores.copy(store_kind, fill_nothing, tmp_path) as url:
        yield url
