"""What can go wrong with a call to a language model, by kind.

::

    LLMError
    ├── RateLimited         429: too many calls; made again when the server allows, and no attempt is used up
    ├── Unavailable         5xx, no connection, no answer in time, or none that can be read: worth another attempt
    ├── InvalidOutput       the reply is not of the form that was asked for: worth another attempt
    ├── Refused             the model declined
    └── PermanentError      400, 404 and such: the same request would fail again

    StopRun (rxpipe.errors)
    └── ProviderUnusable    a wrong key, no quota left, nobody there: no call can succeed, so the run stops

Their ``kind`` (``rate_limited``, ``transient``, ``invalid_output``, ``refused``, ``permanent``) is what a ``Retry`` can
name as ``retry_on``. Texts come from servers: they are cut, and the key is taken out of them.
"""

from __future__ import annotations

from rxpipe.errors import RxPipeError, StopRun


class LLMError(RxPipeError):
    """A call to a language model failed.

    Attributes:
        status: The HTTP status, or None.
        retry_after: Seconds to wait before the next call, as the server says; None if it does not.
    """

    kind = "error"
    status: int | None = None
    retry_after: float | None = None


class RateLimited(LLMError):
    """The server has had too many calls for now."""

    kind = "rate_limited"
    uses_attempt = False


class Unavailable(LLMError):
    """The server failed, could not be reached, or sent what is no chat completion.

    Attributes:
        reached: Whether there was a connection.
    """

    reached = True

    kind = "transient"


class InvalidOutput(LLMError):
    """The reply is not what was asked for."""

    kind = "invalid_output"


class Refused(LLMError):
    """The model declined to answer, or a filter kept its answer back."""

    kind = "refused"
    is_permanent = True


class PermanentError(LLMError):
    """The server will not take this request, however often it is made.

    Attributes:
        exhausted: Why it will not take any other either, if it says so: the account has nothing left, say.
    """

    exhausted: str | None = None

    kind = "permanent"
    is_permanent = True


class ProviderUnusable(StopRun):
    """No call to this provider can succeed: says why, and what to do."""
