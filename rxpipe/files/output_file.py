"""A file to which one process appends, at a known offset."""

from __future__ import annotations

import errno
import io
import json
import os
import stat
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress

import structlog

from rxpipe.database.encoding import one_line
from rxpipe.database.error_kinds import FileAway
from rxpipe.errors import SinkError, StoreError

if sys.platform != "win32":
    import fcntl

_log: structlog.stdlib.BoundLogger = structlog.get_logger()

_HOPELESS = (errno.EROFS, errno.EFBIG, errno.EBADF, errno.EPERM, errno.EACCES, errno.EINVAL)  # waiting does not help
_LONGEST_END = 64 * 1024 * 1024  # bytes of a last line without an end


class OutputFile:
    """Appends to a file. A lock keeps other processes from appending to it.

    The caller says at which offset the lines go. Bytes after that offset come from an append that did not finish, and
    are cut off first. Bytes from others are never cut off, unless the caller asks for it.

    The lock ends with the process, however the process ends. On Windows there is no lock.
    """

    def __init__(self, path: str) -> None:
        """Describe a file. Nothing is opened yet."""
        self.path = path
        self._whole_path = path
        self._file: io.FileIO | None = None
        self._reached = 0

    @property
    def size(self) -> int:
        """The number of bytes of the file.

        Raises:
            SinkError: The file is not open.
        """
        return os.fstat(self._opened().fileno()).st_size

    def open(self) -> None:
        """Open and lock the file. A missing file is created. Does nothing if the file is open.

        Raises:
            SinkError: The file cannot be written, or is no plain file.
            StoreError: Another process writes the file, or another run of this process.
        """
        if self._file is not None:
            return
        self._whole_path = os.path.abspath(self.path)  # the process may change its folder
        try:
            file = io.FileIO(
                os.open(self._whole_path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+b"
            )
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise SinkError(f"cannot open {self.path}: {one_line(error)}") from error
        try:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SinkError(f"cannot write to {self.path}: it is no plain file")
            self._lock(file)
            _sync_folder(self._whole_path)
        except BaseException:
            file.close()
            raise
        self._file, self._reached = file, 0

    def _lock(self, file: io.FileIO) -> None:
        if sys.platform != "win32":
            try:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreError(
                    f"{self.path} is in use by another process, or another run of this one: one writes at a time"
                ) from None
            except OSError as error:
                _log.debug("files are not locked here", path=self.path, error=one_line(error))

    def adopt(self) -> int:
        """Continue at the end of the file, whoever has written it. Returns that offset.

        A last line without an end gets one. If that line is half an object, as after a kill, it is cut off.

        Raises:
            SinkError: The last line is something else, so this is no file of JSON lines.
        """
        file, size = self._opened(), self.size
        with self._errors_told():
            end = _end_of_lines(file, size)
            if end < size:
                file.seek(end)
                line = file.read(_LONGEST_END)
                if _is_json(line):
                    file.seek(size)
                    size += file.write(b"\n")
                elif line.startswith(b"{"):
                    file.truncate(end)
                    _log.warning("half a line was cut off", path=self.path, bytes=size - end)
                    size = end
                else:
                    raise SinkError(f"{self.path}: its last line is no JSON, so nothing is appended to it")
        self._reached = size
        return size

    def cut(self, offset: int) -> int:
        """Cut off the bytes after an offset. Returns their number."""
        with self._errors_told():
            gone = self.size - offset
            if gone > 0:
                self._opened().truncate(offset)
        self._reached = offset
        return max(0, gone)

    def cut_ours(self, offset: int) -> None:
        """Cut off the bytes after an offset, except those that another program has written."""
        if self.size <= self._reached:
            self.cut(offset)

    def append(self, offset: int, data: bytes) -> int:
        """Write data at an offset. The data are on the disk when this returns. Returns the new end.

        Raises:
            FileAway: The disk is full, or does not answer. Repeat the call later.
            SinkError: The file was deleted or moved, or another program has written it; or the error is permanent.
        """
        file = self._opened()
        with self._errors_told():
            self._check(offset)
            if self.size > offset:
                file.truncate(offset)
            self._reached = max(self._reached, offset + len(data))
            file.seek(offset)
            self._write(file, data)
            os.fsync(file.fileno())
        self._reached = offset + len(data)
        return self._reached

    def _write(self, file: io.FileIO, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]

    def _check(self, offset: int) -> None:
        """Check that the file is unchanged."""
        size = self.size
        try:
            is_same = os.path.samestat(os.stat(self._whole_path), os.fstat(self._opened().fileno()))
        except FileNotFoundError:
            is_same = False
        if not is_same:
            raise SinkError(f"{self.path} was deleted or moved while it was in use: nothing more is written to it")
        if size < offset or size > max(offset, self._reached):
            raise SinkError(f"{self.path} was changed by another program while it was in use: nothing more is written")

    @contextmanager
    def _errors_told(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _HOPELESS:
                raise SinkError(f"cannot write to {self.path}: {one_line(error)}") from error
            raise FileAway(self.path, error) from error
        except ValueError as error:
            raise SinkError(f"{self.path} is closed") from error

    def _opened(self) -> io.FileIO:
        if self._file is None:
            raise SinkError(f"{self.path} is not open")
        return self._file

    def close(self) -> None:
        """Close the file, and release the lock. Does nothing if the file is closed."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _end_of_lines(file: io.FileIO, size: int) -> int:
    """Returns the end of the last complete line."""
    step, end = 64 * 1024, size
    while end > 0:
        start = max(0, end - step)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _sync_folder(path: str) -> None:
    """Make a new file survive a loss of power."""
    with suppress(OSError):  # some systems cannot open folders
        folder = os.open(os.path.dirname(path), os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
