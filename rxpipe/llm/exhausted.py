"""Recognizes replies that say that an account has nothing left, so that no other call can succeed either.

Services use many statuses and codes for this, often status 429, which also stands for too many calls. The table below
has the codes, each with its source, read in 2026:

- OpenAI: https://developers.openai.com/api/docs/guides/error-codes
- Zhipu and Z.AI: https://docs.bigmodel.cn/cn/api/api-code, https://docs.z.ai/api-reference/api-code
- Moonshot: https://forum.moonshot.ai/t/429-insufficient-balance/244, https://github.com/MoonshotAI/kimi-code/pull/1857
- Alibaba Cloud Model Studio (DashScope): https://help.aliyun.com/zh/model-studio/error-code
- Baidu Qianfan: https://cloud.baidu.com/doc/qianfan-api/s/rmwbl43x7, https://ai.baidu.com/ai-doc/AppBuilder/4m8sgh88y
- Volcengine Ark: https://www.volcengine.com/docs/82379/1099476
- SiliconFlow: https://github.com/FoundationAgents/OpenManus/issues/438
- AiHubMix and others that run one-api: https://docs.aihubmix.com/cn/FAQs/HTTP-Codes
- Anthropic: https://portkey.ai/error-library/insufficient-balance-error-10489

A 402 needs no code: DeepSeek, OpenRouter, Together and Mistral use the status for exactly this.
"""

from __future__ import annotations

from collections.abc import Sequence

NO_QUOTA = "there is no quota left"
LOCKED = "the account is locked, or not active"

_PAYMENT_REQUIRED = 402
_CODES: dict[str, str] = {
    # OpenAI
    "insufficient_quota": NO_QUOTA,
    "billing_hard_limit_reached": NO_QUOTA,
    "credit_balance_exhausted": NO_QUOTA,
    "organization_spend_limit_exceeded": NO_QUOTA,
    "project_spend_limit_exceeded": NO_QUOTA,
    "organization_usage_limit_exceeded": NO_QUOTA,
    # Zhipu, Z.AI: all of these with a 429
    "1110": LOCKED,
    "1111": LOCKED,
    "1112": LOCKED,
    "1113": NO_QUOTA,
    "1121": LOCKED,
    "1304": NO_QUOTA,  # of the day
    "1309": NO_QUOTA,  # the subscription is over
    "1310": NO_QUOTA,  # of the week or month
    # Moonshot
    "exceeded_current_quota_error": NO_QUOTA,
    # Alibaba Cloud Model Studio
    "Arrearage": NO_QUOTA,  # a 400
    "AllocationQuota.FreeTierOnly": NO_QUOTA,  # a 403
    "CommodityNotPurchased": NO_QUOTA,
    "PrepaidBillOverdue": NO_QUOTA,
    "PostpaidBillOverdue": NO_QUOTA,
    # Baidu Qianfan
    "account_overdue": NO_QUOTA,  # a 403
    "BILLING_INSUFFICIENT_BALANCE": NO_QUOTA,
    # Volcengine Ark
    "AccountOverdueError": NO_QUOTA,  # a 403
    # SiliconFlow: with a 403
    "30001": NO_QUOTA,
    "30011": NO_QUOTA,
    # one-api: with a 403
    "insufficient_user_quota": NO_QUOTA,
}
# At these hosts a code has another meaning. At Alibaba Cloud the code says that tokens come too fast, which ends within
# a minute (https://help.aliyun.com/zh/model-studio/rate-limit).
_ELSEWHERE: dict[str, frozenset[str]] = {"aliyuncs.com": frozenset({"insufficient_quota"})}
_SAID = (  # for replies with no code or another code: words that no message about a limit per minute has
    "欠费",
    "余额不足",
    "insufficient balance",
    "insufficient account balance",
    "account balance is insufficient",
    "insufficient credits",
    "credit balance is too low",
    "free allocated quota exceeded",
)
_MAY_SAY = frozenset({403, 429})  # a 400 may quote any text
_BEGINS = "your credit balance is too low"  # Anthropic, with a 400


def why_exhausted(status: int, codes: Sequence[object], message: str, host: str, *, may_wait: bool) -> str | None:
    """Returns the reason why no other call can succeed either, if an error reply says so.

    Args:
        status: The HTTP status.
        codes: The error's code and type: text, a number, or any other value that the server sent.
        message: The error's message.
        host: The server's name.
        may_wait: True if the server says how long to wait.

    Returns:
        The reason, or None if the reply does not say so.
    """
    if status == _PAYMENT_REQUIRED:
        return None if may_wait else NO_QUOTA
    other = next((codes for name, codes in _ELSEWHERE.items() if f".{host}".endswith(f".{name}")), frozenset[str]())
    for code in codes:
        if (found := _CODES.get(str(code))) is not None and str(code) not in other:
            return found
    said = message.casefold()
    is_said = said.startswith(_BEGINS) or (status in _MAY_SAY and any(words in said for words in _SAID))
    return NO_QUOTA if is_said else None
