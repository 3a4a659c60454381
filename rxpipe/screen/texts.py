"""Numbers, durations and foreign text as the screen shows them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # this module is needed for --help, which must be fast
    from rxpipe.insight.interval import Interval
    from rxpipe.operators.core.running_call import Usage


def number(value: float) -> str:
    """Returns a count: ``1,000``."""
    return f"{int(value):,}"


def tokens(count: float) -> str:
    """Returns a count of tokens: ``12,345``, from a million on ``1.2M``."""
    return number(count) if count < 1_000_000 else f"{count / 1_000_000:,.1f}M"


def cost(amount: float) -> str:
    """Returns a cost with two decimals, or two figures if the cost is small: ``12.30``, ``0.42``, ``0.0042``."""
    if not 0 < amount < 0.1:
        return f"{amount:,.2f}" if amount else "0"
    return f"{amount:.{1 - math.floor(math.log10(amount))}f}"


def used(usage: Usage) -> str:
    """Returns the usage of calls in words: ``1,234 prompt and 567 completion tokens, cost 0.42``."""
    parts = [f"{tokens(usage.prompt_tokens)} prompt and {tokens(usage.completion_tokens)} completion tokens"]
    if usage.cost:
        parts.append(f"cost {cost(usage.cost)}")
    return ", ".join(parts if usage.tokens else parts[1:])


def cost_unit(usage: Usage) -> str:
    """Returns a text to put behind costs, which are in the currency of the prices."""
    return " (in the currency of your prices)" if usage.cost else ""


def per_second(rate: float | None) -> str:
    """Returns a rate in about three figures: ``0.25``, ``12.5``, ``1,234``, ``0``; ``-`` if the rate is unknown."""
    if rate is None:
        return "-"
    if rate >= 99.95 or rate == 0:
        return f"{rate:,.0f}"
    return f"{rate:.1f}" if rate >= 0.995 else f"{rate:.2f}"


def duration(seconds: float | None) -> str:
    """Returns a short time in about three figures: ``12.1 s``, ``0.18 s``, ``42 ms``; ``-`` if unknown."""
    if seconds is None:
        return "-"
    if seconds >= 9.995:
        return f"{seconds:,.1f} s"
    if seconds >= 0.0995:
        return f"{seconds:.2f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.0095 else f"{seconds * 1000:.1f} ms"


def clock(seconds: float) -> str:
    """Returns a time as a clock shows it: ``0:05``, ``12:34``, ``1:02:03``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def about(seconds: Interval, what: str = "") -> str:
    """Returns an inexact time: ``about 40 s (30 to 55)``, ``about 3 min left (2.4 to 4)``."""
    unit, name = next(one for one in _UNITS if seconds.middle < one[2])[:2]
    low, middle, high = (_two_figures(one / unit) for one in (seconds.low, seconds.middle, seconds.high))
    return f"about {middle} {name}{what}" + ("" if low == high else f" ({low} to {high})")


_UNITS = ((1, "s", 90), (60, "min", 90 * 60), (3600, "h", 48 * 3600), (86_400, "days", math.inf))


def _two_figures(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0") if value < 9.95 else f"{value:.0f}"


def plural(count: int, noun: str, nouns: str = "") -> str:
    """Returns a count and its noun: ``1 item``, ``2,000 items``. ``nouns`` is the plural, if not ``noun`` with an s."""
    return f"{number(count)} {noun if count == 1 else nouns or noun + 's'}"


def screen_text(text: str) -> str:
    """Escape foreign text for a terminal: escape sequences and control characters, except line ends and tabs."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in "\n\t" else _escaped(ord(one)) for one in text)


def cell_text(text: object, most: int | None = None) -> str:
    """Returns foreign text on one line of a screen, cut to ``most`` characters."""
    shown = screen_text(str(text)).replace("\n", "\\n").replace("\t", "\\t")
    return shown if most is None or len(shown) <= most else shown[: most - 1] + "…"


def _escaped(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
