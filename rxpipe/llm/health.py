"""Whether calls to a provider can succeed at all: judged by what came of those so far."""

from __future__ import annotations

from rxpipe.llm.client import shown_name
from rxpipe.llm.errors import LLMError, PermanentError, RateLimited, Unavailable
from rxpipe.operators.core.running_call import will_retry

_REFUSED = 3  # requests in a row, before any was answered: then all will be
_LOST = 5  # items in a row that nobody was there for
_MISSED = 5.0  # seconds in which nobody was there, before anything ever was
_ONLY_REFUSED = 30.0  # seconds in which a server had no reply but 429s: somebody should know what they say
_NOBODY = frozenset({None, 502, 503, 504})  # no connection; or what is in between has none, or the model is not loaded


class Health:
    """Counts what came of a provider's calls."""

    def __init__(self, *, key_env: str | None) -> None:
        """Know of no calls yet.

        Args:
            key_env: The environment variable that holds the key, or None.
        """
        self._has_key = key_env is not None
        name = None if key_env is None else shown_name(key_env)
        self._key = f"the key in {name}" if name else "the key"
        self._has_answered = False
        self._reached = False  # by any request, whatever came of it
        self._missed_since: float | None = None
        self._was_told = False
        self._refused = 0
        self._lost = 0
        self._limited_since: float | None = None  # by 429s, with nothing else between
        self._told_of_limit = False

    def answered(self) -> None:
        """A call was answered."""
        self._has_answered = self._reached = True
        self._refused = self._lost = 0
        self._limited_since = None

    def is_first_miss(self, error: LLMError) -> bool:
        """Whether nobody was there for the first call that is made again: those who watch should not have to guess."""
        is_miss = isinstance(error, Unavailable) and error.status in _NOBODY and will_retry(error)
        is_first = is_miss and not self._has_answered and not self._was_told
        self._was_told = self._was_told or is_first
        return is_first

    def is_only_refusing(self, error: LLMError, now: float) -> bool:
        """Whether there was nothing but 429s for half a minute; told once.

        Args:
            error: What a call failed with.
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
        """What to do, if after this error no call can be expected to succeed; None if others may.

        Args:
            error: What a call failed with.
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
            if self._lost >= (_LOST if self._has_answered else 1):  # then others need not use up their attempts
                return "check that the server runs, and base_url"
        return None

    def _why_refused(self, status: int | None) -> str | None:
        if status == 401:
            return f"check {self._key}" if self._has_key else "it wants a key: name its variable with api_key_env"
        if self._has_answered:
            return None  # it is this request that is not taken
        self._refused += 1
        if status == 403:
            return f"check {self._key}, and what it may be used for"
        if status == 404:
            return "check base_url and model"
        return "it has not taken any request so far" if self._refused >= _REFUSED else None
