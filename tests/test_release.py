"""The release script refuses what is not ready, before it builds anything."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "release"
PROJECT = '[project]\nname = "x"\nversion = "1.2.0"\n'
CHANGES = "# Changelog\n\n## [Unreleased]\n\n## [1.2.0] - 2026-11-28\n"


def git(folder: Path, *arguments: str) -> None:
    names = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *names, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A project that could be released, but that its checks fail."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(SCRIPT, tmp_path / ".ci" / "release")
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "CHANGELOG.md").write_text(CHANGES)
    (tmp_path / "check").write_text("#!/bin/sh\necho the checks were run >&2\nexit 3\n")
    (tmp_path / "check").chmod(0o755)
    git(tmp_path, "init", "-q")
    commit(tmp_path)
    return tmp_path


def commit(folder: Path) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "a change")


def release(folder: Path, *options: str) -> tuple[int, str]:
    """How the script ends, and what it says."""
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "RXPIPE_RELEASE_CHECK": "./check"}
    done = subprocess.run([".ci/release", *options], cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stderr


def test_nothing_is_tagged_whose_checks_fail(checkout: Path) -> None:
    """They are run when all else is ready."""
    assert release(checkout) == (3, "the checks were run\n")
    assert not subprocess.run(["git", "tag"], cwd=checkout, capture_output=True, text=True, check=True).stdout


def test_changes_that_are_not_committed(checkout: Path) -> None:
    (checkout / "new").touch()
    assert release(checkout) == (1, "not released: there are changes that are not committed\n")


def test_a_version_that_is_tagged(checkout: Path) -> None:
    git(checkout, "tag", "v1.2.0")
    code, said = release(checkout)
    assert (code, "v1.2.0 is tagged already" in said) == (1, True)


def test_a_version_that_the_changelog_lacks(checkout: Path) -> None:
    (checkout / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n")
    commit(checkout)
    code, said = release(checkout)
    assert (code, 'no line "## [1.2.0] - YYYY-MM-DD"' in said) == (1, True)


def test_an_option_that_does_not_exist(checkout: Path) -> None:
    assert release(checkout, "--now") == (1, "not released: unknown option --now; there is --dry-run\n")
