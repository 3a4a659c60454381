"""What calls so far tell of those to come: whether a server is there, and takes requests at all."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from odd_llm import MESSAGES, Call, chat, failing, odd_server, provider_at, replying, run, unused_port
from pipeline_helpers import Seen, finish
from structlog.testing import capture_logs

from rxpipe import Pipeline, Retry, Stage
from rxpipe.llm import LLMError, PermanentError, Provider, ProviderUnusable, RateLimited, Unavailable
from rxpipe.llm.health import Health
from rxpipe.operators.core.running_call import running_call

FULL = replying("Hello!")


def test_three_requests_that_are_not_taken_stop_the_run() -> None:
    """Where none was before."""

    async def calls() -> list[type[Exception]]:
        found: list[type[Exception]] = []
        for _ in range(3):
            try:
                await provider.chat(MESSAGES)
            except (PermanentError, ProviderUnusable) as error:
                found.append(type(error))
        return found

    with odd_server(failing(400)) as server:
        provider = provider_at(server.url)
        assert run(calls()) == [PermanentError, PermanentError, ProviderUnusable]


def test_a_server_that_is_not_there_stops_the_run() -> None:
    """When the attempts of one item are used up."""
    with pytest.raises(ProviderUnusable, match=r"check that the server runs, and base_url$"):
        chat(provider_at(f"http://127.0.0.1:{unused_port()}/v1"), Call(last=True))


def test_a_server_that_was_never_there_stops_the_run_after_a_moment() -> None:
    """However many attempts are left: a server that is about to start has five seconds."""
    health, missed = Health(key_env=None), Unavailable("no connection")
    missed.reached = False
    token = running_call.set(Call())
    try:
        assert [health.why_unusable(missed, now) for now in (100.0, 100.0, 104.9)] == [None] * 3
        advice = health.why_unusable(missed, 105.0)
    finally:
        running_call.reset(token)
    assert advice == "nobody was there at any time; check that the server runs, and base_url"


@pytest.mark.parametrize("reached", ["answered", "refused", "slow"])
def test_a_server_that_was_there_once_gets_all_attempts(reached: str) -> None:
    """It is away for a while: no item is lost to that before its attempts are used up."""
    health, missed = Health(key_env=None), Unavailable("no connection")
    missed.reached = False
    token = running_call.set(Call())
    try:
        if reached == "answered":
            health.answered()
        else:
            assert health.why_unusable(RateLimited("429") if reached == "refused" else Unavailable("late"), 0.0) is None
        assert [health.why_unusable(missed, now) for now in (0.0, 100.0, 1000.0)] == [None] * 3
    finally:
        running_call.reset(token)


def test_a_run_without_a_server_stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing fails, and nothing is left of its attempts."""
    monkeypatch.setattr("rxpipe.llm.health._MISSED", 0.0)
    provider = provider_at(f"http://127.0.0.1:{unused_port()}/v1")
    stage = Stage("ask", partial(ask, provider=provider), retry=Retry(max_attempts=6, initial=60), concurrency=3)
    run = Pipeline(stage).start(range(100), Seen())
    with pytest.raises(ProviderUnusable, match="nobody was there at any time"):
        finish(run)
    assert (run.written, run.failed) == (0, 0)


async def ask(value: Any, provider: Provider) -> str:
    return (await provider.chat(MESSAGES)).text


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_server_that_nobody_stands_behind_is_not_there(status: int) -> None:
    """A proxy says so, or a server that has not loaded its model: no item can be answered, so none is to fail."""
    with odd_server(failing(status)) as server:
        provider = provider_at(server.url)
        with pytest.raises(Unavailable):
            chat(provider)
        with pytest.raises(ProviderUnusable, match=rf"^main: {status}: no; check that the server runs, and base_url$"):
            chat(provider, Call(last=True))


def test_a_server_that_fails_is_there() -> None:
    """A 500 may be about the request."""
    with odd_server(failing(500)) as server, pytest.raises(Unavailable):
        chat(provider_at(server.url), Call(last=True))


def test_what_one_item_has_found_out_the_others_need_not() -> None:
    """Their attempts are not used up in vain, one after the other."""
    provider = provider_at(f"http://127.0.0.1:{unused_port()}/v1")
    for call in (Call(last=True), Call()):
        with pytest.raises(ProviderUnusable):
            chat(provider, call)


def test_a_server_that_has_gone_stops_the_run_after_a_while() -> None:
    """One item may be lost to a restart, five in a row are not."""
    with odd_server(FULL) as server:
        provider = provider_at(server.url)
        chat(provider)
    found: list[type[Exception]] = []
    for _ in range(5):
        with pytest.raises((LLMError, ProviderUnusable)) as raised:
            chat(provider, Call(last=True))
        found.append(raised.type)
    assert found == [Unavailable] * 4 + [ProviderUnusable]


def test_that_nobody_is_there_is_told_while_it_is_tried_again() -> None:
    """Once: attempts may take minutes, and the server may be on its way."""
    port = unused_port()
    provider = provider_at(f"http://127.0.0.1:{port}/v1")
    with capture_logs() as logs:
        for _ in range(3):
            with pytest.raises(Unavailable):
                chat(provider)
    assert logs == [
        {
            "event": "the server is not there yet",
            "log_level": "warning",
            "provider": "main",
            "error": f"no connection: 127.0.0.1:{port}: connection refused",
        }
    ]


def test_a_connection_lost_after_an_answer_is_not_told() -> None:
    """Errors that come and go are counted, and shown at the end."""
    with odd_server(FULL) as server:
        provider = provider_at(server.url)
        chat(provider)
    with capture_logs() as logs, pytest.raises(Unavailable):
        chat(provider)
    assert logs == []


def test_a_long_wait_is_told_once() -> None:
    """However many calls it is asked of."""
    with odd_server(failing(429, Retry_After="90")) as server, capture_logs() as logs:
        provider = provider_at(server.url)
        for _ in range(3):
            with pytest.raises(RateLimited):
                chat(provider)
    assert [(one["event"], one["seconds"]) for one in logs] == [("the server asks to wait", 90.0)]


def test_nothing_but_429s_is_told_after_half_a_minute() -> None:
    """Once, with what the server says: it may be more than a limit."""
    health, refused = Health(key_env=None), RateLimited("429: no")
    assert [health.is_only_refusing(refused, now) for now in (0.0, 29.9, 30.0, 100.0)] == [False, False, True, False]


@pytest.mark.parametrize("between", ["answered", "failed"])
def test_429s_with_other_replies_between_are_not_told(between: str) -> None:
    """Then the server takes some calls."""
    health, refused = Health(key_env=None), RateLimited("429: no")
    assert not health.is_only_refusing(refused, 0.0)
    if between == "answered":
        health.answered()
    else:
        assert not health.is_only_refusing(Unavailable("late"), 20.0)
    assert not health.is_only_refusing(refused, 40.0)


def test_what_the_429s_say_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """For those who watch, and for the log."""
    monkeypatch.setattr("rxpipe.llm.health._ONLY_REFUSED", 0.0)
    with odd_server(failing(429, "quota of the day")) as server, capture_logs() as logs:
        provider = provider_at(server.url)
        for _ in range(2):
            with pytest.raises(RateLimited):
                chat(provider)
    assert [(one["event"], one["provider"], one["error"]) for one in logs] == [
        ("nothing but 429s for half a minute", "main", "429: quota of the day")
    ]
