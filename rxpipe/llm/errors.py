"""The errors of calls to a language model, by kind.

::

    LLMError
    ├── RateLimited         429: too many calls; made again when the server allows, and no attempt is used up
    ├── Unavailable         5xx, no connection, no answer in time, or an unreadable answer: worth another attempt
    ├── InvalidOutput       the reply does not have the requested form: worth another attempt
    ├── Refused             the model declined
    └── PermanentError      400, 404 and such: the same request would fail again

    StopRun (rxpipe.errors)
    └── ProviderUnusable    a wrong key, no quota left, no server there: no call can succeed, so the run stops

Each error has a ``kind``: ``rate_limited``, ``transient``, ``invalid_output``, ``refused`` or ``permanent``. A
``Retry`` can name kinds as ``retry_on``. The texts come from servers: they are cut, and the key is removed from them.
"""

from __future__ import annotations

from rxpipe.errors import RxPipeError, StopRun


class LLMError(RxPipeError):
    """A call to a language model failed.

    Attributes:
        status: The HTTP status, or None.
        retry_after: Seconds to wait before the next call, as the server says; None if the server does not say.
    """

    kind = "error"
    status: int | None = None
    retry_after: float | None = None


class RateLimited(LLMError):
    """The server received too many calls for now."""

    kind = "rate_limited"
    uses_attempt = False


class Unavailable(LLMError):
    """The server failed, could not be reached, or sent something else than a chat completion.

    Attributes:
        reached: True if there was a connection.
    """

    reached = True

    kind = "transient"


class InvalidOutput(LLMError):
    """The reply does not have the requested form."""

    kind = "invalid_output"


class Refused(LLMError):
    """The model declined to answer, or a filter kept the answer back."""

    kind = "refused"
    is_permanent = True


class PermanentError(LLMError):
    """The server does not accept this request, however often the request is made.

    Attributes:
        exhausted: Why the server accepts no other request either, such as an account with nothing left; None if the
            server does not say so.
    """

    exhausted: str | None = None

    kind = "permanent"
    is_permanent = True


class ProviderUnusable(StopRun):
    """No call to this provider can succeed. The text says why, and what to do."""
