"""The server's behaviour: its speed, limits and faults."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from rxpipe.errors import ConfigError
from rxpipe.foresight.calls.distributions import Constant, Distribution, Uniform

_SECONDS = {"s": 1, "m": 60, "h": 3600}
_SHARES = ("hang", "fail", "limited", "invalid", "refuse", "length")


@dataclass(frozen=True, slots=True)
class Rate:
    """A number of requests or tokens in a time.

    Attributes:
        count: How many. As many may also come at once.
        seconds: The time in seconds.
    """

    count: int
    seconds: float

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 < self.seconds < math.inf:
            raise ValueError(f"a rate is one or more in a time above 0, not {self.count} in {self.seconds} s")

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Returns the rate of a text like ``60/s``, ``600/m`` or ``9000/h``.

        Raises:
            ValueError: The text has another form.
        """
        found = re.fullmatch(r"([1-9][0-9]{0,14})/([smh])", text)
        if found is None:
            raise ValueError(f"{text!r}; allowed: a rate like 60/s, 600/m or 9000/h")
        return cls(int(found[1]), _SECONDS[found[2]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """The server's behaviour. By default it answers every call at once, and well.

    The fate of a call is drawn from the seed, the call's messages and how often they have come. So it is the same in
    whatever order calls come. The shares are from 0 to 1 and exclude each other, so their sum is at most 1.

    Attributes:
        latency: Seconds that an answer takes, or a range, or a distribution such as
            ``parse_distribution("lognormal(median=0.5, p95=2)")``. A 500 takes a tenth of that.
        load_slots: With n calls running, each runs at the speed min(1, load_slots / n), as on a server that shares
            itself evenly among them. Running calls are those that are answered after a latency. None if load has no
            effect.
        rate_limit: Requests that are let in; others get a 429.
        token_limit: Tokens of prompts and replies that are let in; others get a 429.
        slots: Calls that are served at once; one more gets a 429. None for any number.
        retry_after: Seconds to wait that a 429 names if it comes for want of a slot, or by chance.
        hang: The share of calls that get no answer at all.
        fail: The share that get a 500.
        limited: The share that get a 429.
        invalid: The share whose text is not of the requested form.
        refuse: The share that the model refuses.
        length: The share whose text is cut, with the ``finish_reason`` that says so.
        key: The bearer token that clients must send; None for any.
        no_schema: True to refuse a JSON schema, like models that know none.
        seed: The seed of all random draws.
    """

    latency: float | tuple[float, float] | Distribution = 0.0
    load_slots: int | None = None
    rate_limit: Rate | None = None
    token_limit: Rate | None = None
    slots: int | None = None
    retry_after: float = 1.0
    hang: float = 0.0
    fail: float = 0.0
    limited: float = 0.0
    invalid: float = 0.0
    refuse: float = 0.0
    length: float = 0.0
    key: str | None = field(default=None, repr=False)
    no_schema: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        try:
            _ = self.latencies
        except ConfigError as error:
            raise ValueError(f"latency: {error}") from None
        for name, slots in (("slots", self.slots), ("load_slots", self.load_slots)):
            if slots is not None and slots < 1:
                raise ValueError(f"{name} are 1 or more, not {slots}")
        if not 0 <= self.retry_after < math.inf:
            raise ValueError(f"retry_after is 0 or more seconds, not {self.retry_after}")
        for name, share in self.shares:
            if not 0 <= share <= 1:
                raise ValueError(f"{name} is a share from 0 to 1, not {share}")
        total = math.fsum(share for _, share in self.shares)
        if total > 1:
            raise ValueError(f"{', '.join(_SHARES)} are shares that sum up to 1 at most, not to {total:g}")
        if self.key is not None and not self.key:
            raise ValueError("key is a text that is not empty, or None")

    @property
    def latencies(self) -> Distribution:
        """The distribution of the seconds that answers take."""
        match self.latency:
            case Distribution():
                return self.latency
            case (low, high):
                return Uniform(low, high)
            case seconds:
                return Constant(seconds)

    @property
    def shares(self) -> list[tuple[str, float]]:
        """The faults that a call may meet, with their shares."""
        return [(name, getattr(self, name)) for name in _SHARES]
