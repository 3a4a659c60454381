"""What is in the distributions: ``operators/`` is mapped to ``rxpipe.operators``, and packages are listed by hand."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What pip takes; not what a working directory has besides.
FILES = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md")


CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def package_folders(root: Path) -> set[str]:
    """Every package below ``rxpipe/``, as its dotted name; ``rxpipe/operators`` is a link that globs do not follow."""
    inits = [*root.glob("rxpipe/**/__init__.py"), *root.glob("rxpipe/operators/**/__init__.py")]
    return {".".join(init.parent.relative_to(root).parts) for init in inits}


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}


def test_every_package_is_listed() -> None:
    """One that is not would be missing from the wheel without a word."""
    assert sorted(package_folders(ROOT)) == sorted(CONFIG["tool"]["setuptools"]["packages"])


def test_the_extra_for_tests_has_every_other_one() -> None:
    """So what CI installs, from wheels alone, is all that any user installs. Peers to compare with stay out."""
    extras = CONFIG["project"]["optional-dependencies"]
    (named,) = (requirement for requirement in extras["test"] if requirement.startswith("rxpipe["))
    assert set(named.removeprefix("rxpipe[").removesuffix("]").split(",")) == set(extras) - {
        "test",
        "benchmark",
        "docs",
    }


def test_files_that_are_no_modules_are_listed() -> None:
    """They would be missing, too."""
    listed = CONFIG["tool"]["setuptools"]["package-data"]
    found = {
        path.relative_to(ROOT / "rxpipe")
        for path in (ROOT / "rxpipe").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    taken = {
        path.relative_to(ROOT / "rxpipe")
        for package, patterns in listed.items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    assert Path("py.typed") in found
    assert found <= taken


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An sdist, and the wheel built from it, without a network."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in FILES:
        shutil.copy(ROOT / name, source)
    for folder in ("rxpipe", "operators"):
        shutil.copytree(ROOT / folder, source / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(built)]
    run(*build, "--sdist", str(source))
    (sdist,) = built.glob("*.tar.gz")
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    (root,) = unpacked.iterdir()
    run(*build, "--wheel", str(root))
    return built


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def in_wheel(distributions: Path) -> set[str]:
    (wheel,) = distributions.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.mark.slow
def test_operators_are_in_the_wheel_below_rxpipe(in_wheel: set[str]) -> None:
    """Each file of them."""
    operators = {f"rxpipe/operators/{name}" for name in files_of(ROOT / "operators")}
    assert "rxpipe/operators/stage.py" in operators
    assert operators <= in_wheel


@pytest.mark.slow
def test_nothing_else_is_at_the_top_of_the_wheel(in_wheel: set[str]) -> None:
    """Above all nothing called ``operators``: users have such modules of their own."""
    assert {name.split("/")[0].partition("-")[0] for name in in_wheel} == {"rxpipe"}


@pytest.mark.slow
def test_the_wheel_has_every_module_and_is_typed(in_wheel: set[str]) -> None:
    """Sub-packages, too."""
    assert {f"rxpipe/{name}" for name in files_of(ROOT / "rxpipe")} <= in_wheel
    assert "rxpipe/py.typed" in in_wheel


@pytest.mark.slow
def test_the_wheel_works_by_itself(distributions: Path, tmp_path: Path) -> None:
    """Unpacked to a place where nothing else of rxpipe's is."""
    (wheel,) = distributions.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import rxpipe, rxpipe.operators; "
        f"assert rxpipe.operators.__file__.startswith({str(tmp_path)!r}), rxpipe.operators.__file__; "
        "assert rxpipe.Pipeline(rxpipe.Stage('s', str)).run([1]).written == 1"
    )
    run(sys.executable, "-I", "-c", code)
