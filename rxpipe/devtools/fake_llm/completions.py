"""One call for a completion, from its body to its response."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable
from typing import Any

from rxpipe.devtools.fake_llm.behaviour import Behaviour
from rxpipe.devtools.fake_llm.chat import ChatRequest, parse
from rxpipe.devtools.fake_llm.counts import Counts
from rxpipe.devtools.fake_llm.draws import Draw, draws
from rxpipe.devtools.fake_llm.limits import Limits, duration, retry_headers
from rxpipe.devtools.fake_llm.load import SharedServer
from rxpipe.devtools.fake_llm.reply_texts import REFUSED, reply
from rxpipe.devtools.fake_llm.responses import Refusal, Response, failure, limited, success, unauthorized
from rxpipe.llm.tokens import about_tokens


class Completions:
    """Answers calls by a behaviour, and counts them. Knows nothing of HTTP.

    A call passes the key, the check of its body, the slots and the rate limits before its fault is drawn. A call that
    these refuse is no attempt. So the n-th attempt has the same fate however many calls were refused before.
    """

    def __init__(self, behaviour: Behaviour, clock: Callable[[], float]) -> None:
        """Begin without calls.

        Args:
            behaviour: The server's behaviour.
            clock: The clock of the rate limits, in seconds. Latencies use the event loop's clock.
        """
        self.counts = Counts()
        self._behaviour = behaviour
        self._limits = Limits(behaviour, clock)
        self._draw = draws(behaviour)
        slots = behaviour.load_slots
        self._serve = asyncio.sleep if slots is None else SharedServer(slots).serve

    def allowed(self, authorization: str) -> bool:
        """Returns True if the header has the key."""
        key = self._behaviour.key
        if key is None:
            return True
        # Both may hold bytes that are not UTF-8, as surrogates.
        given, wanted = (text.encode(errors="surrogatepass") for text in (authorization, f"Bearer {key}"))
        return hmac.compare_digest(given, wanted)

    async def complete(self, body: bytes, authorization: str) -> Response:
        """Answer a call, or never. The call is cancelled when its client goes.

        Args:
            body: The request's body.
            authorization: The text of the ``Authorization`` header, which may be empty.
        """
        self.counts.calls += 1
        if not self.allowed(authorization):
            response = unauthorized(authorization)
        else:
            try:
                response = await self._complete(parse(body, no_schema=self._behaviour.no_schema))
            except Refusal as refusal:
                response = refusal.response
        self.counts.ended(str(response.status))
        return response

    async def _complete(self, request: ChatRequest) -> Response:
        self.counts.came(request.key)
        self._enter(request)
        attempt = self.counts.attempt(request.key)
        draw = self._draw(request.key, attempt)
        if draw.kind == "limited":
            raise Refusal(self._busy(request, "try again later."))
        self.counts.entered()
        try:
            return await self._served(request, attempt, draw)
        except asyncio.CancelledError:
            self.counts.ended("hung" if draw.kind == "hang" else "gone")
            raise
        finally:
            self.counts.left()

    def _enter(self, request: ChatRequest) -> None:
        """Let a call in, or refuse it."""
        slots = self._behaviour.slots
        if slots is not None and self.counts.in_flight >= slots:
            raise Refusal(self._busy(request, f"{slots} at once is the most."))
        if (excess := self._limits.enter(request.prompt_tokens)) is not None:
            detail = f"the limit is {excess.limit}. Please try again in {duration(excess.wait)}."
            headers = retry_headers(excess.wait) | self._limits.headers()
            raise Refusal(limited(request.model, excess.what, detail, headers))

    def _busy(self, request: ChatRequest, detail: str) -> Response:
        headers = retry_headers(self._behaviour.retry_after) | self._limits.headers()
        return limited(request.model, "requests", detail, headers)

    async def _served(self, request: ChatRequest, attempt: int, draw: Draw) -> Response:
        if draw.kind == "hang":
            await asyncio.get_running_loop().create_future()
        latency = draw.latency / 10 if draw.kind == "fail" else draw.latency
        if latency:
            await self._serve(latency)
        headers = self._limits.headers() | {"x-request-id": f"req_{request.key}{attempt}"}
        if draw.kind == "fail":
            return failure(headers)
        refused = draw.kind == "refuse"
        text = REFUSED if refused else self._text(request, draw)
        completion_tokens = max(1, int(about_tokens(text)))
        self._limits.spend(completion_tokens)
        self.counts.completed(request.key, request.prompt_tokens, completion_tokens)
        message = {
            "role": "assistant",
            "content": None if refused else text,
            "refusal": text if refused else None,
        }
        return success(_completion(request, attempt, draw, message, completion_tokens), headers)

    def _text(self, request: ChatRequest, draw: Draw) -> str:
        good = reply(request, self._behaviour.seed)
        if draw.kind == "invalid":
            return good.spoiled(draw.variant)
        return good.cut if draw.kind == "length" else good.text


def _completion(
    request: ChatRequest, attempt: int, draw: Draw, message: dict[str, Any], completion_tokens: int
) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{request.key}{attempt}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request.model,
        "choices": [
            {
                "index": 0,
                "message": message,
                "logprobs": None,
                "finish_reason": "length" if draw.kind == "length" else "stop",
            }
        ],
        "usage": {
            "prompt_tokens": request.prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": request.prompt_tokens + completion_tokens,
        },
        "system_fingerprint": "fp_fake",
    }
