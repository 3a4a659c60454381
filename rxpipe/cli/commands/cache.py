"""``rxpipe cache``: the results that any run may use again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import Engine

from rxpipe.cli.commands.history import local_time, utc_time
from rxpipe.config.error_texts import unknown
from rxpipe.errors import ConfigError
from rxpipe.operators.core.running_call import Usage
from rxpipe.screen.tables import Column, print_table, usage_columns
from rxpipe.screen.terminal import SafeConsole, say
from rxpipe.screen.texts import cell_text, cost_unit, number, plural, used
from rxpipe.store.maintenance.cache import CachedFunction, cached_functions, clear
from rxpipe.store.queries.existing_store import snapshot

_LEAST = 32  # of the name of a function


def list_cache(engine: Engine, *, function: str | None, older_than: float | None, as_json: bool) -> None:
    """Show the results in the cache, grouped by function.

    Args:
        engine: The store's engine.
        function: Show only results of this function.
        older_than: Show only results that are older than this number of days.
        as_json: Print one JSON document.

    Raises:
        ConfigError: The cache has no results of this function.
    """
    found = _found(engine, function, older_than)
    if as_json:
        print(json.dumps([asdict(one) | {"newest": utc_time(one.newest)} for one in found]))
    elif not found:
        say("no results in the cache")
    else:
        console = SafeConsole()
        print_table(console, _columns(found), least=_LEAST)


def clear_cache(engine: Engine, *, function: str | None, older_than: float | None, dry_run: bool) -> None:
    """Delete results of the cache. The arguments are those of ``list_cache``.

    Raises:
        ConfigError: The cache has no results of this function.
    """
    found = _found(engine, function, older_than)
    if not found:
        say("no results in the cache to delete")
    for one in found:
        results = one.results if dry_run else clear(engine, one.call, older_than=older_than)
        cost = "" if one.usage == Usage() else f", which took {used(one.usage)}{cost_unit(one.usage)}"
        verb = "would delete" if dry_run else "deleted"
        say(f"{verb} {plural(results, 'result')} of {cell_text(one.call)}{cost}")


def _found(engine: Engine, function: str | None, older_than: float | None) -> list[CachedFunction]:
    with snapshot(engine) as connection:
        found = cached_functions(connection, older_than=older_than)
        known = found if older_than is None else cached_functions(connection)
    names = [one.call for one in known]
    if function is not None and names and function not in names:
        raise ConfigError(f"--stage: {unknown(f'the cache has no results of {function}', function, names)}")
    return [one for one in found if function in (None, one.call)]


def _columns(found: Sequence[CachedFunction]) -> list[Column]:
    return [
        Column(title="function", cells=[cell_text(one.call) for one in found], justify="left"),
        Column(title="versions", cells=[number(one.versions) for one in found], rank=4),
        Column(title="results", cells=[number(one.results) for one in found]),
        *usage_columns([one.usage for one in found], rank=1),
        Column(title="newest", cells=[local_time(one.newest) for one in found]),
    ]
