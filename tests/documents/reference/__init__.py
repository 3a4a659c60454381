"""Pages of docs/reference that are written from the code, and llms.txt; ``python -m tests.documents.reference``."""

from __future__ import annotations

from pathlib import Path

from . import api, commands, config, events, llms, tables

ROOT = Path(__file__).parents[3]


def generated() -> dict[str, str]:
    """The text of each generated file, by its path from the root of the repository."""
    files = {
        **{f"docs/reference/api/{name}.md": text for name, text in api.pages().items()},
        "docs/reference/config.md": config.page(),
        "docs/reference/commands.md": commands.page(),
        "docs/reference/events.md": events.page(),
        "docs/reference/store-tables.md": tables.page(),
    }
    return {**files, "llms.txt": llms.text(files)}
