"""Files of records: JSON lines, CSV and Parquet. A file is complete or not there at all.

A record has the result of each stage. As a flat table, it has the fields of the newest output, each in a column.
"""

from __future__ import annotations

import codecs
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
from rxpipe.store.maintenance.export_cells import VALUE, Fields, Kind, cell, cell_of, data, defused

_BEFORE = ("id", "status")
_WITH_PARENT = ("id", "parent", "status")
_AFTER = ("error", "failed_stage", "attempts", "failures")
_USAGE = ("prompt_tokens", "completion_tokens", "cost")
_GROUP_ITEMS = 10_000  # most rows of a row group of Parquet
_GROUP_CHARACTERS = 16_000_000

Row: TypeAlias = tuple[Any, ...]


def columns(stages: Sequence[str], *, usage: bool = False, parents: bool = False) -> list[str]:
    """Returns the names of a record's fields. A stage with the name of another field gets ``_output`` behind its name.

    Args:
        stages: The names of the stages.
        usage: True if there are fields for usage.
        parents: True if there is a field for the parents of children.
    """
    return _columns(stages, (VALUE, *_AFTER), usage=usage, parents=parents)


def _columns(stages: Sequence[str], after: tuple[str, ...], *, usage: bool, parents: bool) -> list[str]:
    before = _WITH_PARENT if parents else _BEFORE
    after = (*after, *_USAGE) if usage else after
    fixed = {*before, *after}
    names: list[str] = []
    for stage in stages:
        name = clean_text(stage)
        while name in fixed or name in names or (name != stage and name in stages):
            name += "_output"
        names.append(name)
    return [*before, *names, *after]


def check_file(path: Path) -> None:
    """Check that a file can be written.

    Raises:
        ConfigError: Its name has no known ending, or a library for its format is not installed, or the path cannot be a
            file.
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
    parents: bool = False,
    fields: Fields | None = None,
    formulas: bool = False,
    bom: bool = False,
) -> Generator[Records]:
    """Write a file. It appears when the block ends without an error; otherwise a former file stays as it was.

    Args:
        path: The file. Its ending determines the format.
        stages: The names of the stages.
        integer_ids: True if IDs are numbers, in formats whose columns have one type.
        usage: True to write the usage of calls.
        parents: True to write the parents of children.
        fields: The fields of the newest output that have a column each, instead of the stage results.
        formulas: CSV only: True to leave text that a spreadsheet takes for a formula as it is.
        bom: CSV only: True to begin with a byte order mark, by which Excel recognizes UTF-8.

    Raises:
        ConfigError: The file cannot be written.
    """
    check_file(path)
    names = columns(stages, usage=usage, parents=parents)
    if fields is not None:
        names = _columns(fields.names, _AFTER, usage=usage, parents=parents)
    form = _Form(tuple(names), integer_ids, usage, parents, fields, formulas, bom)
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
    """The layout of a file's records.

    Attributes:
        names: The columns.
        integer_ids: True if IDs are numbers.
        usage: True if there are columns for usage.
        parents: True if there is a column for parents.
        fields: The fields of the newest output that have a column each; None for the stage results.
        formulas: True if formulas are left as they are.
        bom: True if a byte order mark comes first.
    """

    names: tuple[str, ...]
    integer_ids: bool
    usage: bool
    parents: bool
    fields: Fields | None
    formulas: bool
    bom: bool

    def row(self, record: ItemRecord, of_stage: Callable[[str | None], Any], of_field: Callable[[Any], Any]) -> Row:
        """Returns a record as a row. The two functions turn stage results and fields into cells."""
        if self.fields is None:
            outputs = [of_stage(output) for output in record.outputs]
            cells = [*outputs, outputs[-1]]
        else:
            cells = [of_field(value) for value in self.fields.of(record.newest)]
        return self._row(record, cells)

    def _row(self, record: ItemRecord, cells: Sequence[Any]) -> Row:
        before = (record.id, record.parent, record.status) if self.parents else (record.id, record.status)
        ended = (record.error, record.failed_stage, record.attempts, record.failures)
        usage = record.usage
        used = (usage.prompt_tokens, usage.completion_tokens, usage.cost) if self.usage else ()
        return *before, *cells, *ended, *used

    def typed_row(self, record: ItemRecord) -> Row:
        """Returns a record as a row whose cells have the types of their columns, with IDs of one type."""
        fields = self.fields
        if fields is None:
            row = self.row(record, cell, cell_of)
        else:
            values = zip(fields.names, fields.of(record.newest), strict=True)
            row = self._row(record, [_typed(value, fields.kinds.get(name, "text")) for name, value in values])
        if self.integer_ids:
            return row
        ids = 2 if self.parents else 1
        return *(None if one is None else str(one) for one in row[:ids]), *row[ids:]


class _JsonLines:
    """One JSON object per line."""

    def __init__(self, file: BinaryIO, form: _Form) -> None:
        self._file = file
        self._form = form

    def write(self, records: Sequence[ItemRecord]) -> None:
        form = self._form
        rows = (dict(zip(form.names, form.row(record, data, _same), strict=True)) for record in records)
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        self._file.write(clean_text(text).encode())  # half of a surrogate pair has no UTF-8

    def close(self) -> None:
        """Nothing is left to write."""

    def release(self) -> None:
        """Nothing is held."""


class _Csv:
    """CSV in UTF-8, as spreadsheets read it. Missing values are empty."""

    def __init__(self, file: BinaryIO, form: _Form) -> None:
        self._file = file
        self._form = form
        if form.bom:
            file.write(codecs.BOM_UTF8)
        self._write([form.names])

    def write(self, records: Sequence[ItemRecord]) -> None:
        self._write([self._form.row(record, cell, cell_of) for record in records])

    def close(self) -> None:
        """Nothing is left to write."""

    def release(self) -> None:
        """Nothing is held."""

    def _write(self, rows: Sequence[Row]) -> None:
        text = io.TextIOWrapper(self._file, encoding="utf-8", newline="")
        try:
            csv.writer(text).writerows(rows if self._form.formulas else map(_defused, rows))
        finally:
            text.detach()  # detach writes the rest; without it, the wrapper would close the file


class _Parquet:
    """Parquet, in groups of rows that fit into memory.

    Stage results are text, as those of one stage may have several types.
    """

    def __init__(self, file: BinaryIO, form: _Form) -> None:
        arrow = self._arrow = _pyarrow()
        kinds = {"integer": arrow.int64(), "number": arrow.float64(), "truth": arrow.bool_(), "text": arrow.string()}
        types: dict[str, Any] = {name: arrow.string() for name in form.names}
        if form.fields is not None:
            first = 3 if form.parents else 2
            columns = form.names[first : first + len(form.fields.names)]
            found = [form.fields.kinds.get(name, "text") for name in form.fields.names]
            types |= {name: kinds[kind] for name, kind in zip(columns, found, strict=True)}
        types |= {"attempts": arrow.int64(), "failures": arrow.int64()}
        if form.usage:
            types |= {"prompt_tokens": arrow.int64(), "completion_tokens": arrow.int64(), "cost": arrow.float64()}
        types["id"] = arrow.int64() if form.integer_ids else arrow.string()
        self._form = form
        self._schema = arrow.schema(list(types.items()))
        self._writer = arrow.parquet.ParquetWriter(file, self._schema, compression="zstd")
        self._rows: list[Row] = []
        self._characters = 0

    def write(self, records: Sequence[ItemRecord]) -> None:
        for record in records:
            row = self._form.typed_row(record)
            self._rows.append(row)
            self._characters += sum(len(cell) for cell in row if isinstance(cell, str))
        if len(self._rows) >= _GROUP_ITEMS or self._characters >= _GROUP_CHARACTERS:
            self._write_group()

    def close(self) -> None:
        if self._rows:
            self._write_group()
        self._writer.close()

    def release(self) -> None:
        """Make the library release the file, even after an error: otherwise it tries again at exit."""
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


def _same(value: Any) -> Any:
    return value


def _typed(value: Any, kind: Kind) -> Any:
    if kind == "text":
        return cell_of(value)
    return float(value) if kind == "number" and value is not None else value


def _defused(row: Row) -> Row:
    return tuple(defused(each) if isinstance(each, str) else each for each in row)


def _pyarrow(path: Path | None = None) -> Any:
    """Returns the library for Parquet.

    Raises:
        ConfigError: The library is not installed.
    """
    try:
        importlib.import_module("pyarrow.parquet")
        return importlib.import_module("pyarrow")
    except ImportError as error:
        raise ConfigError(f"{path}: Parquet needs the extra parquet: {install('parquet')}") from error
