"""Whatever pieces a flow is made of, and wherever its processes die, all items end as a few plain lines say."""

from __future__ import annotations

import tempfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pipelines.flows.model import Flow, Kind
from pipelines.flows.test_random_flows import flows

from rxpipe.database import default_table

from .durable import Attempt, QuickStep, check
from .shapes import bank

PARTS = 4
NESTS: tuple[tuple[Kind, ...], ...] = (
    ("expand", "expand", "regroup", "regroup", "collect"),
    ("expand", "expand", "one", "collect", "regroup", "one"),
    ("one", "expand", "expand", "collect", "regroup", "collect"),
)
RESULTS = default_table("results")


def quick(flow: Flow) -> Flow:
    steps = [QuickStep(**{one.name: getattr(step, one.name) for one in fields(step)}) for step in flow.steps]
    return replace(flow, steps=steps)  # type: ignore[arg-type]


@pytest.mark.slow
@settings(max_examples=settings().max_examples * 60 // 100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(flow=flows().map(quick))
def test_as_without_a_store(flow: Flow) -> None:
    """Nothing befalls the run."""
    with tempfile.TemporaryDirectory() as folder:
        check(flow, f"sqlite:///{folder}/flow.db", [], RESULTS)


@pytest.mark.slow
@settings(
    max_examples=settings().max_examples * 150 // 100, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(flow=flows().map(quick), cuts=st.lists(st.integers(60, 220), min_size=1, max_size=3))
def test_cut_off_anywhere(flow: Flow, cuts: list[Any]) -> None:
    """Up to three processes lose their database, and a last one finishes the run."""
    with tempfile.TemporaryDirectory() as folder:
        check(flow, f"sqlite:///{folder}/flow.db", cuts, RESULTS)


@pytest.mark.slow
@settings(max_examples=settings().max_examples * 30 // 100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    flow=st.sampled_from(NESTS).flatmap(lambda kinds: flows(kinds=kinds)).map(quick),
    cuts=st.lists(st.integers(60, 220), min_size=1, max_size=3),
)
def test_children_of_children_cut_off_anywhere(flow: Flow, cuts: list[Any]) -> None:
    """The same where most stages make or collect children, so that parents are often read from the store."""
    with tempfile.TemporaryDirectory() as folder:
        check(flow, f"sqlite:///{folder}/flow.db", cuts, RESULTS)


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("part", range(PARTS))
def test_cut_off_everywhere(tmp_path: Path, part: int) -> None:
    """At each statement and commit of one run in turn, before and behind it."""
    flow, number = bank(4, seed=4), part
    while True:
        (tmp_path / str(number)).mkdir()
        url = f"sqlite:///{tmp_path / str(number) / 'flow.db'}"
        first = Attempt(flow, url, number)
        if not first.power.is_cut:
            break
        check(flow, url, [], RESULTS, first)
        number += PARTS
    assert number > 60
