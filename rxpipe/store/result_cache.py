"""Finds results of earlier calls for a session, and describes new ones."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import structlog
from sqlalchemy import Connection, Row

from rxpipe.database.encoding import one_line
from rxpipe.errors import CheckpointError
from rxpipe.identity.signature import StageSignature
from rxpipe.operators.core.running_call import Usage
from rxpipe.pipeline.claim import CachedResult, CacheLookup
from rxpipe.store.commits.cached_results import find_results
from rxpipe.store.commits.input_hash import input_hash
from rxpipe.store.commits.outage_limit import Policy
from rxpipe.store.commits.outputs import decode
from rxpipe.store.commits.records import NewResult, plain_usage
from rxpipe.store.schema.database import Database

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class ResultCache:
    """The cached results of a pipeline's stages, from all runs."""

    def __init__(
        self, database: Database, stages: Sequence[StageSignature], *, retry: Policy, over: threading.Event
    ) -> None:
        """Describe the cache.

        Args:
            database: The store's database.
            stages: The pipeline's current stages.
            retry: How long to try while the database is away.
            over: Set when nothing more is looked up.
        """
        self._database = database
        self._stages = stages
        self._retry = retry
        self._over = over
        self._has_told = False

    def look_up(self, stage: int, values: Sequence[Any]) -> list[CacheLookup]:
        """Returns the cached results for values. If the database cannot tell, there are none. Blocks."""
        hashes = [input_hash(value) for value in values]
        known = list(dict.fromkeys(one for one in hashes if one is not None))
        found = self._found(self._stages[stage].result_key, known) if known else {}
        return [CacheLookup(one, None if one is None else _result_of(found.get(one))) for one in hashes]

    def new(self, stage: int, lookup: CacheLookup) -> NewResult | None:
        """Returns the key under which to keep a result; None if it is not to be kept."""
        if lookup.key is None:
            return None
        return NewResult(stage=self._stages[stage], input_hash=lookup.key, usage=plain_usage(lookup.usage))

    def _found(self, signature: str, hashes: Sequence[str]) -> dict[str, Row[Any]]:
        def find(connection: Connection) -> dict[str, Row[Any]]:
            return dict(find_results(connection, signature, hashes))

        try:
            found = self._database.patiently(find, self._retry, self._over, again=lambda connection: None)
        except Exception as error:  # noqa: BLE001 - the commits will report the error, too, if it persists
            if not self._has_told:
                self._has_told = True
                _log.warning("results of earlier calls cannot be looked up", error=one_line(error.__cause__ or error))
            return {}
        return found or {}


def _result_of(row: Row[Any] | None) -> CachedResult | None:
    if row is None:
        return None
    try:
        value = decode(row.output, row.pickled)
    except CheckpointError:  # its class is gone
        return None
    usage = Usage(prompt_tokens=row.prompt_tokens, completion_tokens=row.completion_tokens, cost=row.cost)
    return CachedResult(value, usage, (row.output, row.pickled))
