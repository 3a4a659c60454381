"""Databases that runs have filled; a plugin, so that the tests of the command line have them, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .family import fill_family
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
def family_url(stores: Stores, store_kind: str, tmp_path: Path) -> Iterator[str]:
    """A database with a run whose items have children."""
    with stores.copy(store_kind, fill_family, tmp_path) as url:
        yield url


@pytest.fixture
def no_runs_url(stores: Stores, store_kind: str, tmp_path: Path) -> Iterator[str]:
    """A database with a store that has no runs."""
    with stores.copy(store_kind, fill_nothing, tmp_path) as url:
        yield url


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which has no database; nor does the environment name one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RXPIPE_DATABASE", raising=False)
    return tmp_path


@pytest.fixture
def bank_in(nowhere: Path, bank_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store with a run that has dead items, which the environment names."""
    monkeypatch.setenv("RXPIPE_DATABASE", bank_url)
    return bank_url


@pytest.fixture
def family_in(nowhere: Path, family_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store with a run whose items have children, which the environment names."""
    monkeypatch.setenv("RXPIPE_DATABASE", family_url)
    return family_url


@pytest.fixture
def three_in(nowhere: Path, three_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store with three runs, which the environment names."""
    monkeypatch.setenv("RXPIPE_DATABASE", three_url)
    return three_url
