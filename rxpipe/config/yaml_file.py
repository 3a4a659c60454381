"""Reads YAML files as plain data, with the line of every key. Every failure becomes one clear `ConfigError`.

The reader accepts the same files as ``yaml.safe_load``, except that a repeated key is an error. PyYAML would silently
use the last value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.reader import ReaderError

from rxpipe.config.error_texts import Loc, Problem, dotted
from rxpipe.errors import ConfigError

_BREAK = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")


@dataclass(frozen=True, kw_only=True)
class Document:
    """The content of a YAML file.

    Attributes:
        name: The file, as the user named it.
        data: The file's plain data; None if the file is empty.
        root: The tree that the data were made of, which knows the lines; None if the file is empty.
    """

    name: str
    data: Any
    root: yaml.Node | None

    def line(self, loc: Loc) -> int | None:
        """Returns the line of a key, or of the nearest section around it in the file."""
        node = self.root
        line = node.start_mark.line + 1 if node and node.start_mark else None
        for part in loc:
            child = _child(node, part)
            if child is None:
                break
            mark, node = child
            line = mark.line + 1
        return line

    def error(self, problems: list[Problem]) -> ConfigError:
        """Returns all problems of a file as one error: a line each, in the order of the file."""
        placed = sorted(((self.line(loc) or 0, dotted(loc), text) for loc, text in problems), key=lambda p: p[0])
        return ConfigError("\n".join(_placed(self.name, line, key, text) for line, key, text in placed))


def read_yaml(path: Path) -> Document:
    """Read one YAML document in UTF-8.

    Raises:
        ConfigError: The file cannot be read, is not UTF-8 or not YAML, or has a repeated key.
    """
    name = str(path)
    text = _decoded(name, read_bytes(path))
    try:
        loader: Any = _Loader(text)
        root = loader.get_single_node()
        repeats = [] if root is None else list(_repeated_keys(root))
        if repeats:
            raise Document(name=name, data=None, root=root).error(repeats)
        data = None if root is None else loader.construct_document(root)
    except ReaderError as error:
        place = _place(text, error.position)
        raise ConfigError(f"{name}, {place}: a character that YAML forbids, U+{error.character:04X}") from None
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{name}, {_syntax(text, error)}") from None
    except RecursionError:
        raise ConfigError(f"{name}: nested too deeply to be read; allowed: a few levels") from None
    return Document(name=name, data=data, root=root)


def read_bytes(path: Path) -> bytes:
    """Returns the file's bytes. A `ConfigError` names a file that cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: a directory; allowed: a file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # a NUL in the path
        raise ConfigError(f"{str(path)!r}: not a path: {error}") from None


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, but errors in scalars say their place."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)  # pyright: ignore[reportUnknownMemberType] - stub
        # Errors of PyYAML's int(), date() and look-ups for `!!int x`, 2024-99-99 and `!!bool x`.
        except (ValueError, LookupError, AttributeError, TypeError, OverflowError):
            problem = f"{str(node.value)[:40]!r} cannot be read as {_tag(node.tag)}"
            raise ConstructorError(None, None, problem, node.start_mark) from None


def _repeated_keys(root: yaml.Node) -> Iterator[Problem]:
    """Yields the repeated keys. Visits each node once, however many aliases lead to it, and without recursion."""
    waiting: list[tuple[yaml.Node, Loc]] = [(root, ())]
    known: set[int] = set()
    while waiting:
        node, loc = waiting.pop()
        if id(node) in known:
            continue
        known.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting.extend((child, (*loc, index)) for index, child in enumerate(node.value))
        elif isinstance(node, yaml.MappingNode):
            lines: dict[tuple[str, str], int] = {}
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    continue
                line, inner = key.start_mark.line + 1, (*loc, key.value)
                first = lines.get((key.tag, key.value))
                if first is not None:
                    yield Problem(inner, f"given twice, on line {first} and on line {line}; allowed: once")
                lines[key.tag, key.value] = line
                waiting.append((value, inner))


def _child(node: yaml.Node | None, part: str | int) -> tuple[Any, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark, node.value[part]
    if isinstance(node, yaml.MappingNode):
        # From the back: a mapping's own keys stand behind the merged keys, and win.
        for key, value in reversed(node.value):
            if isinstance(key, yaml.ScalarNode) and key.value == str(part):
                return key.start_mark, value
    return None


def _decoded(name: str, raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{name}, line {line}: not UTF-8 (byte 0x{raw[error.start]:02x}); allowed: UTF-8 text"
        ) from None


def _syntax(text: str, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    written = _BREAK.split(text)[line] if mark else ""
    place = f"line {line + 1}, column {column + 1}"
    if written[column : column + 1] == "\t":
        return f"{place}: a tab; YAML forbids tabs for indentation: use spaces"
    problem = error.problem or "unreadable"
    if "could not determine a constructor" in problem:
        tag = problem.rpartition("tag ")[2].strip("'")
        return f"{place}: the tag {_tag(tag)} is not allowed; allowed: plain data without tags"
    return f"{place}: not valid YAML: " + (f"{error.context}, {problem}" if error.context else problem)


def _tag(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")


def _placed(name: str, line: int, key: str, text: str) -> str:
    return ": ".join(part for part in (f"{name}, line {line}" if line else name, key, text) if part)


def _place(text: str, position: int) -> str:
    lines = _BREAK.split(text[:position])
    return f"line {len(lines)}, column {len(lines[-1]) + 1}"
