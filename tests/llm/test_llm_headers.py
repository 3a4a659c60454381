"""How long a server asks to wait."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxpipe.llm.headers import retry_after, seconds_of

NOW = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3", 3),
        ("1.5", 1.5),
        ("20ms", 0.02),
        ("1s", 1),
        ("6m0s", 360),
        ("1h2m3.5s", 3723.5),
        ("2d", 172800),
        (" 1s ", 1),
        ("", None),
        ("soon", None),
        ("1s!", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("5 minutes", None),
    ],
)
def test_a_duration(text: str, seconds: float | None) -> None:
    """As OpenAI writes them, or seconds."""
    assert seconds_of(text) == pytest.approx(seconds) if seconds else seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "30"}, 30),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "Wed, 25 Nov 2026 12:01:30 GMT"}, 90),
        ({"retry-after": "Wed, 25 Nov 2026 13:01:30 +0100"}, 90),
        ({"retry-after": "Wed, 25 Nov 2026 12:01:30"}, 90),
        ({"retry-after": "Wed, 25 Nov 2026 11:59:00 GMT"}, None),
        ({"retry-after": "Wed, 25 Nov 99999 12:00:00 GMT"}, None),
        ({"retry-after": "1m30s"}, 90),
        ({"retry-after": "later"}, None),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9),
        ({"retry-after": "99999999"}, None),
        ({"retry-after": "9" * 400}, None),
        ({"x-ratelimit-reset-requests": "9" * 400 + "s"}, None),
        ({"x-ratelimit-reset-requests": "1764072000"}, None),
    ],
)
def test_seconds_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    """The first header that says something that can be meant."""
    assert retry_after(headers, NOW) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("requests", "tokens", "seconds"),
    [
        (("0", "10s"), ("5", "60s"), 10),
        (("0", "10s"), ("0", "60s"), 60),
        (("7", "1h"), ("0", "2s"), 2),
        ((None, "10s"), (None, "60s"), 60),
        ((None, "10s"), ("5", "60s"), 10),
        (("7", "1h"), ("150", "2s"), None),
        ((None, "10s"), ("0", "2s"), 2),
    ],
)
def test_limits_that_are_used_up_are_waited_for(
    requests: tuple[str | None, str], tokens: tuple[str | None, str], seconds: float | None
) -> None:
    """Not those of which something remains: their reset may be a day away."""
    headers: dict[str, str] = {}
    for name, (remaining, reset) in {"requests": requests, "tokens": tokens}.items():
        headers[f"x-ratelimit-reset-{name}"] = reset
        if remaining is not None:
            headers[f"x-ratelimit-remaining-{name}"] = remaining
    assert retry_after(headers, NOW) == seconds


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-reset-tokens"]), st.text()))
def test_headers_may_be_anything(headers: dict[str, str]) -> None:
    """What is given is a time that can be waited for, or nothing."""
    seconds = retry_after(headers, NOW)
    assert seconds is None or 0 < seconds <= 86_400
