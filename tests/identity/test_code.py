"""Whether a function was edited, as its hash tells."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rxpipe.identity.code import code_hash, have_changed

MODULE = '''
"""A module."""
import dataclasses
import functools

PROMPT = "Say {word}"
LIMITS = (1, {"a", "b"} and 2)
calls = 0
cache = {}


@dataclasses.dataclass
class Answer:
    text: str

    def better(self):
        return self.text.strip()


def helper(value):
    return value + 1


def noted(function):
    @functools.wraps(function)
    def wrapper(value):
        return function(value)
    return wrapper


class Grader:
    """It grades."""
    least = 3

    def __init__(self, name):
        self.name = name

    def __call__(self, value):
        return self.grade(value)

    def grade(self, value):
        return max(value, 3)


@noted
def work(value):
    """Does it."""
    # a comment
    global calls
    calls += 1
    try:
        found = [helper(one) for one in value if one in {"x", "y", "z"}]
    except ValueError:
        return Answer(PROMPT.format(word=value)).better()

    class Inner:
        """A class in a function."""
        kind = "a"

    return (lambda one, *, by=LIMITS: (one, Inner.kind, by))(found)


async def later(value, by="model-1"):
    return value, by
'''


def loaded(text: str = MODULE, name: str = "a_module") -> ModuleType:
    """A module of that text."""
    module = ModuleType(name)
    exec(compile(text, f"{name}.py", "exec", dont_inherit=True), module.__dict__)
    return module


def hashed(text: str = MODULE, pick: Callable[[ModuleType], Any] = lambda module: module.work) -> str:
    """The hash of a function of a module of that text."""
    found = code_hash(pick(loaded(text)))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a comment", "# another comment\n\n"),
        ('"""Does it."""', '"""Does it, and says so."""'),
        ('    """Does it."""\n', ""),
        ('        """A class in a function."""\n', '\n        """It has other words, further down."""\n'),
        ('"""A module."""', "\n\n\n\n"),
        ('found = [helper(one) for one in value if one in {"x", "y", "z"}]', "found = [  # so\n            "
         'helper(one) for one in value if one in {"z", "y", "x"}\n        ]'),
        ("least = 3", "least = 4"),
        ("cache = {}", "cache = {1: 2}"),
        ("calls = 0", "calls = 5"),
    ],
)  # fmt: skip
def test_what_does_nothing_is_no_change(old: str, new: str) -> None:
    """Comments, docstrings, lines, the order of a set; what the function does not use, or sets itself."""
    assert old in MODULE
    assert hashed(MODULE.replace(old, new)) == hashed()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return (lambda one", "return found, (lambda one"),
        ('"Say {word}"', '"Shout {word}"'),
        ("LIMITS = (1,", "LIMITS = (7,"),
        ("return value + 1", "return value + 2"),
        ("self.text.strip()", "self.text.lower()"),
        ('"x", "y"', '"x", "ö"'),
        ('kind = "a"', 'kind = "b"'),
        ("return function(value)", "return function(value) or 0"),
        ("except ValueError", "except KeyError"),
        ("one, *, by=LIMITS", "one, by=LIMITS"),
    ],
)
def test_what_it_does_is_a_change(old: str, new: str) -> None:
    """Also of what it uses of its module: functions, methods, constants; and of what is wrapped around it."""
    assert old in MODULE
    assert have_changed(hashed(), hashed(MODULE.replace(old, new)))


PICKS: dict[str, Callable[[ModuleType], Any]] = {
    "object": lambda module: module.Grader("a"),
    "method": lambda module: module.Grader("a").grade,
    "partial": lambda module: functools.partial(module.Grader("a"), 1),
    "class": lambda module: module.Grader,
}


@pytest.mark.parametrize("pick", PICKS.values(), ids=PICKS)
def test_objects_and_methods(pick: Callable[[ModuleType], Any]) -> None:
    """They count as their function or class, whatever they hold."""
    assert hashed(pick=pick) == hashed(pick=pick)
    assert hashed(MODULE.replace("def __init__", "# moved\n\n    def __init__"), pick) == hashed(pick=pick)
    assert have_changed(hashed(pick=pick), hashed(MODULE.replace("max(value, 3)", "max(value, 4)"), pick))


def test_coroutine_functions_and_defaults() -> None:
    """A default is part of what a function does."""

    def later(module: ModuleType) -> Any:
        return module.later

    assert hashed(pick=later) == hashed(MODULE.replace("model-1", "model-1"), later)
    assert have_changed(hashed(pick=later), hashed(MODULE.replace("model-1", "model-2"), later))


def test_what_has_no_code() -> None:
    """A builtin function has no hash, and nothing can be said about it."""
    assert code_hash(len) is None
    assert code_hash(str) is None
    assert code_hash(functools.partial(print, "so")) is None


def test_other_versions_of_python_are_not_compared() -> None:
    """They compile differently."""
    assert not have_changed("cpython-311 aa", "cpython-312 bb")
    assert not have_changed(None, "cpython-312 bb")
    assert not have_changed("cpython-312 bb", None)
    assert have_changed("cpython-312 aa", "cpython-312 bb")


@pytest.mark.slow
def test_every_process_has_the_same_hash(tmp_path: Path) -> None:
    """Whatever the order of sets there, and though one imports the file and another runs it."""
    (tmp_path / "a_module.py").write_text(MODULE, encoding="utf-8")
    told = "from rxpipe.identity.code import code_hash; print(code_hash({}))"
    (tmp_path / "script.py").write_text(f"{MODULE}\n{told.format('work')}", encoding="utf-8")
    imported = "import a_module; " + told.format("a_module.work")
    ways = [("-c", imported), ("script.py",)]
    found = {
        subprocess.run(
            [sys.executable, *way],
            cwd=tmp_path,
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for way in ways
        for seed in ("1", "2")
    }
    assert found == {f"{hashed()}\n"}
