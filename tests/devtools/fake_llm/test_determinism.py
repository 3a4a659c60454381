"""What befalls calls does not depend on their order."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

import pytest

from rxpipe.devtools.fake_llm import Behaviour, FakeServer, serving

from .clients import ANSWER, QUESTION, post, post_all, request

FAULTY = Behaviour(fail=0.2, limited=0.2, invalid=0.2, refuse=0.1, length=0.1)
BODIES = [request(f"{index} {QUESTION}", ANSWER) for index in range(40)]


def fared(server: FakeServer, bodies: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """The status and the message of each call, by its text."""
    replies: dict[str, list[Any]] = defaultdict(list)
    for body in bodies:
        reply = post(server, body)
        message = reply.body["choices"][0]["message"] if reply.status == 200 else None
        replies[body["messages"][0]["content"]].append((reply.status, message))
    return replies


@pytest.mark.slow
def test_the_order_of_calls_does_not_matter() -> None:
    """The n-th call with the same messages fares the same, on two servers of one seed."""
    first, second = BODIES * 3, BODIES * 3
    random.Random(1).shuffle(second)
    with serving(FAULTY) as one, serving(FAULTY) as other:
        assert fared(one, first) == fared(other, second)


def test_calls_at_the_same_time_are_counted_the_same() -> None:
    """By status and by key."""
    with serving(FAULTY) as one, serving(FAULTY) as other:
        post_all(one, BODIES * 3)
        post_all(other, [body for body in BODIES for _ in range(3)])
        assert one.stats()["by_status"] == other.stats()["by_status"]
        assert one.stats()["by_key"] == other.stats()["by_key"]
        assert set(one.stats()["by_status"]) == {"200", "429", "500"}


def test_good_replies_to_the_same_messages_are_the_same() -> None:
    """At each attempt, and by whatever server."""
    body = request("Write a question.")
    texts: set[str] = set()
    for _ in range(2):
        with serving(Behaviour(seed=3)) as server:
            texts.update(reply.text for reply in post_all(server, [body] * 3))
    assert len(texts) == 1
