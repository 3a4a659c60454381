"""What a behaviour may be."""

from __future__ import annotations

from typing import Any

import pytest

import rxpipe.devtools.fake_llm
from rxpipe.devtools.fake_llm import Behaviour, Rate
from rxpipe.foresight.calls.distributions import Constant, Distribution, Lognormal, Uniform


def test_the_names() -> None:
    """Sorted, and each there."""
    names = ["Behaviour", "FakeServer", "KeyStats", "Rate", "Stats", "key_of", "serving"]
    assert rxpipe.devtools.fake_llm.__all__ == names
    assert set(names) <= set(dir(rxpipe.devtools.fake_llm))


@pytest.mark.parametrize(("text", "rate"), [("60/s", Rate(60, 1)), ("600/m", Rate(600, 60)), ("1/h", Rate(1, 3600))])
def test_a_rate_is_so_many_in_a_second_a_minute_or_an_hour(text: str, rate: Rate) -> None:
    """As it is written on the command line."""
    assert Rate.parse(text) == rate


@pytest.mark.parametrize("text", ["", "60", "60/d", "0/s", "-1/s", "1.5/s", "60/ss", "6 0/s", "٣/s"])
def test_other_rates_are_refused(text: str) -> None:
    """With what is allowed."""
    with pytest.raises(ValueError, match="allowed: a rate like 60/s, 600/m or 9000/h"):
        Rate.parse(text)


@pytest.mark.parametrize(
    ("latency", "distribution"),
    [(0.2, Constant(0.2)), ((0.1, 0.5), Uniform(0.1, 0.5)), (Lognormal(1, 3), Lognormal(1, 3))],
)
def test_a_latency_is_a_number_a_range_or_a_distribution(latency: Any, distribution: Distribution) -> None:
    """Of seconds."""
    assert Behaviour(latency=latency).latencies == distribution


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"fail": 1.5}, "fail is a share from 0 to 1, not 1.5"),
        ({"hang": float("nan")}, "hang is a share from 0 to 1, not nan"),
        ({"fail": 0.6, "hang": 0.6}, "shares that sum up to 1 at most, not to 1.2"),
        ({"latency": -1.0}, "latency: constant: seconds is -1; allowed: seconds from 0"),
        ({"latency": (2.0, 1.0)}, "latency: uniform: high is 1; allowed: 2 or more"),
        ({"slots": 0}, "slots are 1 or more, not 0"),
        ({"load_slots": 0}, "load_slots are 1 or more, not 0"),
        ({"retry_after": float("inf")}, "retry_after is 0 or more seconds, not inf"),
        ({"key": ""}, "key is a text that is not empty"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], told: str) -> None:
    """When a behaviour is made, by the option's name."""
    with pytest.raises(ValueError, match=told):
        Behaviour(**options)


def test_a_rate_has_a_count_and_a_time() -> None:
    """Neither of them none."""
    with pytest.raises(ValueError, match="one or more in a time above 0, not 0 in 1 s"):
        Rate(0, 1)


def test_shares_may_sum_up_to_one() -> None:
    """Though ten tenths are less than 1, added up one by one."""
    assert Behaviour(fail=0.1, hang=0.2, limited=0.7).limited == 0.7


def test_the_key_is_not_shown() -> None:
    """A behaviour may be printed."""
    assert "secret" not in repr(Behaviour(key="secret"))
