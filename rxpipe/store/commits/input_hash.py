"""A hash of a value that is the same in every process for values whose parts are all equal.

Plain data are hashed by their JSON. Other values are hashed by the parts that a pickle would be made of. The pickle
itself depends on which parts are the same object, and on the order of a set, which differs from process to process.
"""

from __future__ import annotations

import copyreg
import hashlib
from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType
from typing import Any

from rxpipe.errors import CheckpointError
from rxpipe.store.commits.outputs import encode

_DEEP = 100  # levels of nesting; a deeper value may be circular
_PROTOCOL = 4  # in the next protocol, large buffers are not among the parts
_ITEMS = (3, 4)  # places of the iterators over a list's items and a dictionary's items
_GLOBALS = (type, FunctionType, BuiltinFunctionType)


def input_hash(value: Any) -> str | None:
    """Returns the hash of a value. Returns None if the value cannot be kept, or is too deep."""
    try:
        text, pickled = encode(value)
        if pickled is None:
            return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return hashlib.sha256(_digest(value, _DEEP)).hexdigest()
    except CheckpointError:
        return None
    except Exception:  # noqa: BLE001 - a foreign __reduce_ex__ may raise anything
        return None


def _digest(value: Any, levels: int) -> bytes:
    kind: Any = type(value)  # pyright: ignore[reportUnknownVariableType] - of anything
    digest = hashlib.sha256(f"{kind.__module__}.{kind.__qualname__}:".encode())
    for part in _parts(value, kind, levels):
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.digest()


def _parts(value: Any, kind: Any, levels: int) -> Iterator[bytes]:
    if not levels:
        raise RecursionError
    if kind in (str, bytes, bytearray):
        yield value.encode("utf-8", "surrogatepass") if kind is str else bytes(value)
    elif kind is int:
        yield f"{value:x}".encode()
    elif kind in (float, complex, bool, type(None), type(...), type(NotImplemented)):
        yield repr(value).encode()
    elif kind in (list, tuple):
        yield from (_digest(one, levels - 1) for one in value)
    elif kind is dict:
        yield from (_digest(one, levels - 1) for item in value.items() for one in item)
    elif kind in (set, frozenset):
        yield from sorted(_digest(one, levels - 1) for one in value)
    elif isinstance(value, _GLOBALS):
        yield f"{value.__module__}.{value.__qualname__}".encode()
    else:
        yield from _reduced(value, kind, levels)


def _reduced(value: Any, kind: Any, levels: int) -> Iterator[bytes]:
    reduce = copyreg.dispatch_table.get(kind)
    reduced: Any = value.__reduce_ex__(_PROTOCOL) if reduce is None else reduce(value)
    if isinstance(reduced, str):
        yield reduced.encode()
        return
    for place, part in enumerate(reduced):
        yield _digest(_listed(part) if place in _ITEMS and part is not None else part, levels - 1)


def _listed(items: Any) -> list[Any]:
    return [*items]
