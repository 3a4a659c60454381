"""The counts of a server."""

from __future__ import annotations

from typing import TypedDict


class KeyStats(TypedDict):
    """The calls of one key.

    Attributes:
        calls: Calls that came.
        ok: Calls that got a 200.
    """

    calls: int
    ok: int


class Stats(TypedDict):
    """The counts of a server. Calls are those in flight and those by status, together.

    Attributes:
        calls: Requests for completions, however they ended.
        in_flight: Calls that are being served now.
        most_in_flight: Most calls that were served at once. Calls that are refused at once do not count.
        by_status: How calls ended: an HTTP status; ``"hung"``: the client went while its call hung; ``"gone"``: the
            client went before the answer.
        by_key: The calls of each key.
        prompt_tokens: Prompt tokens of all 200s.
        completion_tokens: Completion tokens of all 200s.
    """

    calls: int
    in_flight: int
    most_in_flight: int
    by_status: dict[str, int]
    by_key: dict[str, KeyStats]
    prompt_tokens: int
    completion_tokens: int


class Counts:
    """Counts calls, on the server's loop. Any thread may read the counts."""

    def __init__(self) -> None:
        """Begin at 0."""
        self.calls = 0
        self.in_flight = 0
        self._most_in_flight = 0
        self._by_status: dict[str, int] = {}
        self._by_key: dict[str, list[int]] = {}
        self._prompt_tokens = 0
        self._completion_tokens = 0

    def came(self, key: str) -> None:
        """A call of this key came."""
        entry = self._by_key.get(key)
        if entry is None:
            # Calls, 200s, and calls that were let in.
            self._by_key[key] = entry = [0, 0, 0]
        entry[0] += 1

    def attempt(self, key: str) -> int:
        """A call was let in. Returns its number among those of its key, from 0."""
        entry = self._by_key[key]
        entry[2] += 1
        return entry[2] - 1

    def entered(self) -> None:
        """A call is being served."""
        self.in_flight += 1
        self._most_in_flight = max(self._most_in_flight, self.in_flight)

    def left(self) -> None:
        """A call is no longer being served."""
        self.in_flight -= 1

    def ended(self, status: str) -> None:
        """A call has ended."""
        self._by_status[status] = self._by_status.get(status, 0) + 1

    def completed(self, key: str, prompt_tokens: int, completion_tokens: int) -> None:
        """A call got a 200."""
        self._by_key[key][1] += 1
        self._prompt_tokens += prompt_tokens
        self._completion_tokens += completion_tokens

    def stats(self) -> Stats:
        """Returns all counts."""
        keys = list(self._by_key.items())  # copied at once, as the loop may add entries meanwhile
        return Stats(
            calls=self.calls,
            in_flight=self.in_flight,
            most_in_flight=self._most_in_flight,
            by_status=dict(sorted(self._by_status.copy().items())),
            by_key={key: KeyStats(calls=entry[0], ok=entry[1]) for key, entry in keys},
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._completion_tokens,
        )
