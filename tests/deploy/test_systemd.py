"""The units of ``deploy/``: systemd finds nothing wrong with them, and little that a worker could do to its machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from rxpipe.cli.messages import ExitCode
from rxpipe.config import Config

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT, TEMPLATE = DEPLOY / "rxpipe.service", DEPLOY / "rxpipe@.service"
SYSTEM = Path("/usr/lib/systemd/system")
LEAVING = (
    3 + 10 + 5
)  # seconds after the grace: the last commit, coroutines that refuse to be cancelled, the program's end


@pytest.fixture
def analyze() -> str:
    """``systemd-analyze``."""
    program = shutil.which("systemd-analyze")
    if program is None or not SYSTEM.is_dir():
        pytest.skip("no systemd-analyze here: apt-get install systemd")
    return program


def settings(unit: Path) -> dict[str, list[str]]:
    """All values of each setting of a unit."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text("utf-8").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rxpipe.service", "rxpipe@1.service"])
def test_systemd_finds_nothing_wrong(analyze: str, name: str, tmp_path: Path) -> None:
    """In a system that has the units where the docs have them installed."""
    units, program = tmp_path / "etc/systemd/system", tmp_path / "opt/rxpipe/bin/rxpipe"
    units.mkdir(parents=True)
    program.parent.mkdir(parents=True)
    for unit in (UNIT, TEMPLATE):
        shutil.copy(unit, units)
    shutil.copytree(SYSTEM, tmp_path / SYSTEM.relative_to("/"), symlinks=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    command = [analyze, "verify", "--man=no", f"--root={tmp_path}", name]
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


@pytest.mark.slow
@pytest.mark.parametrize("unit", [UNIT, TEMPLATE], ids=lambda unit: unit.name)
def test_little_is_exposed(analyze: str, unit: Path) -> None:
    """Less than 3 of 10."""
    command = [analyze, "security", "--offline=true", "--no-pager", "--threshold=30", str(unit)]
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert told.returncode == 0, told.stdout


def test_the_template_differs_in_ports_only() -> None:
    """What is mended in one unit is mended in both."""
    one, several = (unit.read_text("utf-8").split("[Unit]\n", 1)[1] for unit in (UNIT, TEMPLATE))
    for port in ("127.0.0.1:808", "127.0.0.1:946"):
        several = several.replace(f"{port}%i", port + {"127.0.0.1:808": "0", "127.0.0.1:946": "4"}[port])
    assert several.replace("rxpipe worker %i", "rxpipe worker") == one


def test_systemd_waits_longer_than_a_drain_takes() -> None:
    """By default; whoever sets another grace sets TimeoutStopSec, too."""
    (limit,) = settings(UNIT)["TimeoutStopSec"]
    assert int(limit) > Config().pipeline_config.grace + LEAVING


def test_a_drained_worker_has_not_failed() -> None:
    """Its exit code is that of SIGTERM, which systemd takes for a failure unless it is told."""
    assert settings(UNIT)["SuccessExitStatus"] == [str(int(ExitCode.TERMINATED))]
