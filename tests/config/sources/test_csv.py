"""Records of CSV files: what they are, and what is refused before anything runs."""

from __future__ import annotations

import codecs
import csv
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from rxpipe import Record, content_id
from rxpipe.config import Config

from .source_helpers import Configured, listed, read, refusal

FromCsv = Callable[..., Config]
UNDECODED = "not UTF-8; save the file so, or give its encoding with encoding:"


@pytest.fixture
def from_csv(configured: Configured, tmp_path: Path) -> FromCsv:
    """A config whose source is a CSV file with these bytes."""

    def writing(raw: bytes | str, more: str = "id: id", name: str = "q.csv") -> Config:
        (tmp_path / name).write_bytes(raw.encode() if isinstance(raw, str) else raw)
        return configured(f"{{csv: {name}, {more}}}")

    return writing


def test_rows_are_records(from_csv: FromCsv) -> None:
    """The value is a plain dict of all fields, as text; the ID is that of the column."""
    config = from_csv('id,text,n\n7,"one, two",1\nx,"a\nb",\n')

    assert listed(config) == [
        Record("7", {"id": "7", "text": "one, two", "n": "1"}),
        Record("x", {"id": "x", "text": "a\nb", "n": ""}),
    ]


def test_they_are_counted(from_csv: FromCsv) -> None:
    """For the progress bar."""
    config = from_csv("id\n1\n\n2\n3\n")

    assert [len(read(config, count)) for count in (None, 2, 0)] == [3, 2, 0]  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - it has a length


def test_the_first_of_them(from_csv: FromCsv) -> None:
    """A count takes so many, and the others are looked at all the same."""
    assert [one.id for one in listed(from_csv("id\n1\n2\n3\n"), 2)] == ["1", "2"]
    assert "line 4 ('2'): " in refusal(from_csv("id\n1\n2\n2\n"), 1)


def test_an_id_of_the_content(from_csv: FromCsv) -> None:
    """It does not depend on the order of the columns."""
    (one,) = listed(from_csv("a,b\n1,2\n", "id: hash"))
    (other,) = listed(from_csv("b,a\n2,1\n", "id: hash"))

    assert one.id == other.id == content_id({"a": "1", "b": "2"})


@pytest.mark.parametrize(
    ("text", "more", "name"),
    [
        ("id\ttext\n1\ta;b,c\n", "id: id", "q.tsv"),
        ("id;text\n1;a\tb,c\n", "id: id, delimiter: ';'", "q.csv"),
        ("id\ttext\n1\ta\n", 'id: id, delimiter: "\\t"', "q.txt"),
        ("id,text\n1,a\n", "id: id, delimiter: ','", "q.tsv"),
    ],
)
def test_the_delimiter(from_csv: FromCsv, text: str, more: str, name: str) -> None:
    """It is a tab in a .tsv file, and else a comma, unless it is given."""
    (one,) = listed(from_csv(text, more, name))

    assert list(one.value) == ["id", "text"]


@pytest.mark.parametrize(
    ("raw", "more"),
    [
        (codecs.BOM_UTF8 + "id,文\n1,题\n".encode(), "id: id"),
        ("id,文\r\n1,题\r\n".encode("utf-16"), "id: id"),
        (codecs.BOM_UTF16_BE + "id,文\n1,题\n".encode("utf-16-be"), "id: id"),
        ("id,文\n1,题\n".encode("utf-32"), "id: id"),
        ("id,文\n1,题\n".encode("gb18030"), "id: id, encoding: gb18030"),
        (codecs.BOM_UTF8 + "id,文\n1,题\n".encode(), "id: id, encoding: UTF8"),
        (codecs.BOM_UTF16_LE + "id,文\n1,题\n".encode("utf-16-le"), "id: id, encoding: utf-16-le"),
    ],
)
def test_encodings(from_csv: FromCsv, raw: bytes, more: str) -> None:
    """A byte order mark tells it, or the config; and the mark is no part of the first column's name."""
    assert listed(from_csv(raw, more)) == [Record("1", {"id": "1", "文": "题"})]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"id\n1\n \n2\n\t\n", "lines 3, 5: the ID is blank; give each an ID of its own, or use id: hash"),
        (b'id,a\n1,"x\ny"\n1,z\n', "line 4 ('1'): an ID that an earlier one has; keep each once"),
        (b"id,a\n1\n2,3\n4,5\n7\n", "lines 2 (1), 5 (1): fewer fields than the 2 of the header"),
        (b"id,a\n1,2\n4,5,6\n", "line 3 (3): more fields than the 2 of the header"),
        (
            b"id,a\n1,\xff\n2,b\n3,\xfe\n",
            f"lines 2, 4: {UNDECODED}",
        ),
        (b"id,\xff\n1,a\n", f"line 1: {UNDECODED}"),
        ("id,a\n1,b\n".encode("utf-16") + b"\xd8", f"line 3: {UNDECODED.replace('-8', '-16')}"),
        (b'id,a\n1,"b\n2,c\n', "line 2: not CSV: a quote is never closed"),
        (b'id,a\n1,"b"c\n2,c\n', "line 2: not CSV: ',' expected after '\"'"),
        (b"id,a,id\n", "line 1: columns of the same name: 'id'"),
        (
            "id,a\n1,b\n".encode("utf-16-le"),
            "line 1: a NUL in the header; a file in UTF-16 without a byte order mark needs encoding: utf-16-le",
        ),
        (b"id\na\0b\n", "line 2 (the text 'a\\x00b'): a NUL within the ID"),
    ],
)
def test_what_is_no_record(from_csv: FromCsv, raw: bytes, message: str) -> None:
    """The file, the lines and what to do are told."""
    assert refusal(from_csv(raw)) == f"pipeline.yaml: source.csv: q.csv, {message}"


def test_all_flaws_are_told(from_csv: FromCsv) -> None:
    """One run tells everything that is wrong with a file."""
    told = refusal(from_csv(b"id,a\n,2\n1\n5,\xff\n6,7\n6,8\n")).splitlines()

    assert sorted(line.split(": ")[2] for line in told) == [
        "q.csv, line 2",
        "q.csv, line 3 (1)",
        "q.csv, line 4",
        "q.csv, line 6 ('6')",
    ]


def test_an_empty_file(from_csv: FromCsv) -> None:
    """Without a header nobody knows what is what; a header alone is a table of no rows."""
    assert "it is empty; allowed: a header" in refusal(from_csv(b"\n"))
    assert listed(from_csv(b"id,a\n")) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ids,text\n1,a\n", "no column is called 'id'; did you mean 'ids'? allowed: ids, text"),
        (
            "id;text\n1;a\n",
            "no column is called 'id'; allowed: id;text; between its columns there may be ';': say so with delimiter:",
        ),
    ],
)
def test_a_column_that_is_not_there(from_csv: FromCsv, text: str, message: str) -> None:
    """Those that there are are told, and what else may be between them."""
    assert refusal(from_csv(text)) == f"pipeline.yaml: source.id: q.csv: {message}"


def test_a_file_that_is_not_there(configured: Configured) -> None:
    """The path that was tried is told."""
    told = refusal(configured("{csv: no.csv, id: id}"))

    assert told == "pipeline.yaml: source.csv: no such file: no.csv; it is looked for in the config file's folder"


def test_long_fields(from_csv: FromCsv) -> None:
    """A document in a field is no error, and the limit of others stays as it was."""
    before = csv.field_size_limit()
    (one,) = listed(from_csv(f"id,text\n1,{'x' * 200_000}\n"))

    assert len(one.value["text"]) == 200_000
    assert csv.field_size_limit() == before


def test_the_file_may_change_once_it_was_read(from_csv: FromCsv, tmp_path: Path) -> None:
    """The records are those that were checked, however often they are read."""
    records = read(from_csv("id\n1\n2\n"))
    (tmp_path / "q.csv").write_bytes(b"")

    assert [one.id for one in records] == [one.id for one in records] == ["1", "2"]


@pytest.mark.slow
def test_many_rows_take_little_memory(from_csv: FromCsv) -> None:
    """But for 16 bytes and a place in a set for each ID, which are given back."""
    config = from_csv("id,text\n" + "".join(f"{number},{'x' * 2_000}\n" for number in range(8_000)))
    tracemalloc.start()
    try:
        count = sum(1 for _ in read(config))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert count == 8_000
    assert peak < 4_000_000
