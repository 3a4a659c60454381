"""IDs from ranges, files and functions: what each gives, and what is refused before anything runs."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rxpipe import Record, content_id
from rxpipe.config import Config
from rxpipe.config.sources import read_source
from rxpipe.config.sources.spool import Spool

from .source_helpers import Configured, listed, read, refusal

FromFile = Callable[[bytes], Config]


@pytest.fixture(autouse=True)
def _imports_undone() -> Iterator[None]:
    """Forgets the modules that a test imported, and the folders it put on the path."""
    path = list(sys.path)
    yield
    for name in [name for name in sys.modules if name.startswith("rx_")]:
        del sys.modules[name]
    sys.path[:] = path


@pytest.fixture
def from_file(configured: Configured, tmp_path: Path) -> FromFile:
    """A config whose source is a file with these bytes."""

    def writing(raw: bytes) -> Config:
        (tmp_path / "ids.txt").write_bytes(raw)
        return configured("{file: ids.txt}")

    return writing


@pytest.fixture
def from_call(configured: Configured, tmp_path: Path) -> Configured:
    """A config whose source is a function ``ids`` with this source text."""

    def writing(text: str) -> Config:
        (tmp_path / "rx_ids.py").write_text(text, encoding="utf-8")
        return configured("{call: 'rx_ids:ids'}")

    return writing


def test_without_a_source_there_are_a_hundred_ids() -> None:
    """The default is 1 to 100."""
    assert read_source(Config()) == range(1, 101)


@pytest.mark.parametrize(
    ("written", "count", "ids"),
    [
        ("5", None, range(1, 6)),
        ("5", 3, range(1, 4)),
        ("5", 8, range(1, 9)),
        ("5", 0, range(1, 1)),
        ("[10, 0, -3]", 2, range(10, 4, -3)),
        ("{start: 7}", 2, range(7, 9)),
    ],
)
def test_a_range_and_a_count(configured: Configured, written: str, count: int | None, ids: range) -> None:
    """A count moves the stop of a range, either way."""
    assert read_source(configured(f"{{range: {written}}}"), count=count) == ids


def test_a_count_below_zero() -> None:
    """It is refused, and not taken for a place from the end."""
    assert refusal(Config(), -1) == "count: given -1; allowed: a whole number, 0 or more"


def test_lines_of_a_file_are_ids(from_file: FromFile) -> None:
    """Space around an ID is no part of it, and digits stay text."""
    assert listed(from_file("q-1\n  问题 2\t\n003".encode())) == ["q-1", "问题 2", "003"]


def test_a_byte_order_mark_and_crlf(from_file: FromFile) -> None:
    """What Windows editors write is read."""
    assert listed(from_file(b"\xef\xbb\xbfa\r\nb\r\n")) == ["a", "b"]


def test_an_empty_file_has_no_ids(from_file: FromFile) -> None:
    """There may be nothing to do."""
    assert listed(from_file(b"")) == []


def test_a_file_is_beside_the_config(from_file: FromFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found wherever the process runs."""
    config = from_file(b"a\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    assert listed(config) == ["a"]


def test_the_first_of_a_file(from_file: FromFile) -> None:
    """A count takes that many lines, or all there are."""
    config = from_file(b"a\nb\nc\n")

    assert listed(config, 2) == ["a", "b"]
    assert listed(config, 9) == ["a", "b", "c"]
    assert listed(config, 0) == []


def test_a_file_is_checked_beyond_the_count(from_file: FromFile) -> None:
    """A trial run of a few IDs finds what would stop the whole run."""
    assert "line 3: blank" in refusal(from_file(b"a\nb\n\n"), 1)


def test_a_file_may_change_once_it_was_read(from_file: FromFile, tmp_path: Path) -> None:
    """The IDs are those that were checked."""
    ids = read(from_file(b"a\nb\n"))
    (tmp_path / "ids.txt").write_bytes(b"\n")

    assert [list(ids), list(ids)] == [["a", "b"], ["a", "b"]]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"a\n\nb\n", "line 2: blank; remove every blank line"),
        (b"a\n \t\nb\n\n", "lines 2, 4: blank; remove every blank line"),
        (b"a\n" + b"\n" * 8, "lines 2, 3, 4, 5, 6 and 3 more: blank; remove every blank line"),
        (b"a\nb\n a\n", "line 3 ('a'): an ID that an earlier line has; keep each ID once"),
        (b"a\na\nb\nb\n", "lines 2 ('a'), 4 ('b'): an ID that an earlier line has; keep each ID once"),
        (b"a\n\xff\xfe\n", "line 2: not UTF-8; save the file as UTF-8"),
        (b"a\0\n", "line 1: a NUL or CR within a line; save the file as UTF-8 text with one ID a line"),
        (b"a\rb\n", "line 1: a NUL or CR within a line; save the file as UTF-8 text with one ID a line"),
    ],
)
def test_a_line_that_is_no_id(from_file: FromFile, raw: bytes, message: str) -> None:
    """The file, the lines and what to do are told."""
    assert refusal(from_file(raw)) == f"pipeline.yaml: source.file: ids.txt, {message}"


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("urls.csv", "{csv: urls.csv, id: COLUMN}"),
        ("URLS.CSV", "{csv: URLS.CSV, id: COLUMN}"),
        ("urls.jsonl", "{jsonl: urls.jsonl, id: COLUMN}"),
        ("urls.xlsx", '{call: "my_stages:ids"}'),
    ],
)
def test_a_file_of_records_is_no_file_of_ids(configured: Configured, tmp_path: Path, name: str, instead: str) -> None:
    """Its header, or each record as a whole, would be an ID."""
    (tmp_path / name).write_text("url\nhttp://h/1\n")
    told = refusal(configured(f"{{file: {name}}}"))
    assert told.startswith(f"pipeline.yaml: source.file: {name}: a .{name.partition('.')[2]} file holds records, but")
    assert told.endswith(f"or source: {instead}")


def test_all_flaws_of_a_file_are_told(from_file: FromFile) -> None:
    """One run tells everything that is wrong with a file."""
    told = refusal(from_file(b"a\n\n\xff\na\n")).splitlines()

    assert [line.split(": ")[2] for line in told] == [
        "ids.txt, line 2",
        "ids.txt, line 3",
        "ids.txt, line 4 ('a')",
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.txt", "no such file: missing.txt; it is looked for in the config file's folder"),
        ("folder", "folder is a directory; allowed: a text file with one ID a line"),
        ("'\"a\\0b\"'", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read(configured: Configured, tmp_path: Path, name: str, message: str) -> None:
    """The path that was tried is told."""
    (tmp_path / "folder").mkdir()
    config = configured("{file: " + name.strip("'") + "}")

    assert refusal(config).startswith("pipeline.yaml: source.file: ")
    assert message in refusal(config)


def test_many_ids_do_not_stay_in_memory(tmp_path: Path) -> None:
    """Beyond a megabyte the IDs are in a file, and come back in order to each of two readers."""
    ids = Spool(f"{'x' * 100}{number}" for number in range(20_000))

    both = zip(ids, ids, strict=True)

    assert all(one == other == f"{'x' * 100}{number}" for number, (one, other) in enumerate(both))


def test_spooled_ids_may_be_read_by_several_threads() -> None:
    """No reader disturbs another's place."""
    ids = Spool(range(30_000))
    results: list[bool] = []
    threads = [threading.Thread(target=lambda: results.append(list(ids) == list(range(30_000)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == [True, True, True]


def test_unread_ids_leave_nothing_open(from_file: FromFile) -> None:
    """IDs that nobody iterates close their file; pytest makes the warning of an open one an error."""
    read_source(from_file(b"a\n"))
    gc.collect()


def test_a_call_gives_an_iterable(from_call: Configured) -> None:
    """Whatever the function returns is passed on, and read when it is wanted."""
    ids = read(from_call("import itertools\ndef ids(): return itertools.count(5)\n"))

    assert [one for one, _ in zip(ids, range(3), strict=False)] == [5, 6, 7]


def test_the_first_of_a_call(from_call: Configured) -> None:
    """A count takes that many, and asks for no more."""
    config = from_call("def ids():\n    yield 1\n    yield 2\n    raise RuntimeError('asked for more')\n")

    assert listed(config, 2) == [1, 2]


def taken(ids: Iterable[Any] | AsyncIterable[Any]) -> list[Any]:
    """All of an async iterable's items."""

    async def taking() -> list[Any]:
        assert isinstance(ids, AsyncIterable)
        return [one async for one in ids]

    return asyncio.run(taking())


ASYNC = """
closed = []
async def ids():
    try:
        for number in range(3):
            yield number
        raise RuntimeError("asked for more")
    finally:
        closed.append(True)
"""


def test_a_call_gives_an_async_iterable(from_call: Configured) -> None:
    """An async generator function is a source."""
    assert taken(read_source(from_call("async def ids():\n    yield 1\n"))) == [1]


@pytest.mark.parametrize(("count", "expected"), [(0, []), (2, [0, 1]), (3, [0, 1, 2])])
def test_the_first_of_an_async_call(from_call: Configured, count: int, expected: list[int]) -> None:
    """A count takes that many, asks for no more, and closes at once a generator that was started."""
    ids = read_source(from_call(ASYNC), count=count)
    assert isinstance(ids, AsyncIterable)

    async def taking() -> tuple[list[Any], list[bool]]:
        return [one async for one in ids], list(sys.modules["rx_ids"].closed)

    assert asyncio.run(taking()) == (expected, [True] if count else [])


def test_an_async_call_with_fewer_than_the_count(from_call: Configured) -> None:
    """The end of the source is the end."""
    assert taken(read_source(from_call("async def ids():\n    yield 1\n"), count=5)) == [1]


ROWS = "[{'n': 1, 'a': 2}, {'n': 3, 'a': 4}]"


@pytest.mark.parametrize(
    ("text", "more", "expected"),
    [
        (f"def ids(): return iter({ROWS})\n", "", [{"n": 1, "a": 2}, {"n": 3, "a": 4}]),
        (f"def ids(): return iter({ROWS})\n", ", id: n", [Record(1, {"n": 1, "a": 2}), Record(3, {"n": 3, "a": 4})]),
        (
            f"def ids(): return {ROWS}\n",
            ", id: hash",
            [Record(content_id(one), one) for one in ({"n": 1, "a": 2}, {"n": 3, "a": 4})],
        ),
        (
            "from rxpipe import Record\ndef ids():\n    yield Record(1, 'a')\n    yield 2\n",
            "",
            [Record(1, "a"), 2],
        ),
    ],
)
def test_a_call_gives_records(
    from_call: Configured, configured: Configured, text: str, more: str, expected: list[Any]
) -> None:
    """As it makes them, or of mappings and objects, whose ID the config names."""
    from_call(text)
    config = configured(f"{{call: 'rx_ids:ids'{more}}}")

    assert listed(config) == expected
    assert listed(config, 1) == expected[:1]


def test_an_async_call_gives_records(from_call: Configured, configured: Configured) -> None:
    """The same of an async iterable."""
    from_call(f"async def ids():\n    for one in {ROWS}:\n        yield one\n")
    config = configured("{call: 'rx_ids:ids', id: n}")

    assert [one.id for one in taken(read_source(config, count=1))] == [1]


ITERABLE = "allowed: an iterable or async iterable of IDs or records"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def ids(): return 3\n", f"it returned 3, of type int; {ITERABLE}"),
        ("def ids(): pass\n", f"it returned nothing (null), of type NoneType; {ITERABLE}"),
        ("def ids(): return 'abc'\n", f"it returned the text 'abc', of type str; {ITERABLE}"),
        (
            "async def ids(): return [1]\n",
            f"of type coroutine; an async function gives IDs with yield, {ITERABLE}",
        ),
        ("def ids(): raise OSError('offline')\n", "it raised OSError: offline (rx_ids.py, line 1)"),
        ("import sys\ndef ids():\n    sys.exit(3)\n", "it raised SystemExit: 3 (rx_ids.py, line 3)"),
        (
            "def ids(number): return [number]\n",
            "it raised TypeError: ids() missing 1 required positional argument",
        ),
        ("def id(): return []\n", "the module 'rx_ids' has no 'ids'; did you mean 'id'?"),
    ],
)
def test_a_call_that_gives_no_ids(from_call: Configured, text: str, message: str) -> None:
    """The file, the key, the function and its fault are told."""
    told = refusal(from_call(text))

    assert told.startswith("pipeline.yaml: source.call: rx_ids:ids: ")
    assert message in told
