"""What a user may ask for, of what a run tells others."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """The options of ``rxpipe run`` that are about this.

    Attributes:
        metrics: Serve ``/metrics`` at this address, ``HOST:PORT``.
        health: Serve ``/livez`` and ``/readyz`` at this one. It may be the same.
        json_logs: Log lines of JSON, and show no progress.
        quiet: Log errors only.
    """

    metrics: str | None = None
    health: str | None = None
    json_logs: bool = False
    quiet: bool = False
