"""Puts items into a store, for any worker that takes them now or later."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from sqlalchemy import Connection, select

from rxpipe.database.error_kinds import RowRefused
from rxpipe.database.json_rows import PARAMETER, RUN, as_parameter
from rxpipe.errors import CheckpointError, ConfigError, RecordChanged, StoreError
from rxpipe.pipeline.pipeline import Pipeline
from rxpipe.pipeline.prepare import identity_of
from rxpipe.pipeline.record import Record, check_id
from rxpipe.store.commits.outputs import Output, encode
from rxpipe.store.items.changed_records import is_changed, keep_values
from rxpipe.store.items.claim_statements import add_ready_statement
from rxpipe.store.items.kept_values import SOURCE, kept_values
from rxpipe.store.items.source_ids import plain_id
from rxpipe.store.runs import has_workers, run_to_submit_to
from rxpipe.store.schema.database import Database
from rxpipe.store.schema.keys import Keys, codec_of, escape_what_has_no_character
from rxpipe.store.schema.migrations import migrate, newest_version, schema_version
from rxpipe.store.schema.tables import db_now
from rxpipe.store.store import RunStore
from rxpipe.store.wakeups import wake_workers

_CHUNK = 1_000  # items in one transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """The result of a submission.

    Attributes:
        run: The number of the run that got the items; None if no items were given.
        new: Items that the run did not have.
        known: Items that the run already had, ended or not. Nothing happens to these.
        changed: Known items that came as records with another value than before. The first value stays.
        has_workers: True if a worker is at work on the run, and will take the items.
    """

    run: int | None = None
    new: int = 0
    known: int = 0
    changed: int = 0
    has_workers: bool = False


def submit(pipeline: Pipeline[Any, Any], ids: Iterable[int | str | Record[Any]]) -> Submitted:
    """Put items into a pipeline's store for its workers. Calls no stage.

    ::

        rxpipe.submit(pipeline, ["essay-17", Record("essay-18", {"text": "..."})])

    Exactly one worker takes each item:

    - A worker that stays (``rxpipe run --stay``, ``RunStore(stay=...)``) takes it at once on PostgreSQL, and within 2
      seconds on SQLite.
    - Without such a worker, the next run of the pipeline takes it.

    Any number of processes may submit at the same time, also on SQLite beside its one worker.

    Args:
        pipeline: The pipeline, with its store. The items go to its latest run. If there is none, a new run is made.
        ids: IDs, or records, whose values are kept. They are committed in the order given, 1,000 at a time. After an
            error, submit all of them again.

    Raises:
        ConfigError: The pipeline has no ``RunStore``, or an ID is not valid, or a value cannot be kept.
        RecordChanged: A record has another value than before, and the store has ``on_change="fail"``.
        OtherPipeline: The run of this name belongs to another pipeline.
        StoreError: Another version of rxpipe made the store.
        SinkError: The database cannot be opened, or written to.
    """
    store = pipeline.store
    if not isinstance(store, RunStore):
        raise ConfigError("submit: the pipeline keeps nothing, so nobody else could take the items: give it a RunStore")
    database = Database(store.database_beside(pipeline.sink))
    try:
        codec = database.first(_ready_for_submissions)
        database.expected = newest_version()
        if codec is not None:
            escape_what_has_no_character(database.engine, codec)
        submitter = _Submitter(pipeline, store, Keys(codec))
        given, total = iter(ids), Submitted()
        while some := list(islice(given, _CHUNK)):
            items = submitter.items(some)
            told = database.first(partial(submitter.submit, items=items))
            total = Submitted(
                run=told.run,
                new=total.new + told.new,
                known=total.known + told.known + len(some) - len(items),
                changed=total.changed + told.changed,
                has_workers=told.has_workers,
            )
        return total
    finally:
        database.close()


def _ready_for_submissions(connection: Connection) -> str | None:
    """Make a store where there is none. Returns Python's name of the database's encoding if it lacks characters."""
    found = schema_version(connection)
    if 0 < found < newest_version():  # the store's workers may be of that version, too
        raise StoreError(
            "its run store is of an older rxpipe; the next run with it, or rxpipe migrate, brings it up to date"
        )
    # A current store needs no migration, so nothing waits while a newer rxpipe waits for workers.
    if found != newest_version():
        migrate(connection)
    return codec_of(connection)


@dataclass(frozen=True, slots=True)
class _Item:
    is_integer: bool
    id: int | str
    output: Output | None


class _Submitter:
    def __init__(self, pipeline: Pipeline[Any, Any], store: RunStore, keys: Keys) -> None:
        self._identity = identity_of(pipeline)
        self._name = store.name or str(self._identity.name)
        self._fails = store.on_change == "fail"
        self._keys = keys

    def items(self, given: Iterable[Any]) -> dict[str, _Item]:
        """Returns the items by their keys. Of items that come twice, the first counts."""
        found: dict[str, _Item] = {}
        for one in given:
            if (error := check_id(one)) is not None:
                raise error
            item_id = plain_id(one.id if isinstance(one, Record) else one)
            key, refused = self._keys.of(item_id)
            if refused is not None:
                raise _refused(refused)
            if key not in found:
                output = _encoded(one) if isinstance(one, Record) else None  # pyright: ignore[reportUnknownArgumentType] - any value
                found[key] = _Item(not isinstance(item_id, str), item_id, output)
        return found

    def submit(self, connection: Connection, items: dict[str, _Item]) -> Submitted:
        """Add the items that the run does not have, and wake its waiting workers."""
        run_id = run_to_submit_to(connection, self._name, self._identity)
        # Behind the items that wait already: places in a source are small numbers.
        first = int(connection.execute(select(db_now())).scalar_one() * 1e6)
        rows = [(key, item.is_integer, first + place) for place, (key, item) in enumerate(items.items())]
        parameters = {RUN: run_id, PARAMETER: as_parameter(rows)}
        added = set(connection.execute(add_ready_statement(connection.dialect.name), parameters).scalars())
        outputs = {key: item.output for key, item in items.items() if item.output is not None}
        keep_values(connection, {RUN: run_id}, {key: outputs[key] for key in outputs if key in added})
        known = [key for key in outputs if key not in added]
        before = kept_values(connection, {RUN: run_id}, known)
        changed = [key for key in known if is_changed(before.get(key, {}).get(SOURCE), outputs[key])]
        if changed and self._fails:
            raise RecordChanged(items[changed[0]].id)
        if added:
            wake_workers(connection, run_id)
        return Submitted(
            run=run_id,
            new=len(added),
            known=len(items) - len(added),
            changed=len(changed),
            has_workers=has_workers(connection, run_id),
        )


def _encoded(record: Record[Any]) -> Output:
    try:
        return encode(record.value)
    except CheckpointError as error:
        raise ConfigError(f"submit: the value of {record.id!r} cannot be kept: {error.__cause__ or error}") from error


def _refused(error: RowRefused) -> ConfigError:
    return ConfigError(f"submit: {error}")
