"""The arguments that a function takes."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any


def signature_of(call: Callable[..., Any]) -> inspect.Signature | None:
    """Returns a function's signature; None if it is unknown, as for some builtin functions.

    From Python 3.14 on, annotations stay text. Evaluating them would fail at names that are imported for type checkers
    only.
    """
    options: dict[str, Any] = {}
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        options["annotation_format"] = Format.STRING
    try:
        return inspect.signature(call, **options)
    except (TypeError, ValueError):
        return None
