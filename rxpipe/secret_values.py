"""Secrets: each from an environment variable, or from the file that another variable names."""

from __future__ import annotations

import os
import re
from urllib.parse import quote

from rxpipe.errors import ConfigError

FILE = "_FILE"
"""``NAME_FILE`` names the file that has what ``NAME`` would have."""

_LARGEST = 1 << 16  # bytes of a file; a secret has a few dozen
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def secret(name: str) -> str | None:
    """Return the value of a variable, or the content of the file that ``NAME_FILE`` names.

    The variable goes first. Blanks around a file's content do not count.

    Args:
        name: The variable.

    Returns:
        The secret; None if neither variable is set, or if it is blank.

    Raises:
        ConfigError: The file cannot be read.
    """
    value = os.environ.get(name, "").strip()
    path = os.environ.get(name + FILE, "")
    if value or not path:
        return value or None
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(_LARGEST).strip() or None
    except OSError as error:
        raise ConfigError(f"the file that {name}{FILE} names cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"the file that {name}{FILE} names is no text in UTF-8") from None


def filled(url: str) -> str:
    """Return a URL with secrets for the ``${NAME}`` in it.

    A secret that is the whole URL is taken as it is. In a part of a URL its special characters are escaped.

    Raises:
        ConfigError: A secret is not there, or cannot be read.
    """
    if whole := _VARIABLE.fullmatch(url):
        return _needed(whole[1]).replace("${", "%24%7B")  # is not filled once more
    return _VARIABLE.sub(lambda found: quote(_needed(found[1]), safe=""), url)


def _needed(name: str) -> str:
    found = secret(name)
    if found is None:
        raise ConfigError(f"neither the environment variable {name} nor {name}{FILE} is set")
    return found
