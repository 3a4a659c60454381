"""Judges from the calls so far whether calls to a provider can succeed at all."""

from __future__ import annotations

from rxpipe.llm.client import shown_name
from rxpipe.llm.errors import LLMError, PermanentError, RateLimited, Unavailable
from rxpipe.operators.core.running_call import will_retry

_REFUSED = 3  # refused requests in a row before any answer: then all will be refused
_LOST = 5  # items in a row that found no server
_MISSED = 5.0  # seconds without a server, before the server was ever reached
_ONLY_REFUSED = 30.0  # seconds in which a server sent nothing but 429s: a user should read them
_NOBODY = frozenset({None, 502, 503, 504})  # no connection, a proxy without a connection, or a model not loaded


class Health:
    """Counts the answers and errors of a provider's calls."""

    def __init__(self, *, key_env: str | None) -> None:
        """Start without any calls.

        Args:
            key_env: The environment variable that holds the key, or None.
        """
        self._has_key = key_env is not None
        name = None if key_env is None else shown_name(key_env)
        self._key = f"the key in {name}" if name else "the key"
        self._has_answered = False
        self._reached = False  # by any request, answered or not
        self._missed_since: float | None = None
        self._was_told = False
        self._refused = 0
        self._lost = 0
        self._limited_since: float | None = None  # by 429s, with no other reply between
        self._told_of_limit = False

    def answered(self) -> None:
        """Count a call that was answered."""
        self._has_answered = self._reached = True
        self._refused = self._lost = 0
        self._limited_since = None

    def is_first_miss(self, error: LLMError) -> bool:
        """Returns True for the first call that finds no server and is made again. Then the caller logs a warning."""
        is_miss = isinstance(error, Unavailable) and error.status in _NOBODY and will_retry(error)
        is_first = is_miss and not self._has_answered and not self._was_told
        self._was_told = self._was_told or is_first
        return is_first

    def is_only_refusing(self, error: LLMError, now: float) -> bool:
        """Returns True if the server has sent nothing but 429s for half a minute. Returns True once only.

        Args:
            error: The error of a call.
            now: The time, in seconds.
        """
        if not isinstance(error, RateLimited):
            self._limited_since = None
            return False
        self._limited_since = now if self._limited_since is None else self._limited_since
        is_only = not self._told_of_limit and now - self._limited_since >= _ONLY_REFUSED
        self._told_of_limit = self._told_of_limit or is_only
        return is_only

    def why_unusable(self, error: LLMError, now: float) -> str | None:
        """Returns advice if no call can be expected to succeed after this error; None if other calls may succeed.

        Args:
            error: The error of a call.
            now: The time, in seconds.
        """
        self._reached = self._reached or not isinstance(error, Unavailable) or error.reached
        if not self._reached:
            self._missed_since = now if self._missed_since is None else self._missed_since
            if now - self._missed_since >= _MISSED:
                return "nobody was there at any time; check that the server runs, and base_url"
        if isinstance(error, PermanentError):
            return error.exhausted or self._why_refused(error.status)
        if isinstance(error, Unavailable) and error.status in _NOBODY:
            self._lost += not will_retry(error)
            if self._lost >= (_LOST if self._has_answered else 1):  # then other items need not use up their attempts
                return "check that the server runs, and base_url"
        return None

    def _why_refused(self, status: int | None) -> str | None:
        if status == 401:
            return f"check {self._key}" if self._has_key else "it wants a key: name its variable with api_key_env"
        if self._has_answered:
            return None  # the server refuses this request only
        self._refused += 1
        if status == 403:
            return f"check {self._key}, and what it may be used for"
        if status == 404:
            return "check base_url and model"
        return "it has not taken any request so far" if self._refused >= _REFUSED else None
