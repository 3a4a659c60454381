"""``/livez`` tells if the process should be restarted, and ``/readyz`` if it takes items."""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus

from rxpipe.service.health import HealthWatch
from rxpipe.service.http_server import Answer, Answering


def probes(health: HealthWatch, store_trouble: Callable[[], str]) -> dict[str, Answering]:
    """Returns the answers of the two paths.

    Args:
        health: Watches the run.
        store_trouble: Returns why nobody should count on the store; empty if there is no reason.
    """

    def live(_: str) -> Answer:
        found = health.look()
        return _answer(found.status != "stalled", found.status, found.reason)

    def ready(_: str) -> Answer:
        found = health.look()
        trouble = "; ".join(filter(None, [health.commit_trouble, store_trouble()]))
        is_ready = found.status == "alive" and not trouble
        return _answer(is_ready, found.status, "; ".join(filter(None, [found.reason, trouble])))

    return {"/livez": live, "/readyz": ready}


def _answer(is_good: bool, status: str, reason: str) -> Answer:
    body = json.dumps({"ok": is_good, "status": status, "reason": reason}) + "\n"
    code = HTTPStatus.OK if is_good else HTTPStatus.SERVICE_UNAVAILABLE
    return Answer(code, "application/json", body.encode())
