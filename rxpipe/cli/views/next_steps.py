"""The next steps, shown after a run that was a rehearsal."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from rich.text import Text

from rxpipe.screen.terminal import SafeConsole


def print_next_steps(config: str, database: str = "") -> None:
    """Write a few commands to standard output, each with its purpose.

    Args:
        config: The config's path, quoted for a shell.
        database: The option for the run's database, if the run used another database than the config's.
    """
    for line in next_steps(config, database):
        SafeConsole().print(line, soft_wrap=True)


def next_steps(config: str, database: str = "") -> Sequence[Text]:
    """Returns the lines."""
    steps = [
        (f"rxpipe view {database or config}", "this run on a page"),
        (f"rxpipe compare {config} --simulated", "the other strategies"),
        (f"rxpipe preview {config}", "three items, step by step"),
        ("rxpipe init my_bank", "stages of your own"),
    ]
    if not (find_spec("starlette") and find_spec("uvicorn")):  # the page is an extra
        steps.insert(0, ('pip install ".[web]"', "for the page:"))
    width = max(len(command) for command, _ in steps)
    return [
        Text("\nThis was a rehearsal: no model was called. Try next:", style="bold"),
        *(Text.assemble(f"  {command:<{width}}   ", (what, "dim")) for command, what in steps),
        Text.assemble("  a real model: ", ("see docs/language_models.md", "dim")),
    ]
