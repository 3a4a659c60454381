"""Replies that say that an account has nothing left, whatever their status."""

from __future__ import annotations

from typing import Any

import pytest
from odd_llm import answering, chat, odd_server, provider_at

from rxpipe.llm import ProviderUnusable, RateLimited
from rxpipe.llm.exhausted import LOCKED, NO_QUOTA, why_exhausted

DASHSCOPE = "dashscope-intl.aliyuncs.com"


def why(status: int, *codes: object, message: str = "", host: str = "127.0.0.1", wait: bool = False) -> str | None:
    return why_exhausted(status, codes, message, host, may_wait=wait)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (429, "insufficient_quota"),
        (429, "credit_balance_exhausted"),
        (429, "1113"),
        (429, 1113),
        (429, "exceeded_current_quota_error"),
        (429, "PostpaidBillOverdue"),
        (400, "Arrearage"),
        (403, "AllocationQuota.FreeTierOnly"),
        (403, "account_overdue"),
        (403, "AccountOverdueError"),
        (403, 30001),
        (402, None),
    ],
)
def test_a_code_says_that_there_is_no_quota(status: int, code: object) -> None:
    """It may be the code or the type of an error."""
    assert why(status, code, None) == why(status, None, code) == NO_QUOTA


def test_a_code_says_that_the_account_is_locked() -> None:
    """To pay would not help."""
    assert why(429, "1112") == LOCKED


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (429, "您的账户已欠费，请充值后重试。"),
        (403, "Sorry, your account balance is insufficient"),
        (429, "Your account org-1 is suspended due to insufficient balance, please recharge your account"),
        (429, "Free allocated quota exceeded."),
        (400, "Your credit balance is too low to access the Anthropic API."),
    ],
)
def test_words_say_so_where_no_code_does(status: int, message: str) -> None:
    """Services have many codes."""
    assert why(status, "rate_limit_error", message=message) == NO_QUOTA


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (429, "rate_limit_exceeded", "Rate limit reached for gpt-4.1 on requests per min. Visit your billing page."),
        (429, "1302", "您的账户已达到速率限制，请您控制请求频率"),
        (429, "1305", "该模型当前访问量过大，请您稍后再试"),
        (429, "rpm_rate_limit_exceeded", "Rate limit reached for RPM"),
        (429, ["1113"], "slow down"),
        (400, None, "invalid content: '我的账户欠费了'"),
        (500, None, "insufficient balance"),
    ],
)
def test_other_errors_do_not_say_so(status: int, code: object, message: str) -> None:
    """A limit of a minute, or a text that the server only quotes."""
    assert why(status, code, message=message) is None


def test_a_quota_of_a_minute_is_no_empty_account() -> None:
    """Alibaba Cloud has OpenAI's code and message for tokens that come too fast."""
    message = "You exceeded your current quota, please check your plan and billing details."
    assert why(429, "insufficient_quota", message=message, host=DASHSCOPE) is None
    assert why(429, "insufficient_quota", message=message, host="notaliyuncs.com") == NO_QUOTA


def test_a_402_that_says_how_long_to_wait_is_waited_for() -> None:
    """So OpenRouter says that calls in flight have reserved what is left."""
    assert why(402, wait=True) is None
    body = {"error": {"message": "in flight", "code": 402}}
    with odd_server(answering(body, 402, **{"Retry-After": "3"})) as server, pytest.raises(RateLimited):
        chat(provider_at(server.url))


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": "1113", "message": "您的账户已欠费，请充值后重试。"}},
        {"code": "1113", "message": "您的账户已欠费，请充值后重试。"},
    ],
)
def test_the_run_stops_with_the_servers_own_sentence(body: Any) -> None:
    """Wherever in the body it stands."""
    with odd_server(answering(body, 429)) as server, pytest.raises(ProviderUnusable) as raised:
        chat(provider_at(server.url))
    assert str(raised.value) == "main: 429: 您的账户已欠费，请充值后重试; there is no quota left"
