"""Where the figures were measured."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("reactivex", "aiostream", "pypeln")


def machine() -> str:
    """One line: the processor, its cores, the system, Python, and the rivals' versions."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    parts = [f"{_processor()}, {os.cpu_count()} cores", f"{platform.system()} {platform.release()}", python]
    return "; ".join([*parts, *_versions()])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _versions() -> list[str]:
    found: list[str] = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return found
