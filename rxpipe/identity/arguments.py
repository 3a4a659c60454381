"""What arguments a function takes."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any


def signature_of(call: Callable[..., Any]) -> inspect.Signature | None:
    """A function's signature; None if it tells nothing, as some builtin functions.

    Since Python 3.14 annotations stay text: evaluating them fails at a name that is imported for type checkers alone.
    """
    options: dict[str, Any] = {}
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        options["annotation_format"] = Format.STRING
    try:
        return inspect.signature(call, **options)
    except (TypeError, ValueError):
        return None
