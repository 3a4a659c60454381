"""Responses with bodies like OpenAI's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Response:
    """The response to a client.

    Attributes:
        status: The HTTP status.
        body: The body, as JSON.
        headers: Additional headers.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


class Refusal(Exception):
    """A request that is answered with an error."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def success(value: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """Returns a 200."""
    return Response(200, json.dumps(value).encode(), headers or {})


def error(
    status: int,
    message: str,
    *,
    kind: str = "invalid_request_error",
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Returns an error, in OpenAI's form."""
    body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return Response(status, json.dumps(body).encode(), headers or {})


def failure(headers: Mapping[str, str]) -> Response:
    """Returns a 500."""
    text = "The server had an error while processing your request. Sorry about that!"
    return error(500, text, kind="server_error", headers=headers)


def limited(model: str, what: str, detail: str, headers: Mapping[str, str]) -> Response:
    """Returns a 429.

    Args:
        model: The model's name, as the client writes it.
        what: ``"requests"`` or ``"tokens"``.
        detail: The limit, and when to come again.
        headers: Headers with ``Retry-After``.
    """
    text = f"Rate limit reached for {model} on {what}: {detail}"
    return error(429, text, kind=what, code="rate_limit_exceeded", headers=headers)


def unauthorized(authorization: str) -> Response:
    """Returns a 401, which does not repeat the sent key."""
    if not authorization:
        text = "You didn't provide an API key: send it in an Authorization header, as Bearer auth."
        return error(401, text)
    return error(401, "Incorrect API key provided.", code="invalid_api_key")


def no_such_model(model: str) -> Response:
    """Returns a 404 for a model."""
    text = f"The model `{model}` does not exist or you do not have access to it."
    return error(404, text, code="model_not_found")


def no_such_path(method: str, path: str) -> Response:
    """Returns a 404 for a path."""
    return error(404, f"Invalid URL ({method} {path})")


def wrong_method(method: str, allowed: str) -> Response:
    """Returns a 405."""
    text = f"Only {allowed} requests are accepted, not {method}."
    return error(405, text, code="method_not_supported", headers={"Allow": allowed})
