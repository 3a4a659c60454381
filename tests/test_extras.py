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
    packages = re.findall(r'"([^"]+)"', install(extra))
    assert install(extra) == " ".join(["pip install", *(f'"{package}"' for package in packages)])
    names = [Requirement(package).name for package in packages]
    assert names
    assert "rxpipe" not in names


def test_an_extra_of_extras_has_the_packages_of_all() -> None:
    """Each once."""
    packages = re.findall(r'"([^"]+)"', install("test"))
    assert {one for extra in ("cli", "dask") for one in re.findall(r'"([^"]+)"', install(extra))} <= set(packages)
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
