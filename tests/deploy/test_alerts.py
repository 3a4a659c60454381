"""The alerts of ``deploy/prometheus``: each fires when it is to, as Prometheus itself evaluates them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

TESTS = Path(__file__).with_name("alerts.test.yml")
ALERTS = Path(__file__).parents[2] / "deploy" / "prometheus" / "alerts.yml"


def test_each_alert_fires_when_it_is_to() -> None:
    """By what the file says of series that begin late, that stand still, and that grow."""
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("no promtool here: apt-get install prometheus")
    command = [promtool, "test", "rules", str(TESTS)]
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert told.returncode == 0, told.stdout + told.stderr


def test_no_alert_is_left_out() -> None:
    """Also where there is no promtool."""
    alerts = re.findall(r"^ +- alert: (\w+)$", ALERTS.read_text("utf-8"), re.MULTILINE)
    assert len(alerts) == 8
    assert set(alerts) <= set(re.findall(r"Rxpipe\w+", TESTS.read_text("utf-8")))
