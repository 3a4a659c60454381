"""What befalls a call."""

from __future__ import annotations

import json
import math
from collections import Counter
from hashlib import sha256
from unittest.mock import Mock

import pytest

from rxpipe.devtools.fake_llm import Behaviour, key_of
from rxpipe.devtools.fake_llm.draws import draws
from rxpipe.foresight.calls.distributions import Lognormal

FAULTY = Behaviour(hang=0.05, fail=0.1, limited=0.1, invalid=0.2, refuse=0.1, length=0.05)


def test_a_key_is_a_hash_of_the_messages() -> None:
    """Anybody can compute it."""
    messages = [{"role": "user", "content": "hi"}]
    assert key_of(messages) == sha256(json.dumps(messages, sort_keys=True).encode()).hexdigest()[:16]


def test_a_key_does_not_depend_on_the_order_of_fields() -> None:
    """Clients differ in that."""
    assert key_of([{"role": "user", "content": "hi"}]) == key_of([{"content": "hi", "role": "user"}])


def test_faults_come_as_often_as_they_shall() -> None:
    """Each by its own share of many calls."""
    draw = draws(FAULTY)
    counted = Counter(draw(f"key {index}", 0).kind for index in range(20_000))
    for name, share in [*FAULTY.shares, ("good", 0.4)]:
        assert abs(counted[name] / 20_000 - share) < 0.01


def test_a_whole_share_befalls_all() -> None:
    """Also the last of them."""
    assert {draws(Behaviour(length=1.0))(f"key {index}", 0).kind for index in range(1000)} == {"length"}


def test_attempts_fare_differently() -> None:
    """A call that failed may do well the next time."""
    draw = draws(Behaviour(fail=0.5))
    assert {draw("key", attempt).kind for attempt in range(20)} == {"good", "fail"}


def test_seeds_differ() -> None:
    """The same calls fare otherwise by another seed."""
    first, second = (draws(Behaviour(fail=0.5, seed=seed)) for seed in (1, 2))
    assert [first(str(index), 0).kind for index in range(50)] != [second(str(index), 0).kind for index in range(50)]


def test_latencies_are_all_over_their_range() -> None:
    """And nowhere else."""
    draw = draws(Behaviour(latency=(1.0, 3.0)))
    latencies = sorted(draw(f"key {index}", 0).latency for index in range(1000))
    assert 1 <= latencies[0] < 1.1
    assert 2.9 < latencies[-1] < 3


def test_latencies_follow_a_distribution() -> None:
    """As many calls are below its quantiles as should be."""
    latency = Lognormal(0.5, 2)
    draw = draws(Behaviour(latency=latency))
    latencies = sorted(draw(f"key {index}", 0).latency for index in range(10_000))
    assert latencies[5_000] == pytest.approx(0.5, rel=0.05)
    assert latencies[9_500] == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("drawn", [0, 2**64 - 1])
def test_the_least_and_the_most_draw_are_within_the_distribution(monkeypatch: pytest.MonkeyPatch, drawn: int) -> None:
    """Whose ends may be infinite."""
    digest = drawn.to_bytes(8, "big") * 3
    monkeypatch.setattr(
        "rxpipe.devtools.fake_llm.draws.blake2b", Mock(return_value=Mock(digest=Mock(return_value=digest)))
    )
    draw = draws(Behaviour(latency=Lognormal(0.5, 2)))("key", 0)
    assert 0 < draw.latency < math.inf


def test_draws_are_the_same_for_ever() -> None:
    """On other machines and versions, too."""
    draw = draws(Behaviour(fail=0.3, invalid=0.3))
    assert [draw("key", attempt).kind for attempt in range(8)] == [
        "fail",
        "good",
        "fail",
        "good",
        "invalid",
        "good",
        "fail",
        "invalid",
    ]
