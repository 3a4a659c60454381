"""``docs/production/``: what pages tell of exit codes, times and files is so."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from rxpipe.cli.messages import ExitCode
from rxpipe.config import Config
from rxpipe.database import abort_deadline

from .test_kubernetes import FOLDER, pod
from .test_systemd import LEAVING, UNIT, settings

ROOT = Path(__file__).parents[2]
DEPLOY, SHUTDOWN = ((ROOT / "docs" / "production" / name).read_text("utf-8") for name in ("deploy.md", "shutdown.md"))


def flat(text: str) -> str:
    return " ".join(text.split())


def test_exit_codes() -> None:
    """All of them, with their names, in their order."""
    told = re.findall(r"^\| (\d+) \| `(\w+)` \| \S", SHUTDOWN, re.MULTILINE)
    assert [(int(code), name) for code, name in told] == [(int(code), code.name) for code in ExitCode]


def test_times_of_a_drain() -> None:
    """Those of the code, in the page and in the tests of units and pods."""
    closing, leaving = (
        vars(import_module(module))[name]
        for module, name in (("rxpipe.pipeline.blocking", "_CLOSING"), ("rxpipe.cli.app", "_LEAVING"))
    )
    times = f"{abort_deadline.SECONDS:g}", f"{closing:g}", f"{leaving:g}"
    assert sum(map(int, times)) == LEAVING
    assert f"`grace` + {' + '.join(times)} seconds" in SHUTDOWN
    assert f"does not answer for {times[0]} s after calls were cancelled" in flat(SHUTDOWN)
    assert f"is left after {times[1]} s. The program exits at most {times[2]} s after" in flat(SHUTDOWN)
    assert f"for `grace` seconds ({Config().pipeline_config.grace:g})" in SHUTDOWN
    assert f"| {settings(UNIT)['TimeoutStopSec'][0]} in `deploy/rxpipe.service` |" in SHUTDOWN
    assert f"| {pod()['terminationGracePeriodSeconds']} in `deploy/kubernetes/deployment.yaml` |" in SHUTDOWN


@pytest.mark.parametrize("text", [DEPLOY, SHUTDOWN], ids=["deploy", "shutdown"])
def test_files_that_are_named_are_there(text: str) -> None:
    """Those of ``deploy/``, and no manifest is left out."""
    for name in re.findall(r"\bdeploy/[\w@./-]*\w", text):
        assert (ROOT / name).exists(), name


def test_all_manifests_are_told() -> None:
    """In a table."""
    told = set(re.findall(r"^\| `([\w.]+\.yaml)` \|", DEPLOY, re.MULTILINE))
    assert told == {path.name for path in FOLDER.iterdir()} - {"kustomization.yaml"}


def test_the_image_is_extended_with_the_uv_that_made_it() -> None:
    """Of the same version."""
    containerfile = (ROOT / "deploy" / "Containerfile").read_text("utf-8")
    assert re.findall(r"astral-sh/uv:([\d.]+)", DEPLOY) == re.findall(r"^ARG UV=(.+)$", containerfile, re.MULTILINE)
