"""What the sentences say, and by which numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rxpipe.insight.advice import Advice
from rxpipe.insight.insight import insight_of
from rxpipe.insight.snapshot import SourceSnapshot
from rxpipe.operators.stages.durations import Durations

from .snapshots import Made, Other, made

GENERATION = Made(name="generation", slots=10, seconds=0.8)  # 12.5 a second
ANSWERING = Made(name="answering", slots=14, seconds=1.47)  # 9.52 a second
BLOCKED: Other = ("blocked", lambda items, elapsed: 6 * elapsed)


def advice(*stages: Made, rate: float, **options: Any) -> Advice:
    return insight_of(made(*stages, rate=rate, **options)).advice


def test_a_stage_that_holds_the_others_up_needs_as_many_slots_as_let_the_next_one_do_so() -> None:
    found = advice(GENERATION, ANSWERING, rate=9.45)
    assert found.sentence == (
        "answering holds the others up: 14 slots, 99% busy; 19 would give +31%, then generation does"
    )
    assert (found.kind, found.name, found.now, found.to, found.then) == ("stage", "answering", 14, 19, "generation")
    assert found.gain == pytest.approx(12.5 / (14 / 1.47) - 1, abs=0.005)
    assert not found.up_to


def test_the_gain_is_bounded_by_whole_slots() -> None:
    slow = Made(name="slow", slots=2, seconds=1.0)
    found = advice(slow, Made(name="next", slots=10, seconds=10 / 2.9), rate=1.98)
    assert found.to == 3
    assert found.gain == pytest.approx(2.9 / 2 - 1, abs=0.01)


def test_a_stage_alone_would_do_half_as_much_again_with_half_as_many_slots_again() -> None:
    found = advice(ANSWERING, rate=9.45)
    assert found.sentence == "answering holds the others up: 14 slots, 99% busy; 21 would give +50%"


def test_a_limit_that_binds_is_named_and_more_slots_gain_nothing() -> None:
    grading = Made(name="grading", slots=20, seconds=0.5, limiters=("grading calls",))
    found = advice(GENERATION, ANSWERING, grading, rate=7.4, limiters=[("grading calls", 7.5)])
    assert found.sentence.startswith("the limit of grading calls holds the others up: 7.5 a second, 99% used; ")
    assert "more slots would gain nothing, a limit of 9.5" in found.sentence
    assert found.sentence.endswith("would give +26%, then answering does")
    assert found.kind == "limiter"


def test_a_slow_database_is_named_if_the_last_stage_waits_for_it() -> None:
    blocked = replace(ANSWERING, other=(BLOCKED,))
    found = advice(GENERATION, blocked, rate=5, sink=(40, 0.98))
    assert found.sentence == (
        "the database holds the stages up: commits take 98% of the time, 40 outcomes each; "
        "larger batches or a faster one would give up to +87%, then answering does"
    )


def test_a_sink_that_counts_nothing_is_named_if_the_last_stage_waits_for_it() -> None:
    blocked = replace(ANSWERING, other=(BLOCKED,))
    found = advice(GENERATION, blocked, rate=5)
    assert found.sentence == (
        "the consumer holds the stages up: 43% of the slots of answering wait for it; "
        "a faster one would give up to +79%, then answering does"
    )
    assert found.kind == "sink"


def test_a_consumer_that_is_waited_for_now_and_then_is_not_named() -> None:
    now_and_then: Other = ("blocked", lambda items, elapsed: 0.05 * elapsed)
    assert advice(GENERATION, replace(ANSWERING, other=(now_and_then,)), rate=9.45).name == "answering"


def test_a_database_that_is_busy_holds_nothing_up_as_long_as_no_result_waits_for_it() -> None:
    assert insight_of(made(GENERATION, ANSWERING, rate=5, sink=(1, 0.98))).bottleneck.verdict == "nothing"
    assert advice(GENERATION, ANSWERING, rate=9.45, sink=(1, 0.98)).name == "answering"


def test_a_slow_source_is_named() -> None:
    found = advice(GENERATION, ANSWERING, rate=5, source_waited=0.97)
    assert found.sentence == (
        "the source holds the stages up: the stages wait for it 97% of the time; more slots would gain nothing, "
        "a faster source would give up to +86%, then answering does"
    )


def test_a_source_that_was_waited_for_at_the_start_or_at_the_end_is_not_judged() -> None:
    """That does not come again: it says nothing of how fast it gives its items."""
    snapshots = made(GENERATION, ANSWERING, rate=5, source_waited=0.97)
    edges = [replace(each, source=replace(each.source, waits=Durations())) for each in snapshots]
    assert insight_of(snapshots).bottleneck.name == "source"
    assert insight_of(edges).bottleneck.verdict == "nothing"


def test_a_few_waits_that_differ_say_too_little_of_a_source() -> None:
    waits = Durations()
    for seconds in (0.2, 0.3, 40.0):
        waits.add(seconds)
    snapshots = made(GENERATION, ANSWERING, rate=5, looks=2, every=42)
    before = SourceSnapshot(waited=1.5)
    after = SourceSnapshot(waited=42, waits=waits)
    few = [replace(each, source=one) for each, one in zip(snapshots, (before, after), strict=True)]
    assert insight_of(few).bottleneck.verdict == "unknown"


def test_a_source_that_is_uncertain_but_far_off_leaves_the_advice_as_it_is() -> None:
    """A database that gives claims in a few batches, say."""
    waits = Durations()
    for seconds in (0.2, 0.3, 0.9):
        waits.add(seconds)
    snapshots = made(ANSWERING, rate=9.45, looks=2, every=100)
    few = [replace(snapshots[0]), replace(snapshots[1], source=SourceSnapshot(waited=9.0, waits=waits))]
    assert insight_of(few).advice.sentence.startswith("answering holds the others up: 14 slots")


def test_all_of_a_short_run_does_not_say_that_nothing_holds_it_up() -> None:
    """Most of it is its start and its end."""
    done = made(GENERATION, ANSWERING, rate=0.5, looks=1, every=200, source=SourceSnapshot(is_over=True))
    assert insight_of(done).bottleneck.verdict == "unknown"


def test_two_that_could_do_the_same_are_too_close_to_call() -> None:
    found = advice(GENERATION, replace(ANSWERING, seconds=1.12), rate=12.4)
    assert found.sentence == (
        "answering and generation hold the others up; it is too close to call which more; "
        "half as much again of both would give +50%"
    )


def test_stages_that_are_all_as_narrow_are_named_together() -> None:
    """More of two alone would gain nothing, as the third is next."""
    three = [Made(name=name, slots=8, seconds=0.8) for name in ("generation", "answering", "grading")]
    assert advice(*three, rate=9.9).sentence == (
        "generation, answering and grading hold the others up; it is too close to call which most; "
        "half as much again of all three would give +50%"
    )


def test_no_more_than_four_are_named_together() -> None:
    five = [Made(name=f"s{place}", slots=8, seconds=0.8) for place in range(5)]
    assert advice(*five, rate=9.9).sentence == "s0 and s1 hold the others up; it is too close to call which more"


def test_it_says_when_nothing_that_is_measured_holds_the_run_up() -> None:
    for stages, rate in (((GENERATION, ANSWERING), 5.0), ((replace(ANSWERING, slots=None),), 30.0)):
        assert advice(*stages, rate=rate).sentence == "no stage, limit, sink or source holds the run up"


@pytest.mark.parametrize(("rate", "looks"), [(9.45, 1), (9.45, 0), (0.05, 12), (0.0, 12)])
def test_it_says_when_there_is_too_little_to_go_by(rate: float, looks: int) -> None:
    sentence = "not enough has gone through yet to say what holds the run up"
    assert advice(GENERATION, ANSWERING, rate=rate, looks=looks).sentence == sentence


def test_with_per_item_the_bound_on_items_holds_the_run_up() -> None:
    found = advice(GENERATION, replace(ANSWERING, slots=10), rate=10 / 2.3, strategy="per_item")
    assert found.sentence == (
        "the bound on items at once holds the stages up: 10 at once, 99% busy; 15 would give +50%"
    )


def test_with_per_item_a_limit_may_hold_the_run_up_instead() -> None:
    limited = replace(GENERATION, limiters=("calls",))
    found = advice(limited, rate=6.0, strategy="per_item", limiters=[("calls", 6.05)])
    assert found.kind == "limiter"


def test_stages_that_run_one_after_another_gain_a_part_each() -> None:
    found = advice(GENERATION, ANSWERING, rate=5.4, strategy="staged", source=SourceSnapshot(is_over=True))
    assert found.sentence == (
        "answering holds the others up: 14 slots, 57% busy; 21 would give +23%, "
        "and the strategy per_stage would run all stages at once"
    )


def test_stages_that_have_not_all_run_are_not_judged_if_they_run_one_after_another() -> None:
    later = replace(ANSWERING, other=(("done", 0), ("calls", 0), ("busy", 0.0)))
    found = insight_of(made(GENERATION, later, rate=5, strategy="staged", source=SourceSnapshot(is_over=True)))
    assert found.bottleneck.verdict == "unknown"


def test_slots_that_adapt_themselves_are_left_to_do_so() -> None:
    adapting = replace(ANSWERING, other=(("most", 40),))
    found = advice(GENERATION, adapting, rate=9.45)
    assert found.sentence == "answering holds the others up: 14 slots, 99% busy; it adapts itself, up to 40 slots"
    assert found.to is None


def test_a_server_that_refuses_calls_needs_no_more_slots() -> None:
    refused: Other = ("pushed_back", lambda items, elapsed: items // 10)
    found = advice(GENERATION, replace(ANSWERING, other=(("most", 40), refused)), rate=9.45)
    assert found.sentence.endswith("calls, so more slots would gain nothing")
    found = advice(GENERATION, replace(ANSWERING, other=(refused,)), rate=9.45)
    assert found.up_to
    assert "; 19 would give up to +31%, " in found.sentence


def test_far_more_slots_than_were_seen_at_work_give_up_to_so_much() -> None:
    found = advice(replace(GENERATION, seconds=0.2), ANSWERING, rate=9.45)
    assert found.up_to
    assert "; 74 would give up to +421%, " in found.sentence


TINY = replace(GENERATION, seconds=1e-5)


def test_no_more_than_16_times_the_slots_are_named() -> None:
    """If the others take hardly any time, what they could do says nothing of what the server can."""
    found = advice(TINY, ANSWERING, rate=9.45)
    assert (found.now, found.to, found.up_to, found.then) == (14, 224, True, None)
    assert found.sentence.endswith("; 224 would give up to +1500%")
    assert found.gain == pytest.approx(15, rel=0.1)


def test_no_more_than_16_times_a_limit_is_named() -> None:
    """As of slots."""
    grading = Made(name="grading", slots=200, seconds=1e-4, limiters=("grading calls",))
    found = advice(TINY, grading, rate=7.4, limiters=[("grading calls", 7.5)])
    assert found.to == pytest.approx(16 * 7.5)
    assert found.then is None
    assert "a limit of 120 would give up to +1500%" in found.sentence


def test_what_a_faster_source_or_sink_would_give_is_left_out_where_it_says_nothing() -> None:
    """That they hold the run up is said all the same."""
    found = advice(TINY, rate=5, source_waited=0.97)
    assert found.sentence.endswith(
        "; more slots would gain nothing, a faster source would let more through, then generation does"
    )
    assert found.gain is None
    found = advice(replace(TINY, other=(BLOCKED,)), rate=5, sink=(40, 0.98))
    assert found.sentence.endswith("; larger batches or a faster one would let more through, then generation does")


def test_few_commits_are_enough_if_it_is_plain_what_holds_the_run_up() -> None:
    blocked = replace(ANSWERING, other=(BLOCKED,))
    assert advice(GENERATION, blocked, rate=2.0, sink=(20, 0.98), looks=4, every=10).name == "database"


def test_a_storm_of_429s_is_what_holds_a_run_up_and_the_limit_to_set_is_named() -> None:
    refused: Other = ("pushed_back", lambda items, elapsed: round(5 * items))
    stages = (replace(GENERATION, other=(refused,)), replace(ANSWERING, other=(refused,)))
    found = advice(*stages, rate=4.5)
    assert found.sentence == (
        "429s hold the run up: the server refused 83% of the calls, and about 9 a second got through; "
        "set limits: {requests_per_minute: 540}, or concurrency: auto if it limits calls at once"
    )
    assert (found.kind, found.name, found.to, found.gain) == ("stage", "generation", None, None)


def test_a_rate_of_many_calls_is_a_plain_number() -> None:
    """Not 1.2e+02."""
    refused: Other = ("pushed_back", lambda items, elapsed: round(5 * items))
    found = advice(Made(name="generation", slots=100, seconds=0.1, other=(refused,)), rate=123.0)
    assert ", and about 123 a second got through; set limits: {requests_per_minute: 7300}, or " in found.sentence


def test_where_nothing_gets_through_there_is_no_limit_to_set() -> None:
    refused: Other = ("pushed_back", lambda items, elapsed: round(50 * elapsed))
    stuck = Made(name="generation", slots=10, seconds=0.1, other=(refused,))
    found = advice(stuck, rate=0.02, in_flight=10)
    assert found.sentence == "429s hold the run up: the server refused 100% of the calls"


def test_a_few_429s_are_no_storm() -> None:
    refused: Other = ("pushed_back", lambda items, elapsed: round(items / 8))
    assert "429s" not in advice(GENERATION, replace(ANSWERING, other=(refused,)), rate=9.45).sentence
