"""A hash of a function's code. It shows if the function was edited since its results were stored.

The hash is made of compiled code, so comments, docstrings, blank lines and formatting do not count. It also covers the
parts of the function's own module that the function uses: functions, methods and plain constants, such as the text of a
prompt. Each version of Python compiles differently. So a hash begins with the version, and is compared only with hashes
of the same version.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import inspect
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any

_DIGITS = 16
_KEPT = 1024  # functions whose instructions are remembered: reading them is slow, and a process may open many runs
_PLAIN = (str, bytes, int, float, complex, bool, type(None))
_UNTOLD = ("__doc__", "__firstlineno__")  # a class in a function sets these to constants


def code_hash(call: Any) -> str | None:
    """Returns the hash of a stage's function, such as ``cpython-311 0a1b2c3d4e5f6071``; None if it has no Python code.

    For a partial, a method or a callable object, this is the hash of its function. Its data do not count.
    """
    call = _whole(call)
    holder: Any = call.__self__ if isinstance(call, MethodType) else call
    kind: Any = type(holder)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - anything
    function: Any = call
    if not isinstance(call, (FunctionType, MethodType, type)):
        function = inspect.getattr_static(kind, "__call__")
    texts = list(_texts(function, kind, set()))
    if not texts:
        return None
    optimized = f"-O{sys.flags.optimize}" if sys.flags.optimize else ""
    digest = hashlib.sha256("\0".join(texts).encode("utf-8", "backslashreplace")).hexdigest()
    return f"{sys.implementation.cache_tag}{optimized} {digest[:_DIGITS]}"


def have_changed(before: str | None, now: str | None) -> bool:
    """Returns True if two hashes are of different code. False if one is missing, or of another version of Python."""
    if before is None or now is None or before.split()[0] != now.split()[0]:
        return False
    return before != now


def _texts(found: Any, owner: type | None, seen: set[int]) -> Iterator[str]:
    """Yield the code of a function or a class, and of everything that it uses in its own module."""
    found = _unwrapped(found)
    if id(found) in seen:
        return
    seen.add(id(found))
    if isinstance(found, type):
        for name, member in sorted(vars(found).items()):
            if isinstance(_unwrapped(member), FunctionType):
                yield name
                yield from _texts(member, found, seen)
    elif isinstance(found, FunctionType):
        yield from _code(found.__code__)
        yield from _plain_text("defaults", (found.__defaults__, *sorted((found.__kwdefaults__ or {}).items())))
        for name, value in _used(found, owner):
            yield from _plain_text(name, value)
            if _is_of(value, found):
                yield name
                yield from _texts(value, owner, seen)
        for name, value in _enclosed(found):
            yield from _plain_text(name, value)
            if isinstance(value, FunctionType):
                yield from _texts(value, owner, seen)


def _whole(call: Any) -> Any:
    while isinstance(call, functools.partial):
        call = call.func  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType] - any function
    return call  # pyright: ignore[reportUnknownVariableType] - as it came


def _unwrapped(found: Any) -> Any:
    while isinstance(found, (staticmethod, classmethod, MethodType)):
        found = found.__func__  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType] - any function
    return found  # pyright: ignore[reportUnknownVariableType] - as it came


def _is_of(value: Any, function: FunctionType) -> bool:
    """Returns True if a function or class is in the same module."""
    value = _unwrapped(value)
    if isinstance(value, FunctionType):
        return value.__globals__ is function.__globals__
    return isinstance(value, type) and value.__module__ == function.__globals__.get("__name__")


def _used(function: FunctionType, owner: type | None) -> Iterator[tuple[str, Any]]:
    """Yield the names that a function uses of its module and its class, and their values.

    Names that it sets do not count.
    """
    loaded, stored = _names(function.__code__)
    for name in sorted(loaded - stored):
        if name in function.__globals__:
            yield name, function.__globals__[name]
        elif owner is not None:
            yield name, inspect.getattr_static(owner, name, inspect.Parameter.empty)


@functools.lru_cache(maxsize=_KEPT)
def _names(code: CodeType) -> tuple[set[str], set[str]]:
    loaded: set[str] = {name for name in code.co_names if not name.startswith("__")}
    stored = {one.argval for one in dis.get_instructions(code) if one.opname == "STORE_GLOBAL"}
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            more = _names(inner)
            loaded, stored = loaded | more[0], stored | more[1]
    return loaded, stored


def _enclosed(function: FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield name, cell.cell_contents
        except ValueError:  # the variable is not set yet
            continue


@functools.lru_cache(maxsize=_KEPT)
def _code(code: CodeType) -> list[str]:
    """Returns the content of a function, without its place in the file."""
    told = [f"{code.co_argcount} {code.co_posonlyargcount} {code.co_kwonlyargcount} {code.co_exceptiontable.hex()}"]
    for one in dis.get_instructions(code):
        if one.opname == "STORE_NAME" and one.argval in _UNTOLD:
            told.pop()
        elif isinstance(one.argval, CodeType):
            told.append("\0".join(_code(one.argval)))
        else:
            told.append(f"{one.opname} {_stable(one.argval)}")
    return told


def _plain_text(name: str, value: Any) -> Iterator[str]:
    if _is_plain(value):
        yield f"{name}={_stable(value)}"


def _is_plain(value: Any) -> bool:
    return type(value) in _PLAIN or (isinstance(value, (tuple, frozenset)) and all(map(_is_plain, value)))  # pyright: ignore[reportUnknownArgumentType] - anything


def _stable(value: Any) -> str:
    """Returns a constant as text that is the same in every process."""
    if isinstance(value, frozenset):
        return f"frozenset({sorted(map(_stable, value))})"  # pyright: ignore[reportUnknownArgumentType] - anything
    if isinstance(value, tuple):
        return f"({', '.join(map(_stable, value))})"  # pyright: ignore[reportUnknownArgumentType] - anything
    return repr(value)
