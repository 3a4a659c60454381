"""Keeps the items of a source: all are checked once, then read back one by one, in constant memory."""

from __future__ import annotations

import hashlib
import pickle
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator
from typing import Generic, TypeAlias, TypeVar

Id: TypeAlias = int | str
T = TypeVar("T")

_IN_MEMORY = 2**20  # bytes; a larger spool goes to a temporary file
_BLOCK = 2**16


class Spool(Generic[T]):
    """IDs or records in their order, kept in a temporary file that is deleted with this object.

    Iteration gives the checked items, whatever happens to the file or table that they came from. You can iterate the
    object several times, also at the same time and from several threads.
    """

    def __init__(self, values: Iterable[T]) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed below
        self._lock = threading.Lock()
        weakref.finalize(self, self._file.close)
        self._count = 0
        block: list[bytes] = []
        size = 0
        for one in values:
            block.append(pickle.dumps(one))
            size += len(block[-1])
            self._count += 1
            if size > _BLOCK:
                self._write(block)
                block, size = [], 0
        self._write(block)

    def _write(self, block: list[bytes]) -> None:
        self._file.write(pickle.dumps(block))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        position = given = 0
        while given < self._count:
            with self._lock:
                self._file.seek(position)
                block = pickle.load(self._file)
                position = self._file.tell()
            for one in block:
                yield pickle.loads(one)
            given += len(block)


class Repeats:
    """Finds repeated IDs. 1 and "1" count as the same, as a column of text makes them the same.

    Memory grows with the number of IDs: about 100 MB for a million IDs, with a digest of 16 bytes each, until the IDs
    are checked. Nothing else in a source grows like this.
    """

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def __call__(self, one: Id) -> bool:
        """Returns True if this ID was there before, and remembers the ID."""
        digest = hashlib.blake2b(str(one).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if digest in self._seen:
            return True
        self._seen.add(digest)
        return False
