"""The earlier texts, in an SQLite file, and the search for texts that resemble another text.

MinHash and banding find candidates (Broder 1997; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter
3): texts that share two bands of their signatures. Each candidate is then compared exactly. With longer bands one
shared band would do, but finds ten times as many candidates among texts of the same wording.
"""

from __future__ import annotations

import atexit
import sqlite3
import struct
import threading
import unicodedata
from collections.abc import Generator, Iterable
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rxpipe.errors import StopRun
from rxpipe.extras import install

_HASHES = 256  # hashes in a signature
_FOUND = 0.97  # the least share found of texts that are just alike enough
_PATIENCE = 60.0  # seconds to wait for other processes that write to the file
_SCHEMA = """
CREATE TABLE IF NOT EXISTS texts (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS bands (band INTEGER, number INTEGER, PRIMARY KEY (band, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS likeness (how TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """Decides when two texts are alike.

    Attributes:
        threshold: The least Jaccard index of their shingles, above 0 and at most 1.
        shingle: Characters in a shingle.
    """

    threshold: float
    shingle: int

    def shingles(self, text: str) -> frozenset[str]:
        """Returns the shingles of a text. A short text is one shingle."""
        last = max(0, len(text) - self.shingle)
        return frozenset(text[start : start + self.shingle] for start in range(last + 1))

    def holds(self, one: frozenset[str], other: frozenset[str]) -> bool:
        """Returns True if texts with these shingles are alike."""
        common = len(one & other)
        return common >= self.threshold * (len(one) + len(other) - common)

    @property
    def rows(self) -> int:
        """Hashes in a band: the largest number that still finds most texts that are just alike enough."""
        fits = (rows for rows in range(_HASHES // 2, 1, -1) if self._share_found(rows) >= _FOUND)
        return next(fits, 1)

    def _share_found(self, rows: int) -> float:
        bands, same = _HASHES // rows, self.threshold**rows
        return float(1 - (1 - same) ** bands - bands * same * (1 - same) ** (bands - 1))


def plain(text: str) -> str:
    """Returns a text in lower case, without extra white space and with normal widths of characters."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


class SeenTexts:
    """Texts in a file, each with the ID of its item. Safe for threads, and for processes that share the file."""

    def __init__(self, path: Path, likeness: Likeness) -> None:
        """Open the file, or create it.

        Raises:
            StopRun: The file cannot be used, or a package is missing.
        """
        self._path, self._likeness, self._rows = path, likeness, likeness.rows
        self._lock = threading.Lock()
        try:
            self._minhash = import_module("rensa").RMinHash
        except ImportError:
            raise StopRun(f"distinct needs the package rensa: {install('distinct')}") from None
        self._how = f"{likeness} {_HASHES}/{self._rows} rensa {self._minhash.ALGORITHM_VERSION}"
        with self._told():
            self._database = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
            try:
                # In this mode a commit survives the end of the process, and needs no fsync.
                self._database.execute("PRAGMA journal_mode = WAL")
                self._database.execute("PRAGMA synchronous = NORMAL")
                self._database.execute("PRAGMA wal_autocheckpoint = 8000")  # pages; bands are all over the file
                self._database.executescript(_SCHEMA)
            except sqlite3.Error:
                self._database.close()
                raise

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def keep(self, item: str, text: str) -> bool:
        """Remember a text, unless the text of another item is like it.

        Args:
            item: The item's ID. The item's earlier text is forgotten.
            text: The text.

        Returns:
            True if the text is remembered. The text is then committed.

        Raises:
            StopRun: The file cannot be used.
        """
        text = plain(text)
        shingles = self._likeness.shingles(text)
        bands = self._bands(shingles)
        with self._transaction():
            found = self._rows_of("SELECT number, text FROM texts WHERE id = ?", item)
            if found and found[0][1] == text:
                return True
            for number, old in found:
                self._forget(number, old)
            if self._is_like_another(shingles, bands):
                return False
            inserted = self._database.execute("INSERT INTO texts (id, text) VALUES (?, ?)", (item, text))
            self._insert_bands(bands, inserted.lastrowid)
            return True

    def _is_like_another(self, shingles: frozenset[str], bands: list[int]) -> bool:
        marks = ", ".join("?" * len(bands))
        shared = f"SELECT number FROM bands WHERE band IN ({marks}) GROUP BY number HAVING count(*) > 1"
        candidates = self._database.execute(f"SELECT text FROM texts WHERE number IN ({shared})", bands)
        return any(self._likeness.holds(shingles, self._likeness.shingles(text)) for (text,) in candidates)

    def _forget(self, number: int, text: str) -> None:
        bands = self._bands(self._likeness.shingles(text))
        self._database.executemany("DELETE FROM bands WHERE band = ? AND number = ?", ((one, number) for one in bands))
        self._database.execute("DELETE FROM texts WHERE number = ?", (number,))

    def _insert_bands(self, bands: Iterable[int], number: int | None, table: str = "bands") -> None:
        self._database.executemany(f"INSERT OR IGNORE INTO {table} VALUES (?, ?)", ((one, number) for one in bands))

    def _bands(self, shingles: Iterable[str]) -> list[int]:
        """Returns the bands of a text: hashes of the parts of its signature."""
        minhash = self._minhash(num_perm=_HASHES, seed=1)
        minhash.update(list(shingles))
        signature, rows = minhash.digest(), self._rows
        return [_hashed(start, signature[start : start + rows]) for start in range(0, _HASHES - _HASHES % rows, rows)]

    @contextmanager
    def _transaction(self) -> Generator[None]:
        with self._lock, self._told():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                if self._rows_of("SELECT how FROM likeness") != [(self._how,)]:
                    self._index_anew()
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def _index_anew(self) -> None:
        """Make the bands anew. Those in the file belong to other settings, or to another version of the package."""
        self._database.execute("DELETE FROM bands")
        # Sorted first. In any other order each row would go to another page of the file.
        self._database.execute("CREATE TEMP TABLE unsorted (band INTEGER, number INTEGER)")
        for number, text in self._database.execute("SELECT number, text FROM texts"):
            self._insert_bands(self._bands(self._likeness.shingles(text)), number, "unsorted")
        self._database.execute("INSERT OR IGNORE INTO bands SELECT * FROM unsorted ORDER BY band, number")
        self._database.execute("DROP TABLE unsorted")
        self._database.execute("DELETE FROM likeness")
        self._database.execute("INSERT INTO likeness VALUES (?)", (self._how,))

    def _rows_of(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._database.execute(query, values).fetchall()

    @contextmanager
    def _told(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StopRun(f"{self._path}: the file of texts that were seen cannot be used: {error}") from error


def _hashed(start: int, part: list[int]) -> int:
    digest = blake2b(struct.pack(f"<{len(part) + 1}I", start, *part), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


class _Open:
    """The files that this process has open. A file that was deleted meanwhile is opened anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[tuple[Path, Likeness], tuple[object, SeenTexts]] = {}
        self._copies: tuple[Path, dict[Path, Path]] | None = None

    @contextmanager
    def copies(self) -> Generator[None]:
        """Work on copies of the files, which are deleted at the end. Only one caller may do so at a time."""
        with TemporaryDirectory(prefix="rxpipe-") as folder:
            self.close()
            self._copies = Path(folder), {}
            try:
                yield
            finally:
                self._copies = None
                self.close()

    def _copy(self, path: Path) -> Path:
        if self._copies is None:
            return path
        folder, copied = self._copies
        if path.absolute() not in copied:
            copied[path.absolute()] = folder / str(len(copied))
            _copy(path, copied[path.absolute()])
        return copied[path.absolute()]

    def file(self, path: Path, likeness: Likeness) -> SeenTexts:
        with self._lock:
            path = self._copy(path)
        key = path.absolute(), likeness
        with self._lock:
            which, seen = self._files.get(key, (None, None))
            if seen is not None and which == _which(path):
                return seen
            if seen is not None:
                seen.close()
            opened = SeenTexts(path, likeness)
            self._files[key] = _which(path), opened
            return opened

    def close(self) -> None:
        with self._lock:
            for _, seen in self._files.values():
                seen.close()
            self._files.clear()


def _copy(path: Path, copy: Path) -> None:
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(path, timeout=_PATIENCE)) as seen, closing(sqlite3.connect(copy)) as copied:
            seen.backup(copied)
    except sqlite3.Error as error:
        raise StopRun(f"{path}: the file of texts that were seen cannot be used: {error}") from error


def _which(path: Path) -> object:
    """Returns a key that tells a file from another file with the same path."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


_open = _Open()
seen_in = _open.file
close_seen = _open.close
seen_on_copies = _open.copies
atexit.register(close_seen)
