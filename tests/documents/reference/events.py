"""The page of events and of a listener's callbacks."""

from __future__ import annotations

import inspect
import re
from typing import get_args

from rxpipe import Event, Listener
from rxpipe.pipeline.open.events import Kind

from .markdown import head, paragraph, table

_KINDS = {
    "taken": "The item was taken from the source or submitted, or a stage has made it of its parent.",
    "call_started": "A stage's function is called with it.",
    "call_returned": "The call has returned.",
    "call_failed": "The call has failed; `again` says whether another attempt follows.",
    "ended": "The item has ended, as `outcome.status` says.",
}


def page() -> str:
    """The text."""
    text = head(
        "Events and callbacks",
        "An open pipeline publishes events; a `Listener` is called. Both tell the same story, item by item. "
        "[Event-driven apps](../event_driven.md) shows events in use, [Observability](../observability.md) listeners.",
    )
    kinds = [(f"`{kind}`", _KINDS[kind]) for kind in get_args(Kind)]
    text += f"\n## Kinds of events\n\n{table(['`event.kind`', 'When'], kinds)}"
    fields = re.findall(r"^    (\w+): (.+)$", inspect.getdoc(Event) or "", re.MULTILINE)
    rows = [(f"`{name}`", what.replace("``", "`")) for name, what in fields]
    text += f"\n## Fields of an event\n\n{table(['Field', 'Meaning'], rows)}"
    rules = " ".join((inspect.getdoc(Listener) or "").split("\n\n")[1].split())
    text += f"\n## Callbacks of a listener\n\n{rules}\n\n"
    return text + table(["Callback", "When"], callbacks())


def callbacks() -> list[tuple[str, str]]:
    """Each method that a subclass may override."""
    found: list[tuple[str, str]] = []
    for name, method in vars(Listener).items():
        if not name.startswith("_") and inspect.isfunction(method):
            parameters = [one for one in inspect.signature(method).parameters if one != "self"]
            found.append((f"`{name}({', '.join(parameters)})`", paragraph(method.__doc__)))
    return found
