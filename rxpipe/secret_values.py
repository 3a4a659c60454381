"""Secrets: each from an environment variable, or from the file that another variable names."""

from __future__ import annotations

import os
import re
from urllib.parse import quote

from rxpipe.errors import ConfigError

FILE = "_FILE"
"""Suffix of a variable that names a file: ``NAME_FILE`` names the file with the value of ``NAME``."""

_LARGEST = 1 << 16  # bytes of a file; a secret has a few dozen
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def secret(name: str) -> str | None:
    """Returns the value of a variable, or the content of the file that ``NAME_FILE`` names.

    The variable takes precedence. Blanks around the secret are removed.

    Args:
        name: The variable.

    Returns:
        The secret. None if neither variable is set, or if the secret is blank.

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
    """Returns a URL with each ``${NAME}`` replaced by a secret.

    A secret that is the whole URL is used unchanged. In a part of a URL, its special characters are escaped.

    Raises:
        ConfigError: A secret is missing or cannot be read.
    """
    if whole := _VARIABLE.fullmatch(url):
        return _needed(whole[1]).replace("${", "%24%7B")  # the result is not filled again
    return _VARIABLE.sub(lambda found: quote(_needed(found[1]), safe=""), url)


def _needed(name: str) -> str:
    found = secret(name)
    if found is None:
        raise ConfigError(f"neither the environment variable {name} nor {name}{FILE} is set")
    return found
