"""``rxpipe show RUN --id ID``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from sqlalchemy import Engine

from rxpipe.cli.commands.history import utc_time
from rxpipe.cli.commands.store_location import StoreLocation, attempts_at
from rxpipe.cli.views.item import print_item
from rxpipe.errors import StoreError
from rxpipe.insight.item_times import timed
from rxpipe.insight.reading import ItemDetails
from rxpipe.screen.terminal import SafeConsole
from rxpipe.store.queries.existing_store import snapshot
from rxpipe.store.queries.history import run
from rxpipe.store.reading.item_details import item_details


def show_item(
    engine: Engine, place: StoreLocation, wanted: int | None, item: str, *, verbose: bool, as_json: bool
) -> None:
    """Show one item of a run: its input, and each of its calls.

    Args:
        engine: The store's engine.
        place: How the store was found.
        wanted: The run's number; None for the latest run.
        item: The item's ID.
        verbose: Show whole values, tracebacks, prompts and replies.
        as_json: Print one JSON document, with everything.

    Raises:
        StoreError: The run has no such item.
    """
    with snapshot(engine) as connection:
        of = run(connection, wanted)
        found = item_details(connection, of.id, [stage.name for stage in of.stages], item)
    if found is None:
        raise StoreError(f"--id: run {of.id} has no item {item!r}; items made of another are called like 17/0")
    if as_json:
        print(json.dumps(_as_json(of.id, found)))
    else:
        print_item(SafeConsole(), of.id, found, attempts_at(place), verbose=verbose)


def _as_json(run_id: int, found: ItemDetails) -> dict[str, Any]:
    data = asdict(found)
    row = data.pop("row") | {"began_at": utc_time(found.row.began_at), "ended_at": utc_time(found.row.ended_at)}
    calls = [
        call | {"began_at": utc_time(call["began_at"]), "offset": one.offset, "pause": one.pause, "anew": one.anew}
        for call, one in zip(data["calls"], timed(found.calls), strict=True)
    ]
    return {"run": run_id, **row, **data, "outputs": dict(found.outputs), "calls": calls, "children": found.children}
