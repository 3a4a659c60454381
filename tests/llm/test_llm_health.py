"""What calls so far tell of those to come: whether a server is there, and takes requests at all."""

from __future__ import annotations

import pytest
from odd_llm import MESSAGES, Call, chat, failing, odd_server, provider_at, replying, run, unused_port
from structlog.testing import capture_logs

from rxpipe.llm import LLMError, PermanentError, ProviderUnusable, RateLimited, Unavailable

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
