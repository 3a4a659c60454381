"""What befalls a call."""

from __future__ import annotations

import json
from collections import Counter
from hashlib import sha256

from rxpipe.devtools.fake_llm import Behaviour, key_of
from rxpipe.devtools.fake_llm.draws import draws

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
