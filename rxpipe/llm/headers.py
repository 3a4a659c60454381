"""How long a server asks to wait, from its reply's headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST = 86_400.0  # seconds: what is longer is a time, or a mistake
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds to wait before another call.

    From ``retry-after-ms``; else ``Retry-After``, in seconds or as a date (RFC 9110, 10.2.3); else from
    ``x-ratelimit-reset-requests`` and ``-tokens``, of those of which nothing remains, or nobody knows.

    Args:
        headers: Of the reply; names are looked up in lower case.
        now: The time, where a date is compared with it.

    Returns:
        None if the server does not say, or a time that is over or more than a day away.
    """
    for found in (_milliseconds(headers), _seconds_or_date(headers, now), _resets(headers)):
        if found is not None and 0 < found <= _LONGEST:
            return found
    return None


def seconds_of(text: str) -> float | None:
    """A duration like ``6m0s``, ``1.5s``, ``20ms`` or ``3`` (seconds); None if it is none."""
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
    """The longest time until a limit that is used up starts anew; else one of which nobody says what remains."""
    waits: dict[float | None, list[float]] = {}  # by what remains
    for limit in ("requests", "tokens"):
        reset = seconds_of(headers.get(f"x-ratelimit-reset-{limit}", ""))
        if reset is not None:
            waits.setdefault(_number(headers.get(f"x-ratelimit-remaining-{limit}")), []).append(reset)
    return max(waits.get(0.0) or waits.get(None) or (), default=None)
