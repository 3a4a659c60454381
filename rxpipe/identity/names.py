"""The name of a pipeline: from the user, or from the file that makes the pipeline."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

LONGEST = 255  # characters
_NO_FILE = "pipeline"  # in a notebook or at a prompt
_IN_PACKAGES = ("__main__", "__init__")


class DefaultName(str):
    """A name that does not come from the user.

    Attributes:
        origin: The path behind the name. It distinguishes two files of the same name.
    """

    origin: str

    @classmethod
    def of_file(cls, path: str | os.PathLike[str]) -> DefaultName:
        """Returns the name of a file without its ending; for a package's ``__main__.py``, the name of the package."""
        whole = Path(os.path.abspath(path))
        stem = whole.parent.name if whole.stem in _IN_PACKAGES else whole.stem
        name = cls(_plain(stem) or _NO_FILE)
        name.origin = str(whole)
        return name

    @classmethod
    def of_caller(cls) -> DefaultName:
        """Returns the name of the file whose code called rxpipe."""
        frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage] - what inspect.currentframe() calls
        while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "rxpipe":
            frame = frame.f_back
        file = frame.f_globals.get("__file__")
        return cls.of_file(file if isinstance(file, str) else Path(_NO_FILE))


def file_name(name: str) -> str:
    """Returns a pipeline's name as part of a file's name."""
    return _plain(name)[:60]


def _plain(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text)[:LONGEST]


def checked(name: str) -> str:
    """Returns a name from the user, after checks.

    Raises:
        TypeError: The name is no text.
        ValueError: The name is empty, too long, or contains characters that cannot be printed on one line.
    """
    # Not every user checks types.
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"the name of a pipeline must be text, not {name!r}")
    if not name.strip() or len(name) > LONGEST or not name.isprintable():
        raise ValueError(f"the name of a pipeline must be text of 1 to {LONGEST} characters on one line, not {name!r}")
    return name
