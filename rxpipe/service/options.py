"""The user's options for reports of a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """The options of ``rxpipe run`` for reports.

    Attributes:
        metrics: Serve ``/metrics`` at this address, ``HOST:PORT``.
        health: Serve ``/livez`` and ``/readyz`` at this address. It may be the same.
        json_logs: Log lines of JSON, and show no progress.
        quiet: Log errors only.
    """

    metrics: str | None = None
    health: str | None = None
    json_logs: bool = False
    quiet: bool = False
