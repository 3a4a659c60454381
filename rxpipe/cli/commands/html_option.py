"""``--html FILE``, of all commands that write a page."""

from __future__ import annotations

import os
from pathlib import Path

from rxpipe.errors import ConfigError


def check_writable(path: Path) -> None:
    """Refuse the file of ``--html`` before the runs, which may take long."""
    folder = path.absolute().parent
    if os.path.isdir(path):
        raise ConfigError(f"--html: {path} is a directory; allowed: a file's path")
    if not os.path.isdir(folder):
        raise ConfigError(f"--html: there is no directory {folder}")
    if not os.access(path if os.path.exists(path) else folder, os.W_OK):
        raise ConfigError(f"--html: {path} is not writable")


def write_page(path: Path, page: str) -> None:
    """Write the file of ``--html``."""
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--html: {path} cannot be written: {error.strerror}") from None
