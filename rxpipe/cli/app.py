"""Where the program starts."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from io import TextIOWrapper


def main() -> int:
    """Run the command line.

    Returns:
        The exit code, where the libraries of the command line are missing; else it exits by itself.
    """
    for package in ("typer", "rich"):
        if find_spec(package) is None:
            print(f'error: the command line needs {package}: pip install "rxpipe[cli]"', file=sys.stderr)
            return 2
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # what a terminal's encoding lacks is no reason to fail
            stream.reconfigure(errors="backslashreplace")

    from rxpipe.cli.commands import app

    app(prog_name="rxpipe")
    return 0
