"""Finds the function that a config names as ``module:function``."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from rxpipe.config.error_texts import given, near
from rxpipe.errors import ConfigError
from rxpipe.operators.errors import describe

_FORM = "module:function, like my_stages:generate, with dots for packages and attributes"


def resolve(target: str, beside: Path | None = None, *, where: str = "") -> Callable[..., Any]:
    """Import a module, and return the function that the target names.

    A module in the folder ``beside`` wins over an installed module of the same name. For that the folder is put at the
    front of ``sys.path``, if the module is in it. The folder stays there, as a script's own folder does when Python
    runs the script: functions may import their neighbours when they are called, and process pools import their module
    again.

    If a module of the same name from elsewhere is loaded already, either choice would surprise somebody, so that is an
    error.

    Args:
        target: ``module:function``; both may be dotted, as in ``package.module:Class.method``.
        beside: The folder where modules are looked for first, usually the config file's.
        where: The file and key that name the function. Errors begin with this text.

    Raises:
        ConfigError: The target is malformed, its module is missing or fails, or the module has no such function.
    """
    start = f"{where}: " if where else ""
    module_name, _, attributes = target.partition(":")
    if not (_is_dotted(module_name) and _is_dotted(attributes)):
        raise ConfigError(start + given(target, _FORM))
    start += f"{target}: "
    # The finders keep listings of folders, which lack a module that was just written.
    importlib.invalidate_caches()
    if beside is not None:
        _put_first(start, module_name.partition(".")[0], beside.absolute())
    return _attribute(start, _import(start, module_name, beside), attributes, beside)


def describe_raised(error: BaseException, folder: Path | None) -> str:
    """Describe an error of a user's code and its place in one line: ``ValueError: text (/app/stages.py, line 3)``.

    The place is the last line that ran in a file of ``folder``, as a library's error is mostly caused by its caller.
    Without such a line, the place is the last line that ran in the file where the user's code began.

    Args:
        error: The error, caught in the function that called the user's code.
        folder: The folder of the user's own files.
    """
    text = " ".join(describe(error).split())
    if isinstance(error, SyntaxError) and error.filename and not error.filename.startswith("<"):
        return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    machinery = (
        importlib.__file__,
        "<frozen importlib._bootstrap>",
        "<frozen importlib._bootstrap_external>",
    )
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)[1:] if frame.filename not in machinery]
    own = [frame for frame in frames if _is_own(frame.filename, folder)]
    own = own or [frame for frame in frames if frame.filename == frames[0].filename]
    return f"{text} ({own[-1].filename}, line {own[-1].lineno})" if own else text


def _put_first(start: str, name: str, folder: Path) -> None:
    """Put the folder at the front of ``sys.path``, if a module or package of this name is in it."""
    spec = PathFinder.find_spec(name, [str(folder)])
    if spec is None:
        return
    loaded = sys.modules.get(name)
    if loaded is not None and spec.origin is not None:  # a plain folder has no origin, and never wins over a module
        origin = getattr(loaded.__spec__, "origin", None) or getattr(loaded, "__file__", None) or "elsewhere"
        if os.path.realpath(origin) != os.path.realpath(spec.origin):
            raise ConfigError(
                f"{start}the module {name!r} of {spec.origin} cannot be imported, as another of that name "
                f"is loaded already, from {origin}; give yours a name of its own"
            )
    sys.path[:] = [str(folder), *(entry for entry in sys.path if entry != str(folder))]


def _import(start: str, name: str, beside: Path | None) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise ConfigError(start + _missing(name, error.name, beside)) from None
        raised = describe_raised(error, beside)
        raise ConfigError(f"{start}the module {name!r} was found, but imports what is missing: {raised}") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a module may raise anything, or call sys.exit()
        raised = describe_raised(error, beside)
        raise ConfigError(f"{start}the module {name!r} was found, but importing it raised {raised}") from None


def _missing(name: str, missing: str, beside: Path | None) -> str:
    if name.endswith(".py"):
        return f"no module {name!r}; did you mean {name.removesuffix('.py')!r}? allowed: {_FORM}"
    package, _, last = missing.rpartition(".")
    if package:
        path = list(getattr(sys.modules.get(package), "__path__", ()))
        where = f"in the package {package!r}" if path else f"in {package!r}, which is no package"
    else:
        path = [str(beside)] if beside else []
        where = f"in {beside} or among the installed ones" if beside else "among the installed ones"
    hint = near(last, [found.name for found in pkgutil.iter_modules(path)])
    return f"no module {missing!r} {where}{hint or ';'} allowed: {_FORM}"


def _attribute(start: str, module: ModuleType, attributes: str, beside: Path | None) -> Callable[..., Any]:
    found: Any = module
    owner = f"the module {module.__name__!r}"
    for name in attributes.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            names = [known for known in dir(found) if not known.startswith("__")]
            hint = near(name, names) or f"; it has {', '.join(names[:10]) or 'nothing'};"
            raise ConfigError(f"{start}{owner} has no {name!r}{hint} allowed: {_FORM}") from None
        except Exception as error:  # noqa: BLE001 - a module's __getattr__ may raise anything
            raise ConfigError(f"{start}{owner} raised {describe_raised(error, beside)}") from None
        owner = repr(name)
    if not callable(found):
        raise ConfigError(f"{start}it is of type {type(found).__name__}; allowed: something that can be called")
    return found  # type: ignore[no-any-return]


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _is_own(filename: str, folder: Path | None) -> bool:
    """Returns True if a file is in the folder, and not in a virtual environment in the folder."""
    if folder is None:
        return False
    inside = os.path.realpath(filename).startswith(os.path.join(os.path.realpath(folder), ""))
    return inside and "site-packages" not in filename
