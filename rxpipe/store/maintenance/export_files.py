"""Files of records: JSON lines, CSV and Parquet, complete or not there at all.

A record of JSON lines and Parquet has what each stage returned. One of CSV has the fields of the newest output, each
in a column, as people read tables; or the same as the others, if there are no ``value_fields``.
"""

from __future__ import annotations

import csv
import importlib
import io
import json
import os
import uuid
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

from rxpipe.database.text import clean_text
from rxpipe.errors import ConfigError
from rxpipe.extras import install
from rxpipe.store.maintenance.export import ItemRecord, Records
from rxpipe.store.maintenance.export_cells import VALUE, cell, data, defused, fields

_BEFORE = ("id", "status")
_AFTER = ("error", "failed_stage", "attempts", "failures")
_USAGE = ("prompt_tokens", "completion_tokens", "cost")
_GROUP_ITEMS = 10_000  # of a row group of Parquet, at most
_GROUP_CHARACTERS = 16_000_000

Row: TypeAlias = tuple[Any, ...]


def columns(stages: Sequence[str], *, usage: bool = False) -> list[str]:
    """The names of a record's fields; a stage that is called like another field gets ``_output`` behind its name.

    Args:
        stages: The names of the stages.
        usage: Whether there is a field for what calls used.
    """
    return _columns(stages, (VALUE, *_AFTER), usage=usage)


def _columns(stages: Sequence[str], after: tuple[str, ...], *, usage: bool) -> list[str]:
    after = (*after, *_USAGE) if usage else after
    fixed = {*_BEFORE, *after}
    names: list[str] = []
    for stage in stages:
        name = clean_text(stage)
        while name in fixed or name in names or (name != stage and name in stages):
            name += "_output"
        names.append(name)
    return [*_BEFORE, *names, *after]


def check_file(path: Path) -> None:
    """See that a file can be written.

    Raises:
        ConfigError: Its name does not say which kind, what is needed for that is not installed, or it can be no file.
    """
    kind = path.suffix.lower()
    if kind not in _KINDS:
        raise ConfigError(f"{path}: its ending says no kind of file; allowed: .jsonl, .csv or .parquet")
    if kind == ".parquet":
        _pyarrow(path)
    if os.path.isdir(path):
        raise ConfigError(f"{path}: it is a directory")
    if not os.path.isdir(path.absolute().parent):
        raise ConfigError(f"{path}: there is no directory {path.absolute().parent}")


@contextmanager
def records_file(
    path: Path,
    stages: Sequence[str],
    *,
    integer_ids: bool,
    usage: bool = False,
    value_fields: Sequence[str] | None = None,
    formulas: bool = False,
) -> Generator[Records]:
    """Write a file, which is there when this is left without an error; else there is what was there before.

    Args:
        path: The file; its ending says the kind.
        stages: The names of the stages.
        integer_ids: Whether IDs are numbers, where a column has one type.
        usage: Whether it is to tell what calls used.
        value_fields: In CSV, the fields of the newest output, instead of what each stage returned.
        formulas: In CSV, whether text that a spreadsheet takes for a formula is left as it is.

    Raises:
        ConfigError: It cannot be written.
    """
    check_file(path)
    form = _Form(tuple(columns(stages, usage=usage)), integer_ids, usage, formulas)
    if value_fields is not None and path.suffix.lower() == ".csv":
        names = tuple(_columns(value_fields, _AFTER, usage=usage))
        form = form._replace(names=names, fields=tuple(value_fields))
    target = Path(os.path.realpath(path))  # not the link to it
    temporary = target.with_name(f".rxpipe-{uuid.uuid4().hex}.part")
    try:
        with open(temporary, "xb") as file:
            writer = _KINDS[path.suffix.lower()](file, form)
            try:
                yield writer
                writer.close()
            finally:
                writer.release()
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


class _Form(NamedTuple):
    """What a file's records are like.

    Attributes:
        names: Their columns.
        integer_ids: Whether IDs are numbers.
        usage: Whether there is what was used.
        formulas: Whether formulas are left as they are.
        fields: The fields of the newest output that have a column each; None for what each stage returned.
    """

    names: tuple[str, ...]
    integer_ids: bool
    usage: bool
    formulas: bool
    fields: tuple[str, ...] | None = None


class _JsonLines:
    """One JSON object a line."""

    def __init__(self, file: BinaryIO, form: _Form) -> None:
        self._file = file
        self._form = form

    def write(self, records: Sequence[ItemRecord]) -> None:
        form = self._form
        rows = (dict(zip(form.names, _row_of_data(record, form), strict=True)) for record in records)
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        self._file.write(clean_text(text).encode())  # half of a surrogate pair has no UTF-8

    def close(self) -> None:
        """Nothing is left to be written."""

    def release(self) -> None:
        """Nothing is held."""


class _Csv:
    """CSV in UTF-8, as spreadsheets read it; what is missing is empty."""

    def __init__(self, file: BinaryIO, form: _Form) -> None:
        self._file = file
        self._form = form
        self._write([form.names])

    def write(self, records: Sequence[ItemRecord]) -> None:
        make = _row_of_stages if self._form.fields is None else _row_of_fields
        self._write([make(record, self._form) for record in records])

    def close(self) -> None:
        """Nothing is left to be written."""

    def release(self) -> None:
        """Nothing is held."""

    def _write(self, rows: Sequence[Row]) -> None:
        text = io.TextIOWrapper(self._file, encoding="utf-8", newline="")
        try:
            csv.writer(text).writerows(rows if self._form.formulas else map(_defused, rows))
        finally:
            text.detach()  # which writes what it holds; else it would close the file


class _Parquet:
    """Parquet, in groups of rows that fit into memory; outputs of stages are text, as those of one may differ."""

    def __init__(self, file: BinaryIO, form: _Form) -> None:
        self._arrow = _pyarrow()
        types: dict[str, Any] = {name: self._arrow.string() for name in form.names}
        types |= {"attempts": self._arrow.int64(), "failures": self._arrow.int64()}
        if form.usage:
            types |= {"prompt_tokens": self._arrow.int64(), "completion_tokens": self._arrow.int64()}
            types["cost"] = self._arrow.float64()
        types["id"] = self._arrow.int64() if form.integer_ids else self._arrow.string()
        self._form = form
        self._schema = self._arrow.schema(list(types.items()))
        self._writer = self._arrow.parquet.ParquetWriter(file, self._schema, compression="zstd")
        self._rows: list[Row] = []
        self._characters = 0

    def write(self, records: Sequence[ItemRecord]) -> None:
        for record in records:
            row = _row_of_stages(record, self._form)
            self._rows.append(row if self._form.integer_ids else (str(row[0]), *row[1:]))
            self._characters += sum(len(cell) for cell in row if isinstance(cell, str))
        if len(self._rows) >= _GROUP_ITEMS or self._characters >= _GROUP_CHARACTERS:
            self._write_group()

    def close(self) -> None:
        if self._rows:
            self._write_group()
        self._writer.close()

    def release(self) -> None:
        """Have the library be done with the file, also where that goes wrong: else it tries again in the end."""
        with suppress(Exception):
            self._writer.close()
        self._writer.is_open = False

    def _write_group(self) -> None:
        cells: list[Row] = list(zip(*self._rows, strict=True))
        self._writer.write_table(self._arrow.table(cells, schema=self._schema))
        self._rows, self._characters = [], 0


_KINDS: dict[str, Callable[[BinaryIO, _Form], _JsonLines | _Csv | _Parquet]] = {
    ".jsonl": _JsonLines,
    ".csv": _Csv,
    ".parquet": _Parquet,
}


def _row_of_data(record: ItemRecord, form: _Form) -> Row:
    return _row(record, [data(output) for output in record.outputs], form)


def _row_of_stages(record: ItemRecord, form: _Form) -> Row:
    return _row(record, [cell(output) for output in record.outputs], form)


def _row_of_fields(record: ItemRecord, form: _Form) -> Row:
    newest = next((output for output in reversed(record.outputs) if output is not None), None)
    if form.fields == (VALUE,):
        return _ended(record, [cell(newest)], form)
    found = fields(newest)
    return _ended(record, [found.get(name) for name in form.fields or ()], form)


def _row(record: ItemRecord, outputs: Sequence[Any], form: _Form) -> Row:
    return _ended(record, [*outputs, outputs[-1]], form)


def _ended(record: ItemRecord, cells: Sequence[Any], form: _Form) -> Row:
    ended = (record.error, record.failed_stage, record.attempts, record.failures)
    used = (record.usage.prompt_tokens, record.usage.completion_tokens, record.usage.cost) if form.usage else ()
    return record.id, record.status, *cells, *ended, *used


def _defused(row: Row) -> Row:
    return tuple(defused(each) if isinstance(each, str) else each for each in row)


def _pyarrow(path: Path | None = None) -> Any:
    """The library for Parquet.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        importlib.import_module("pyarrow.parquet")
        return importlib.import_module("pyarrow")
    except ImportError as error:
        raise ConfigError(f"{path}: Parquet needs the extra parquet: {install('parquet')}") from error
