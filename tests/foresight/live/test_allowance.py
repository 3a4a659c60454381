"""How often something may be done that takes a share of a processor."""

from __future__ import annotations

import random

import pytest

from rxpipe.foresight.live.allowance import Allowance

SHARE = 0.01


def times_of(costs: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """When each was done, and what it took; of each is given what was thought that it takes, and what it takes."""
    allowance, now, done = Allowance(share=SHARE, seconds=5.0), 0.0, list[tuple[float, float]]()
    for thought, cpu in costs:
        pause = allowance.pause(thought)
        now += pause
        allowance.took(cpu, pause)
        done.append((now, cpu))
    return done


def test_what_takes_little_is_done_every_five_seconds() -> None:
    """As long as that is less than its share."""
    assert [at for at, _ in times_of([(0.02, 0.02)] * 3)] == [5.0, 10.0, 15.0]


def test_what_takes_much_is_done_less_often() -> None:
    """It is saved for, also for the first time."""
    assert [at for at, _ in times_of([(0.6, 0.6)] * 3)] == pytest.approx([60.0, 120.0, 180.0])


def test_what_took_longer_than_was_thought_is_made_up_for() -> None:
    """By the next pause; and what took less gives no longer share to the next."""
    assert [at for at, _ in times_of([(0.1, 0.5), (0.1, 0.05), (0.1, 0.1)])] == pytest.approx([10.0, 60.0, 70.0])


def test_part_of_the_pause_may_be_over() -> None:
    """Who asks again, as more or less is to be done now, waits for what is left of it."""
    allowance = Allowance(share=SHARE, seconds=5.0)
    assert allowance.pause(0.6, waited=20.0) == pytest.approx(40.0)
    assert allowance.pause(0.1, waited=20.0) == 0.0


def test_the_share_holds_in_each_part_of_a_run() -> None:
    """Whatever is thought and whatever is in flight: the last one aside, whose cost was not known before."""
    numbers = random.Random(1)
    cpus = [numbers.uniform(0.0, 0.1) * numbers.choice([1, 1, 10]) for _ in range(300)]
    done = times_of([(cpu * numbers.uniform(0.5, 1.5), cpu) for cpu in cpus])
    for first in range(len(done)):
        spent, began = 0.0, done[first][0]
        for at, cpu in done[first + 1 :]:
            assert spent <= SHARE * (at - began) + cpus[first] + 1e-9
            spent += cpu
