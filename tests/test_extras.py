"""What is printed where something optional is missing: a command that works as it stands."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import NoReturn

import pytest
from packaging.requirements import Requirement

from rxpipe.extras import install

EXTRAS = [
    "cli",
    "postgres",
    "mysql",
    "parquet",
    "openai",
    "local",
    "distinct",
    "faststream",
    "dask",
    "otel",
    "metrics",
    "web",
]
ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_is_installed_by_its_packages(extra: str) -> None:
    """Rxpipe itself is not asked for by its name: on PyPI that is another project."""
    command, own = install(extra).split(" (in rxpipe's folder: ")
    packages = re.findall(r'"([^"]+)"', command)
    assert command == " ".join(["pip install", *(f'"{package}"' for package in packages)])
    assert own == f'pip install ".[{extra}]")'
    names = [Requirement(package).name for package in packages]
    assert names
    assert "rxpipe" not in names


def test_an_extra_of_extras_has_the_packages_of_all() -> None:
    """Each once."""
    cli, dask, packages = (
        re.findall(r'"([^"]+)"', install(extra).split(" (in ")[0]) for extra in ("cli", "dask", "test")
    )
    assert {*cli, *dask} <= set(packages)
    assert len(packages) == len(set(packages))


def test_from_a_checkout_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are no metadata to read."""

    def missing(name: str) -> NoReturn:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("rxpipe.extras.requires", missing)
    assert install("cli") == 'pip install ".[cli]"'


def test_no_message_asks_pypi_for_rxpipe() -> None:
    """Nor does any document."""
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*")]
    files += [*(ROOT / "rxpipe").rglob("*.py"), *(ROOT / "operators").rglob("*.py")]
    asked = re.compile(r"""pip install (-\w+ )*['"]?rxpipe\b""")
    assert [str(file) for file in files if file.is_file() and asked.search(file.read_text("utf-8", "replace"))] == []
