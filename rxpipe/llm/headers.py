"""Reads from a reply's headers how long a server asks to wait."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST = 86_400.0  # seconds; a larger number is a point in time, or a mistake
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Returns the seconds to wait before another call.

    The sources, in this order:

    1. ``retry-after-ms``
    2. ``Retry-After``, in seconds or as a date (RFC 9110, 10.2.3)
    3. ``x-ratelimit-reset-requests`` and ``-tokens``: of a limit with nothing remaining, or else of a limit whose
       remaining number is unknown

    Args:
        headers: The reply's headers. Names are looked up in lower case.
        now: The time to compare a date with; the current time by default.

    Returns:
        The seconds, or None if the server does not say, or says a time in the past or more than a day away.
    """
    for found in (_milliseconds(headers), _seconds_or_date(headers, now), _resets(headers)):
        if found is not None and 0 < found <= _LONGEST:
            return found
    return None


def seconds_of(text: str) -> float | None:
    """Returns the seconds of a duration like ``6m0s``, ``1.5s``, ``20ms`` or ``3`` (seconds); None for other text."""
    text = text.strip()
    number = _number(text)
    if number is not None:
        return number
    parts = _DURATION.findall(text)
    if not parts or "".join(map("".join, parts)) != text:
        return None
    return sum(float(amount) * _UNITS[unit] for amount, unit in parts)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def _milliseconds(headers: Mapping[str, str]) -> float | None:
    number = _number(headers.get("retry-after-ms"))
    return None if number is None else number / 1000


def _seconds_or_date(headers: Mapping[str, str], now: datetime | None) -> float | None:
    text = headers.get("retry-after")
    if text is None:
        return None
    if (number := _number(text)) is not None:
        return number
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return seconds_of(text)
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return (date - (now or datetime.now(UTC))).total_seconds()


def _resets(headers: Mapping[str, str]) -> float | None:
    """Returns the longest time until a used-up limit starts anew, else that of a limit whose rest is unknown."""
    waits: dict[float | None, list[float]] = {}  # by the remaining number
    for limit in ("requests", "tokens"):
        reset = seconds_of(headers.get(f"x-ratelimit-reset-{limit}", ""))
        if reset is not None:
            waits.setdefault(_number(headers.get(f"x-ratelimit-remaining-{limit}")), []).append(reset)
    return max(waits.get(0.0) or waits.get(None) or (), default=None)
