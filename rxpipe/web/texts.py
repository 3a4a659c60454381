"""Prepares texts for the page: masks secrets, and cuts long texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

MASK = "•••"
_AHEAD = 4_096  # characters searched after a cut: a secret across the cut must not show its first half
_SHORTEST = 8  # characters of a known secret: a shorter one may be any word

_URL = re.compile(r"""(://[^\s/@:"'<>]{0,200}:)([^\s/"'<>]{1,400})@""")
# Each pattern takes time in proportion to the text: no part after a repetition can fail.
_NAMED = re.compile(
    r"""(?ix) (\b(?: api[_-]?key | (?:access|auth|refresh|client)[_-]?(?:token|secret) | password | passwd | secret )
    ["']? \s{0,3} [:=] \s{0,3} ["']?) [^\s"',;&<>]{6,}"""
)
_SCHEME = re.compile(r"(?i)\b(bearer|basic)( {1,3})[a-z0-9._~+/=-]{8,}")
_KEYS = re.compile(
    r"""(?x) \b(?: (?:sk|pk|rk)-[A-Za-z0-9_-]{16,} | AKIA[0-9A-Z]{16} | gh[pousr]_[A-Za-z0-9]{20,}
    | github_pat_[A-Za-z0-9_]{20,} | AIza[A-Za-z0-9_-]{30,} | xox[abprs]-[A-Za-z0-9-]{10,} | hf_[A-Za-z0-9]{20,}
    | eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,} )"""
)
_SECRET_NAME = re.compile(r"(?i)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD)$")


class Redactor:
    """Masks secrets in texts: passwords in URLs, keys of well-known forms, and known secrets.

    A secret that is not known and has no known form is not masked. So masking is a second line of defence, and no
    reason to log secrets.
    """

    def __init__(self, known: Iterable[str] = ()) -> None:
        """Creates a redactor.

        Args:
            known: The secrets of this process. Secrets with fewer than 8 characters are ignored.
        """
        longest_first = sorted({one for one in known if len(one) >= _SHORTEST}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, text: str) -> str:
        """Returns the text with each secret masked."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        text = _URL.sub(rf"\1{MASK}@", text)
        text = _SCHEME.sub(rf"\1\2{MASK}", text)
        text = _NAMED.sub(rf"\1{MASK}", text)
        return _KEYS.sub(MASK, text)

    def cut(self, text: str, most: int) -> str:
        """Returns the first ``most`` characters with secrets masked, and an ellipsis if there are more."""
        if len(text) <= most:
            return self(text)
        return f"{self(text[: most + _AHEAD])[:most]}…"


def secrets_in(environment: Mapping[str, str]) -> list[str]:
    """Returns the values of variables with names like secrets, and the passwords in URLs."""
    found = [value for name, value in environment.items() if _SECRET_NAME.search(name)]
    return [*found, *(match[2] for value in environment.values() for match in _URL.finditer(value))]
