"""Where the bound of a stage settles whose concurrency adapts itself, beside servers of all kinds."""

from __future__ import annotations

import pytest
from adaptive_servers import Latency, Server, bounds, settings, varying
from operator_helpers import Watch, merged
from reactivex.testing import TestScheduler

from rxpipe.operators import AdaptiveConcurrency, from_iterable
from rxpipe.operators.stage import stage_with

CONSTANT: Latency = lambda: 2.0  # noqa: E731


SHORT: Latency = lambda: 0.25  # noqa: E731


@pytest.mark.slow
@pytest.mark.parametrize("latency", [CONSTANT, SHORT, varying()])
@pytest.mark.parametrize("refusal_takes", [0.0, 0.05])
def test_the_bound_settles_where_the_server_does(latency: Latency, refusal_takes: float) -> None:
    """A server that takes 50 calls at once is given 40 to 52, and nothing is lost."""
    scheduler = TestScheduler()
    server = Server(scheduler, 50, latency, refusal_takes=refusal_takes)
    options = settings(server, AdaptiveConcurrency())
    watch = Watch[int]().to(from_iterable(range(3000)).pipe(stage_with(options)), scheduler)
    bounds(scheduler, [options], 40)
    settled: list[float] = []
    while options.stats.taken < 3000 and server.running >= 40:
        settled += bounds(scheduler, [options], 2)
    assert len(settled) >= (20 if latency is not SHORT else 0)
    assert all(40 <= bound <= 52 for bound in settled)
    scheduler.start()
    assert sorted(watch.result()) == list(range(3000))
    assert options.stats.done == 3000


@pytest.mark.slow
def test_a_server_that_refuses_late_is_given_little_more() -> None:
    """Where a refusal takes as long as an answer, up to a tenth more may be on its way, and one step."""
    scheduler = TestScheduler()
    server = Server(scheduler, 50, CONSTANT, refusal_takes=2.0)
    options = settings(server, AdaptiveConcurrency())
    watch = Watch[int]().to(from_iterable(range(100_000)).pipe(stage_with(options)), scheduler)
    bounds(scheduler, [options], 60)
    assert all(40 <= bound <= 57 for bound in bounds(scheduler, [options], 200))
    watch.dispose()


@pytest.mark.slow
@pytest.mark.parametrize("latency", [CONSTANT, varying()])
def test_stages_that_share_a_server_share_what_it_takes(latency: Latency) -> None:
    """Three stages find bounds that add up to it, each has its part, and nothing is lost."""
    scheduler = TestScheduler()
    server = Server(scheduler, 50, latency)
    stages = [settings(server, AdaptiveConcurrency()) for _ in range(3)]
    chains = [from_iterable(range(2000)).pipe(stage_with(options)) for options in stages]
    watch = Watch[int]().to(merged(*chains), scheduler)
    bounds(scheduler, stages, 60)
    settled = bounds(scheduler, stages, 100)
    assert 40 <= sum(settled) / len(settled) <= 55
    assert max(settled) <= 60
    assert all(options.stats.concurrency >= 5 for options in stages)
    scheduler.start()
    assert sorted(watch.result()) == sorted([*range(2000)] * 3)


@pytest.mark.slow
def test_stages_in_a_row_keep_a_shared_server_busy() -> None:
    """The stages of a pipeline that call one server use nearly all that it takes, and lose nothing."""
    scheduler = TestScheduler()
    server = Server(scheduler, 50, varying())
    stages = [settings(server, AdaptiveConcurrency()) for _ in range(3)]
    chain = from_iterable(range(1000)).pipe(*(stage_with(options) for options in stages))
    watch = Watch[int]().to(chain, scheduler)
    bounds(scheduler, stages, 60)
    running: list[int] = []
    for second in range(60, 120):
        scheduler.advance_to(second)
        running.append(server.running)
    assert sum(running) / len(running) >= 35
    scheduler.start()
    assert sorted(watch.result()) == list(range(1000))


@pytest.mark.slow
@pytest.mark.parametrize(("refuses", "start", "at_least"), [(0.01, 10, 30), (0.05, 10, 20), (0.05, 100, 100)])
def test_random_refusals_do_not_talk_the_bound_down(refuses: float, start: int, at_least: float) -> None:
    """It grows though a server that takes 200 calls refuses some that a lower bound would not save."""
    scheduler = TestScheduler()
    server = Server(scheduler, 200, refuses=refuses)
    options = settings(server, AdaptiveConcurrency(start=start), queue_size=50)
    watch = Watch[int]().to(from_iterable(range(10**6)).pipe(stage_with(options)), scheduler)
    settled = bounds(scheduler, [options], 150)[100:]
    assert sum(settled) / len(settled) >= at_least
    watch.dispose()


def test_the_bound_follows_a_server_that_takes_more_later() -> None:
    """It grows again, in small steps, when the server has got more room."""
    scheduler = TestScheduler()
    server = Server(scheduler, 10)
    options = settings(server, AdaptiveConcurrency())
    watch = Watch[int]().to(from_iterable(range(10**6)).pipe(stage_with(options)), scheduler)
    assert max(bounds(scheduler, [options], 60)[30:]) <= 12
    server.takes = 20
    assert 16 <= bounds(scheduler, [options], 40)[-1] <= 22
    watch.dispose()
