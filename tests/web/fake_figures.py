"""What runs in memory would have counted: a live run of 300,000 items, past ones, and texts full of attacks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

from rxpipe.insight.interval import Interval
from rxpipe.insight.outlook import Outlook
from rxpipe.insight.snapshot import CountedError, LimiterSnapshot, SinkSnapshot, Snapshot, SourceSnapshot, StageSnapshot
from rxpipe.operators.core.running_call import Usage
from rxpipe.operators.stages.durations import Durations

ITEMS = 300_000
LIVE, FINISHED, UNFINISHED, HOSTILE = 12, 11, 10, 9
LENGTH = 1_480.0  # seconds that the finished run took
BEGAN = 1_795_000_000.0
PASSWORD = "hunter2-of-the-database"
KEY = "sk-proj-abcdefghijklmnopqrstuvwx0123456789"

SCRIPT = "<script>window.attacked = 1</script><img src=x onerror='window.attacked=1'>"
ATTACKS = (
    SCRIPT,
    '"><svg onload="window.attacked=1">',
    "javascript:window.attacked=1",
    "{{constructor.constructor('window.attacked=1')()}}",
    "\u202egnp.exe\u202c \u2066hidden\u2069 \u200f\x00\x1b[31mred\x07\x85",
    "line\r\nevent: run\r\ndata: {}\r\n\r\n",
    "\ud800 half a surrogate",
    "../../../etc/passwd",
    "مرحبا بالعالم — שלום — 你好，世界 — नमस्ते — 👩‍👩‍👧‍👦",
    "a" * 3_000,
)
STAGES = (("generation", 8, 0.9), ("answering", 14, 1.75), ("grading", 6, 0.42))
ERRORS = (
    ("answering", "RateLimitError", "429: rate limit reached for tokens, try again in 1.2 s"),
    ("answering", "StageTimeout", "no answer within 30 s"),
    ("grading", "ValidationError", "score: Input should be less than or equal to 10, got 11"),
    ("generation", "APIConnectionError", f"connection to https://me:{PASSWORD}@models.example refused, key {KEY}"),
)
PART = 20.0  # seconds in which calls take equally long


def histogram(mean: float, count: float) -> Durations:
    seconds = Durations()
    for step in range(25):
        share = (step + 0.5) / 25
        seconds.add(mean * (0.55 + 0.5 * share + 1.6 * share**9), max(1, round(count / 25)))
    return seconds


@cache
def _parts(mean: float, rate: float, count: int) -> Durations:
    """All of so many whole parts."""
    if not count:
        return Durations()
    slow = 1 + 0.16 * math.sin(count / 3) + 0.05 * math.sin(count * 1.7)
    return _parts(mean, rate, count - 1) + histogram(mean * slow, rate * PART)


def times(mean: float, rate: float, elapsed: float) -> Durations:
    """How long the calls of a run took; earlier ones stay as they were."""
    whole = int(elapsed // PART)
    part = (elapsed - whole * PART) / PART
    following = _parts(mean, rate, whole + 1) - _parts(mean, rate, whole)
    some = Durations()
    for bucket, count in following.buckets.items():
        some.buckets[bucket] = round(count * part)
    some.count = sum(some.buckets.values())
    some.total, some.longest = following.total * part, following.longest
    return _parts(mean, rate, whole) + some


def snapshot_at(elapsed: float, *, run: int = LIVE, state: Any = "running", names: Sequence[str] = ()) -> Snapshot:
    """A run that has lasted so long: its second stage holds the others up."""
    began = BEGAN - (LIVE - run) * 7_300.0
    rate = 7.9
    written = int(elapsed * rate * 0.95)
    is_over = state != "running"
    stages: list[StageSnapshot] = []
    for index, (name, slots, mean) in enumerate(STAGES):
        name = names[index] if names else name
        done = int(elapsed * rate) - index * 9
        busy = (0.72, 0.985, 0.41)[index]
        blocked = (0.24, 0.0, 0.0)[index]
        stages.append(
            StageSnapshot(
                name=name,
                concurrency=slots,
                most=slots,
                calls=int(max(0, done) * 1.06),
                done=max(0, done),
                failed=int(max(0, done) * (0.01, 0.03, 0.005)[index]),
                dropped=int(max(0, done) * 0.02) if index == 2 else 0,
                retried=int(max(0, done) * 0.05),
                pushed_back=int(max(0, done) * 0.03) if index == 1 else 0,
                running=0 if is_over else (6, 14, 3 - int(elapsed) % 3)[index],
                waiting=0 if is_over else (3, 28, 0)[index],
                blocked_now=0 if is_over or index else 2,
                busy=busy * slots * elapsed,
                blocked=blocked * slots * elapsed,
                limited=(0.0, 0.01, 0.0)[index] * slots * elapsed,
                slot_seconds=slots * elapsed,
                seconds=times(mean, rate, elapsed),
                waits=times(mean * (0.1, 2.1, 0.02)[index], rate, elapsed),
                oldest=None if is_over else mean * 2,
                last_end=0.1,
                limiters=("requests",) if index == 1 else (),
                usage=Usage(
                    prompt_tokens=max(0, done) * (620, 240, 910)[index],
                    completion_tokens=max(0, done) * (85, 240, 31)[index],
                    cost=max(0, done) * (0.00021, 0.00034, 0.00018)[index],
                ),
            )
        )
    taken = int(elapsed * rate) + 60
    failed, dropped = int(elapsed * rate * 0.03), int(elapsed * rate * 0.02)
    return Snapshot(
        at=began + elapsed,
        elapsed=elapsed,
        state=state,
        pipeline="questions",
        run=run,
        workers=2,
        taken=written + failed + dropped if is_over else taken,
        written=written,
        failed=failed,
        dropped=dropped,
        in_flight=0 if is_over else max(0, taken - written - failed - dropped),
        stages=tuple(stages),
        limiters=(
            LimiterSnapshot(name="requests", unit="calls", rate=12.0, taken=elapsed * 8.1, paused=elapsed * 0.01),
        ),
        sink=SinkSnapshot(name="database", outcomes=written, commits=int(elapsed * 3), busy=elapsed * 0.06, waiting=2),
        source=SourceSnapshot(length=ITEMS, waited=elapsed * 0.002),
        outlook=None
        if is_over
        else Outlook(
            elapsed=elapsed - 4,
            seconds=Interval(middle=214.0, low=154.0, high=304.0),
            cost=Interval(middle=9.2, low=8.7, high=9.9),
        ),
        errors=tuple(CountedError(stage=stage, text=text, count=9) for stage, _, text in ERRORS),
    )
