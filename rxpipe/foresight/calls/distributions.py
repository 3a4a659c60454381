"""Named distributions of seconds: how long calls take, in the form that users write.

::

    parse_distribution("lognormal(median=2.1, p95=6)").at(0.5)  # 2.1

| text | seconds |
|---|---|
| ``0.3``, ``constant(0.3)`` | always the same |
| ``0.1-0.5``, ``uniform(0.1, 0.5)`` | any value in the range, all equally likely |
| ``exponential(mean=2)`` | mostly short, sometimes several times the mean |
| ``lognormal(median=2.1, p95=6)`` | a heavy tail: half of all are below the median, 95% below the p95 |
| ``empirical(FILE)`` | values from a file, one per line or as a JSON list |
"""

from __future__ import annotations

import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import Any, NamedTuple, cast

from rxpipe.errors import ConfigError

_MOST = 1e9  # seconds: about 30 years
_WIDEST = 1e6  # the largest ratio of a p95 to its median
_NUMBER = r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+"
_P95 = NormalDist().inv_cdf(0.95)


class Distribution(ABC):
    """A distribution of seconds. It is immutable, and equals any distribution of the same kind with equal parameters.

    The caller provides the random numbers: ``distribution.at(random.random())``. So the same random numbers give
    comparable draws from different distributions.
    """

    __slots__ = ()

    @abstractmethod
    def at(self, share: float) -> float:
        """Returns the quantile: the seconds below which this share of all draws lies.

        Args:
            share: Above 0 and below 1.
        """

    @property
    @abstractmethod
    def mean(self) -> float:
        """The mean in seconds."""

    @property
    @abstractmethod
    def text(self) -> str:
        """The text from which ``parse_distribution`` makes an equal value."""


@dataclass(frozen=True, slots=True)
class Constant(Distribution):
    """A distribution whose seconds are always the same.

    Attributes:
        seconds: The seconds, 0 or more.
    """

    seconds: float

    def __post_init__(self) -> None:
        _check("constant", seconds=self.seconds)

    def at(self, share: float) -> float:  # noqa: D102 - as described above
        return self.seconds

    @property
    def mean(self) -> float:  # noqa: D102
        return self.seconds

    @property
    def text(self) -> str:  # noqa: D102
        return f"constant({_plain(self.seconds)})"


@dataclass(frozen=True, slots=True)
class Uniform(Distribution):
    """A distribution over a range, with all values equally likely.

    Attributes:
        low: The lowest seconds, 0 or more.
        high: The highest seconds, at least ``low``.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        _check("uniform", low=self.low, high=self.high)
        if self.high < self.low:
            raise ConfigError(f"uniform: high is {self.high:g}; allowed: {self.low:g} or more, which is its low")

    def at(self, share: float) -> float:  # noqa: D102
        return self.low + (self.high - self.low) * share

    @property
    def mean(self) -> float:  # noqa: D102
        return (self.low + self.high) / 2

    @property
    def text(self) -> str:  # noqa: D102
        return f"uniform({_plain(self.low)}, {_plain(self.high)})"


@dataclass(frozen=True, slots=True)
class Exponential(Distribution):
    """A distribution of mostly short times that are sometimes several times the mean.

    Attributes:
        mean: The mean in seconds, above 0.
    """

    mean: float  # pyright: ignore[reportIncompatibleMethodOverride] - a field that is frozen reads like a property

    def __post_init__(self) -> None:
        _check("exponential", mean=self.mean)
        _above_zero("exponential", mean=self.mean)

    def at(self, share: float) -> float:  # noqa: D102
        return -self.mean * math.log1p(-share)

    @property
    def text(self) -> str:  # noqa: D102
        return f"exponential(mean={_plain(self.mean)})"


@dataclass(frozen=True, slots=True)
class Lognormal(Distribution):
    """A distribution with a heavy tail, like the times of most services.

    Attributes:
        median: The seconds below which half of all draws lie; above 0.
        p95: The seconds below which 95% of all draws lie; above ``median``.
    """

    median: float
    p95: float
    _logarithms: NormalDist = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check("lognormal", median=self.median, p95=self.p95)
        _above_zero("lognormal", median=self.median)
        if not self.median < self.p95 <= self.median * _WIDEST:
            allowed = f"more than its median, {self.median:g}, and at most {_WIDEST:,.0f} times that"
            raise ConfigError(f"lognormal: p95 is {self.p95:g}; allowed: {allowed}")
        sigma = (math.log(self.p95) - math.log(self.median)) / _P95
        object.__setattr__(self, "_logarithms", NormalDist(math.log(self.median), sigma))

    def at(self, share: float) -> float:  # noqa: D102
        return math.exp(self._logarithms.inv_cdf(share))

    @property
    def mean(self) -> float:  # noqa: D102
        return math.exp(self._logarithms.mean + self._logarithms.variance / 2)

    @property
    def text(self) -> str:  # noqa: D102
        return f"lognormal(median={_plain(self.median)}, p95={_plain(self.p95)})"


@dataclass(frozen=True, slots=True)
class Empirical(Distribution):
    """A distribution of measured seconds, each as likely as any other.

    Attributes:
        file: The file that the values come from.
        seconds: All values, sorted; at least one.
    """

    file: str
    seconds: tuple[float, ...] = field(repr=False)

    def at(self, share: float) -> float:  # noqa: D102
        seconds = self.seconds
        return seconds[min(int(share * len(seconds)), len(seconds) - 1)]

    @property
    def mean(self) -> float:  # noqa: D102
        return math.fsum(self.seconds) / len(self.seconds)

    @property
    def text(self) -> str:  # noqa: D102
        return f"empirical({self.file})"

    @classmethod
    def read(cls, file: str) -> Empirical:
        """Reads a file with one number of seconds per line, or with a JSON list.

        Blank lines and ``#`` comments are skipped.

        Raises:
            ConfigError: The file cannot be read, has no number, or has something else; the message names the place.
        """
        try:
            text = Path(file).read_text("utf-8")
        except (OSError, UnicodeError, ValueError) as error:
            reason = (isinstance(error, OSError) and error.strerror) or "it is no UTF-8 text"
            raise ConfigError(f"empirical: cannot read {file!r}: {reason}; allowed: {_FILE}") from None
        found = _json_list(file, text) if text.lstrip().startswith("[") else _lines(file, text)
        if not found:
            raise ConfigError(f"empirical: {file!r} has no number; allowed: {_FILE}")
        return cls(file, tuple(sorted(found)))


class _Kind(NamedTuple):
    make: Callable[..., Distribution]
    parameters: tuple[str, ...]
    example: str


_KINDS = {
    "constant": _Kind(Constant, ("seconds",), "constant(0.3)"),
    "uniform": _Kind(Uniform, ("low", "high"), "uniform(0.1, 0.5)"),
    "exponential": _Kind(Exponential, ("mean",), "exponential(mean=2)"),
    "lognormal": _Kind(Lognormal, ("median", "p95"), "lognormal(median=2.1, p95=6)"),
}
_EXAMPLES = ", ".join(kind.example for kind in _KINDS.values())
_ALLOWED = f"seconds like 0.2, a range of them like 0.1-0.5, {_EXAMPLES} or empirical(FILE)"
_FILE = "a file with one number of seconds a line, or a JSON list of them"


def parse_distribution(text: str) -> Distribution:
    """Reads a distribution from its text, such as ``0.3``, ``0.1-0.5`` or ``lognormal(median=2.1, p95=6)``.

    The names of parameters are optional: ``lognormal(2.1, p95=6)``. The path in ``empirical(FILE)`` is relative to the
    current directory.

    Raises:
        ConfigError: The text is no distribution, or its parameters or its file are wrong. The message says what is
            allowed.
    """
    given = text.strip()
    if found := re.fullmatch(rf"({_NUMBER})-({_NUMBER})", given):
        return Uniform(float(found[1]), float(found[2]))
    if (seconds := _number(given)) is not None:
        return Constant(seconds)
    called = re.fullmatch(r"(\w+)\s*\((.*)\)", given, re.DOTALL)
    if called is None:
        raise ConfigError(f"{text!r} is no distribution; allowed: {_ALLOWED}")
    name, inside = called[1], called[2].strip()
    if name == "empirical":
        return Empirical.read(inside.removeprefix("file=").strip())
    if name not in _KINDS:
        raise ConfigError(f"{name!r} is no distribution; allowed: {_ALLOWED}")
    return _made(name, inside)


def _made(name: str, inside: str) -> Distribution:
    """Makes a distribution from the text between its parentheses."""
    kind = _KINDS[name]
    values: dict[str, float] = {}
    for index, part in enumerate(inside.split(",") if inside else []):
        parameter, equals, value = (one.strip() for one in part.rpartition("="))
        if not equals and index < len(kind.parameters):
            parameter = kind.parameters[index]
        if parameter not in kind.parameters or parameter in values:
            what = f"has {parameter!r} twice" if parameter in values else f"has no parameter for {part.strip()!r}"
            raise ConfigError(f"{name} {what}; allowed: {kind.example}")
        if (number := _number(value)) is None:
            raise ConfigError(f"{name}: {parameter} is {value!r}; allowed: a number of seconds, as in {kind.example}")
        values[parameter] = number
    if missing := [parameter for parameter in kind.parameters if parameter not in values]:
        raise ConfigError(f"{name} needs {' and '.join(missing)}; allowed: {kind.example}")
    return kind.make(**values)


def _number(text: str) -> float | None:
    """Returns the number in a text, which may be infinite or NaN; None if there is no number."""
    try:
        return float(text) if text.isascii() and "_" not in text else None
    except ValueError:
        return None


def _check(name: str, **parameters: float) -> None:
    for parameter, seconds in parameters.items():
        if not 0 <= seconds <= _MOST:
            raise ConfigError(f"{name}: {parameter} is {seconds:g}; allowed: seconds from 0 to {_MOST:,.0f}")


def _above_zero(name: str, **parameters: float) -> None:
    for parameter, seconds in parameters.items():
        if seconds == 0:
            raise ConfigError(f"{name}: {parameter} is 0; allowed: seconds above 0")


def _plain(seconds: float) -> str:
    """Formats a number with all of its digits: ``2`` for 2.0."""
    return repr(float(seconds)).removesuffix(".0")


def _lines(file: str, text: str) -> list[float]:
    found: list[float] = []
    for line, content in enumerate(text.splitlines(), start=1):
        if given := content.partition("#")[0].strip():
            found.append(_measured(f"line {line} of {file!r}", given, _number(given)))
    return found


def _json_list(file: str, text: str) -> list[float]:
    try:
        values = cast("list[Any]", json.loads(text))
    except (ValueError, RecursionError) as error:
        line = f", at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise ConfigError(f"empirical: {file!r} is no JSON{line}; allowed: {_FILE}") from None
    return [
        _measured(f"number {index} of {file!r}", value, value if type(value) in (int, float) else None)
        for index, value in enumerate(values, start=1)
    ]


def _measured(where: str, given: object, seconds: float | None) -> float:
    if seconds is None or not 0 <= seconds <= _MOST:
        shown = repr(given) if len(repr(given)) <= 40 else f"{repr(given)[:40]}..."
        raise ConfigError(f"empirical: {where} is {shown}; allowed: seconds from 0 to {_MOST:,.0f}")
    return float(seconds)
