"""Engines of one dialect share what they have compiled: most tests make engines, and statements are the same in all.

SQLAlchemy keeps compiled statements for each engine, by the engine's own dialect; here they are kept by its class.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.util import LRUCache

_KEPT = 1000  # statements
_COMPILED: dict[str, Any] = {}  # by dialect


def share() -> None:
    """Let all engines that this process makes from now on share."""
    dialects: Any = DefaultDialect
    dialects.__hash__, dialects.__eq__ = _hash, _equal
    engines: Any = Engine
    make = engines.__init__

    def made(engine: Any, *args: Any, **options: Any) -> None:
        make(engine, *args, **options)
        engine._compiled_cache = _COMPILED.setdefault(_name(engine.dialect), LRUCache(_KEPT))

    engines.__init__ = made


def _name(dialect: DefaultDialect) -> str:
    return f"{dialect.name} {dialect.driver}"


def _hash(dialect: DefaultDialect) -> int:
    return hash(_name(dialect))


def _equal(dialect: DefaultDialect, other: DefaultDialect) -> bool:
    return _name(dialect) == _name(other)
