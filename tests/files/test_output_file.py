"""The file: who may write it, where, and what is cut off."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rxpipe.database.error_kinds import FileAway, is_transient
from rxpipe.errors import SinkError, StoreError
from rxpipe.files.output_file import OutputFile

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


@pytest.fixture
def file(path: Path) -> Iterator[OutputFile]:
    file = OutputFile(str(path))
    yield file
    file.close()


def fail(monkeypatch: pytest.MonkeyPatch, error: OSError, *, after: int = 0) -> None:
    """Have writes fail, once so many bytes are written."""

    def write(_self: OutputFile, opened: Any, data: bytes) -> None:
        opened.write(data[:after])
        raise error

    monkeypatch.setattr(OutputFile, "_write", write)


def test_it_writes_where_it_is_told(file: OutputFile, path: Path) -> None:
    """What an append left behind that offset is cut off."""
    file.open()
    assert file.append(0, b"one\n") == 4
    assert file.append(4, b"lost\n") == 9
    assert file.append(4, b"2\n") == 6
    assert path.read_bytes() == b"one\n2\n"


def test_a_full_disk_is_away(file: OutputFile, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of what was to be written is there then; the next try writes all of it."""
    file.open()
    with monkeypatch.context() as broken:
        fail(broken, FULL, after=2)
        with pytest.raises(FileAway, match=r"out\.jsonl cannot be written: OSError: \[Errno 28\]") as raised:
            file.append(0, b"one\n")
    assert is_transient(raised.value)
    assert path.read_bytes() == b"on"
    file.append(0, b"one\n")
    assert path.read_bytes() == b"one\n"


def test_what_waiting_does_not_help(file: OutputFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that is read only ends it at once."""
    file.open()
    fail(monkeypatch, OSError(errno.EROFS, "Read-only file system"))
    with pytest.raises(SinkError, match=r"cannot write to .*Read-only"):
        file.append(0, b"one\n")


@pytest.mark.parametrize("size", [2, 9])
def test_another_program_changes_it(file: OutputFile, path: Path, size: int) -> None:
    """Nothing more is written, and nothing is cut off."""
    file.open()
    file.append(0, b"one\n")
    os.truncate(path, size)
    with pytest.raises(SinkError, match=r"was changed by another program"):
        file.append(4, b"two\n")
    assert path.stat().st_size == size


@pytest.mark.parametrize("how", ["deleted", "moved", "replaced"])
def test_it_is_deleted_or_moved(file: OutputFile, path: Path, how: str) -> None:
    """Nothing is written into what nobody finds."""
    file.open()
    if how == "deleted":
        path.unlink()
    else:
        path.rename(path.with_name("elsewhere"))
    if how == "replaced":
        path.touch()
    with pytest.raises(SinkError, match="was deleted or moved"):
        file.append(0, b"one\n")


def test_one_writes_at_a_time(file: OutputFile, path: Path) -> None:
    """Others of this process are kept out, too, until it is closed."""
    file.open()
    other = OutputFile(str(path))
    with pytest.raises(StoreError, match=r"out\.jsonl is in use by another process, or another run"):
        other.open()
    file.close()
    other.open()
    other.close()


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    """A folder, a folder that is not there, a name that is none, and what is no plain file."""
    os.mkfifo(tmp_path / "pipe")
    for name in (".", "no/such.jsonl", "a\0b"):
        with pytest.raises(SinkError, match="cannot open"):
            OutputFile(str(tmp_path / name)).open()
    with pytest.raises(SinkError, match="no plain file"):
        OutputFile(str(tmp_path / "pipe")).open()


def test_a_closed_one(file: OutputFile) -> None:
    """It says so; to close it again does nothing."""
    file.open()
    file.close()
    file.close()
    with pytest.raises(SinkError, match="is not open"):
        file.append(0, b"one\n")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b""),
        (b'{"id":1}\n', b'{"id":1}\n'),
        (b'{"id":1}', b'{"id":1}\n'),
        (b'{"id":1}\n{"id":2}', b'{"id":1}\n{"id":2}\n'),
        (b'{"id":1}\n{"id":2', b'{"id":1}\n'),
        (b'{"id":', b""),
        (b'{"id":1}\n{"a":"' + b"x" * 200_000, b'{"id":1}\n'),
    ],
)
def test_its_end(file: OutputFile, path: Path, before: bytes, after: bytes) -> None:
    """A last line gets its end, or is cut off if it is half an object."""
    path.write_bytes(before)
    file.open()
    assert file.adopt() == len(after)
    assert path.read_bytes() == after


def test_it_ends_in_no_json(file: OutputFile, path: Path) -> None:
    """A file of something else is left alone."""
    path.write_bytes(b"dear diary")
    file.open()
    with pytest.raises(SinkError, match="its last line is no JSON"):
        file.adopt()
    assert path.read_bytes() == b"dear diary"


def test_only_its_own_is_cut(file: OutputFile, path: Path) -> None:
    """What another program has appended stays."""
    file.open()
    file.append(0, b"one\n")
    file.append(4, b"lost\n")
    file.cut_ours(4)
    assert path.read_bytes() == b"one\n"
    path.write_bytes(b"one\ntheirs\n")
    file.cut_ours(4)
    assert path.read_bytes() == b"one\ntheirs\n"


def test_another_folder(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that changes its folder goes on with the file that it has opened."""
    monkeypatch.chdir(path.parent)
    file = OutputFile(path.name)
    file.open()
    monkeypatch.chdir("/")
    assert file.append(0, b"one\n") == 4
    file.close()
    assert path.read_bytes() == b"one\n"
