"""A hash of a value that is the same in every process, for values that are equal in all their parts.

Plain data go by their JSON. Anything else goes by what a pickle of it would be made of. The pickle itself would not do:
it depends on which parts are the same object, and on the order of a set, which differs from process to process.
"""

from __future__ import annotations

import copyreg
import hashlib
from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType
from typing import Any

from rxpipe.errors import CheckpointError
from rxpipe.store.commits.outputs import encode

_DEEP = 100  # levels of nesting; what is deeper may be a circle
_PROTOCOL = 4  # in the next one, large buffers are no part of what is reduced
_ITEMS = (3, 4)  # where what is reduced has iterators, of a list's items and of a dictionary's
_GLOBALS = (type, FunctionType, BuiltinFunctionType)


def input_hash(value: Any) -> str | None:
    """The hash of a value; None if it has none: it cannot be kept, or is too deep."""
    try:
        text, pickled = encode(value)
        if pickled is None:
            return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return hashlib.sha256(_digest(value, _DEEP)).hexdigest()
    except CheckpointError:
        return None
    except Exception:  # noqa: BLE001 - whatever a foreign __reduce_ex__ raises
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
