"""The fate of a call: chance by seed, key and attempt, the same in every process and in whatever order calls come."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import blake2b, sha256
from itertools import accumulate
from typing import Any, NamedTuple

from rxpipe.devtools.fake_llm.behaviour import Behaviour

_ENCODER = json.JSONEncoder(sort_keys=True)
_WHOLE = float(2**64)
_SHARES = float(2**52)  # of this many shares, the first and the last are still above 0 and below 1


class Draw(NamedTuple):
    """The fate of a call.

    Attributes:
        kind: ``"good"``, or the name of a share in the behaviour.
        latency: Seconds that its answer takes on an idle server.
        variant: A number by which invalid texts differ.
    """

    kind: str
    latency: float
    variant: int


def key_of(messages: list[Any]) -> str:
    """Returns the key of messages: 16 hex digits of the SHA-256 of their JSON with sorted keys."""
    return sha256(_ENCODER.encode(messages).encode()).hexdigest()[:16]


def chance(seed: int, key: str, purpose: str) -> float:
    """Returns a number from 0 up to 1."""
    return int.from_bytes(blake2b(f"{seed} {key} {purpose}".encode(), digest_size=8).digest(), "big") / _WHOLE


def draws(behaviour: Behaviour) -> Callable[[str, int], Draw]:
    """Returns the function that draws the fate of the n-th call of a key."""
    names, shares = zip(*behaviour.shares, strict=True)
    bounds = [(bound, name) for bound, name in zip(accumulate(shares), names, strict=True) if bound]
    latency = behaviour.latencies

    def draw(key: str, attempt: int) -> Draw:
        drawn = blake2b(f"{behaviour.seed} {key} {attempt}".encode(), digest_size=24).digest()
        fault, wait, variant = (int.from_bytes(drawn[at : at + 8], "big") for at in (0, 8, 16))
        kind = next((name for bound, name in bounds if fault < bound * _WHOLE), "good")
        return Draw(kind, latency.at(((wait >> 12) + 0.5) / _SHARES), variant)

    return draw
