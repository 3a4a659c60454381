"""Runs of pipelines whose stages call a model: what is tried again, what stops them, what they used."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from devtools.fake_llm.clients import wait_until
from llm_pipelines import GOOD, SOON, ask, asking, bank, outcomes
from odd_llm import MESSAGES, Answer, completion, failing, in_turn, odd_server, provider_at, replying, unused_port
from pipeline_helpers import SCHEDULERS

from rxpipe import DatabaseSink, Outcome, Pipeline, Report, Retry, RunStore, Stage
from rxpipe.devtools.fake_llm import Behaviour, Rate, serving
from rxpipe.llm import InvalidOutput, Limits, PermanentError, Prices, Provider, ProviderUnusable, Refused, Unavailable
from rxpipe.pipeline.plan import Scheduler

QUEUED = 10  # items before a stage, by default
ONCE = Retry(max_attempts=1)

schedulers = pytest.mark.parametrize("scheduler", SCHEDULERS)


def one(answer_: Answer, **options: Any) -> tuple[Outcome[Any], int]:
    """How one item ends, and how many requests it took."""
    with odd_server(answer_) as server:
        (outcome,) = outcomes(asking(provider_at(server.url), **options), [1]).values()
        return outcome, server.calls


@schedulers
def test_a_bank_is_filled(scheduler: Scheduler) -> None:
    """Each item through all stages, each call once."""
    with serving() as server:
        report = (
            bank(provider_at(server.url), scheduler).run(range(20))
            if scheduler == "threads"
            else asyncio.run(bank(provider_at(server.url), scheduler).run_async(range(20)))
        )
        assert (report.written, server.stats()["calls"]) == (20, 60)


def test_a_429_uses_no_attempt() -> None:
    """However often it comes."""
    busy = {"error": {"message": "busy"}}
    answer_ = in_turn([*[(429, busy, {"retry-after-ms": "1"})] * 4, (200, completion('{"answer": "7"}'), {})])
    outcome, calls = one(answer_, retry=ONCE)
    assert (outcome.status, outcome.value, calls) == ("written", "7", 5)
    assert outcome.attempts == 1


@pytest.mark.parametrize(
    ("answer_", "error", "calls"),
    [
        (failing(500), Unavailable, 3),
        (replying("No."), InvalidOutput, 3),
        (replying("", reason="content_filter"), Refused, 1),
    ],
)
def test_what_is_worth_another_call_is_made_again(answer_: Answer, error: type[Exception], calls: int) -> None:
    """And nothing else."""
    outcome, made = one(answer_)
    assert (outcome.status, type(outcome.error), made) == ("failed", error, calls)


def test_a_request_that_is_not_taken_is_made_once() -> None:
    """By an item that comes after one that was answered."""

    async def picky(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        bad = "2 + 1" in body["messages"][0]["content"]
        return await (failing(422) if bad else GOOD)(request, body)

    with odd_server(picky) as server:
        found = outcomes(asking(provider_at(server.url), concurrency=1), [1, 2, 3])
        assert server.calls == 3
    assert [found[n].status for n in (1, 2, 3)] == ["written", "failed", "written"]
    assert isinstance(found[2].error, PermanentError)


@pytest.mark.parametrize(
    ("kinds", "answer_", "calls"),
    [
        (("transient",), replying("No."), 1),
        (("transient",), failing(500), 3),
        (("invalid_output",), replying("No."), 3),
        (("invalid_output",), failing(500), 1),
        (("refused",), replying("", reason="content_filter"), 3),
    ],
)
def test_a_policy_may_name_kinds(kinds: tuple[str, ...], answer_: Answer, calls: int) -> None:
    """Only those are tried again."""
    retry = Retry(max_attempts=3, initial=0, max_delay=0, retry_on=kinds)
    assert one(answer_, retry=retry)[1] == calls


@schedulers
def test_a_wrong_key_stops_the_run(scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the calls that ran at once, with one message; nothing has failed, and no more is taken."""
    monkeypatch.setenv("TEST_KEY", "sk-wrong-key")
    with serving(Behaviour(key="sk-right-key")) as server:
        pipeline = asking(provider_at(server.url, api_key_env="TEST_KEY"), scheduler)
        with pytest.raises(ProviderUnusable) as raised:
            pipeline.run(itertools.count())
        assert server.stats()["calls"] <= 4
    assert str(raised.value) == "main: 401: Incorrect API key provided; check the key in TEST_KEY"


@pytest.mark.parametrize(("status", "failed"), [(401, 0), (402, 0), (403, 0), (404, 0), (400, 2)])
def test_items_are_cancelled_when_no_call_can_succeed(status: int, failed: int) -> None:
    """They are the next run's; of requests that are not taken at all, the first two have failed before it shows."""
    with odd_server(failing(status)) as server:
        found = outcomes(asking(provider_at(server.url, structured="text"), concurrency=2), range(50))
        assert server.calls <= 2 + QUEUED + 1
    assert Counter(outcome.status for outcome in found.values())["failed"] == failed
    assert {outcome.status for outcome in found.values()} <= {"failed", "cancelled"}


@schedulers
def test_a_server_that_is_not_there_stops_the_run(scheduler: Scheduler) -> None:
    """After the attempts of the first items; nothing has failed."""
    pipeline = asking(provider_at(f"http://127.0.0.1:{unused_port()}/v1"), scheduler)
    found: dict[Any, Outcome[Any]] = {}
    if scheduler == "threads":
        found = outcomes(pipeline, range(50))
    with pytest.raises(ProviderUnusable, match=r"^main: no connection: .*; check that the server runs, and base_url$"):
        pipeline.run(itertools.count())
    assert {outcome.status for outcome in found.values()} <= {"cancelled"}


@pytest.mark.slow
@schedulers
def test_calls_that_hang_are_cancelled_and_made_again(scheduler: Scheduler) -> None:
    """Nothing is left at the server."""
    with serving(Behaviour(hang=0.3)) as server:
        report = asking(
            provider_at(server.url),
            scheduler,
            timeout=0.3,
            concurrency=20,
            retry=Retry(max_attempts=9, initial=0, max_delay=0),
        ).run(range(20))
        assert report.written == 20
        wait_until(lambda: server.stats()["in_flight"] == 0)
        assert 0 < server.stats()["by_status"]["hung"] <= report.stages[0].retried
        assert report.stages[0].abandoned == 0


@pytest.mark.parametrize("prices", [None, Prices(prompt=2, completion=10)])
def test_usage_is_counted_by_stage(prices: Prices | None) -> None:
    """With what it cost; calls whose output was invalid are paid, too."""
    texts = ["No.", '{"answer": "7"}']
    answer_ = in_turn([(200, completion(text), {}) for text in texts])
    with odd_server(answer_) as server:
        report = asking(provider_at(server.url, prices=prices)).run([1])
    (stage,) = report.stages
    assert (stage.usage.prompt_tokens, stage.usage.completion_tokens) == (60, 20)
    assert stage.usage.cost == pytest.approx(0 if prices is None else (60 * 2 + 20 * 10) / 1e6)
    assert report.usage == stage.usage


def test_usage_is_what_the_server_counts() -> None:
    """In all stages together."""
    with serving(Behaviour(invalid=0.2, fail=0.1, seed=3)) as server:
        report = bank(provider_at(server.url), retry=Retry(max_attempts=9, initial=0, max_delay=0)).run(range(20))
        stats = server.stats()
    assert report.usage.prompt_tokens == stats["prompt_tokens"]
    assert report.usage.completion_tokens == stats["completion_tokens"]
    assert all(stage.usage.tokens for stage in report.stages)


@pytest.mark.slow
def test_limits_keep_a_run_below_the_servers(tmp_path: Path) -> None:
    """Two stages share them, and none of their calls is refused."""
    limits = Limits(requests_per_minute=60 * 50)
    with serving(Behaviour(rate_limit=Rate(10, 0.2))) as server:
        provider = provider_at(server.url, limits=limits)
        report = bank(provider, rate_limit=limits).run(range(10))
        assert server.stats()["by_status"] == {"200": 30}
    assert report.written == 10
    assert report.seconds >= 29 / 50


@pytest.mark.slow
def test_a_run_goes_on_where_a_key_had_run_out(tmp_path: Path) -> None:
    """No finished call is made again."""
    url = f"sqlite:///{tmp_path / 'bank.db'}"
    allowed = 7

    async def metered(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        if len(server.bodies) > allowed:
            return await failing(429, "no quota", code="insufficient_quota")(request, body)
        return await GOOD(request, body)

    def run() -> Report:
        stage = Stage("asking", partial(ask, provider=provider_at(server.url)), retry=SOON)
        return Pipeline(stage, sink=DatabaseSink(url), store=RunStore()).run(range(20))

    with odd_server(metered) as server:
        with pytest.raises(ProviderUnusable, match="there is no quota left"):
            run()
        refused = server.calls - allowed
        allowed = 10**6
        report = run()
        assert server.calls == 20 + refused
    assert (report.written + report.written_before, report.failed + report.failed_before) == (20, 0)


def test_chat_gives_text() -> None:
    """Of a stage of one's own."""

    async def write(number: int, *, provider: Provider) -> str:
        return (await provider.chat(MESSAGES)).text

    with odd_server(replying("Hello!")) as server:
        pipeline = Pipeline(Stage("writing", partial(write, provider=provider_at(server.url))))
        assert outcomes(pipeline, [1])[1].value == "Hello!"
