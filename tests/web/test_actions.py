"""What the page does to runs, and who may."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from rxpipe.insight.reading import ItemFilter
from rxpipe.web import app

from .fake_figures import LIVE
from .fake_runs import FakeRuns
from .page_clients import ACTION, client_of


def test_selected_items_are_requeued(client: TestClient, runs: FakeRuns) -> None:
    """And it is logged with who asked."""
    with capture_logs() as logs:
        response = client.post(f"/api/runs/{LIVE}/requeue", json={"items": ["7", "9"]}, headers=ACTION)
    assert response.json() == {"requeued": 2}
    assert runs.requeued == [(LIVE, ["7", "9"])]
    (log,) = logs
    assert log["event"] == "items requeued from the page"
    assert (log["run"], log["requeued"], log["client"]) == (LIVE, 2, "127.0.0.1")


def test_filtered_items_are_requeued(client: TestClient, runs: FakeRuns) -> None:
    """By the same filter that a list has."""
    body = {"filter": {"status": "failed", "stage": "grading", "longer_than": "2.5"}}
    assert client.post(f"/api/runs/{LIVE}/requeue", json=body, headers=ACTION).status_code == 200
    assert runs.requeued == [(LIVE, ItemFilter(status="failed", stage="grading", longer_than=2.5))]


@pytest.mark.parametrize("abort", [False, True])
def test_a_run_is_stopped(client: TestClient, runs: FakeRuns, abort: bool) -> None:
    """Or aborted."""
    with capture_logs() as logs:
        response = client.post(f"/api/runs/{LIVE}/stop", json={"abort": abort}, headers=ACTION)
    assert response.json() == {"told": 2}
    assert runs.stopped == [(LIVE, abort)]
    assert [(log["event"], log["abort"]) for log in logs] == [("run stopped from the page", abort)]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"items": []},
        {"items": [7]},
        {"items": "7"},
        {"filter": []},
        {"items": ["7"], "filter": {}},
        {"filter": {"stauts": "failed"}},
        {"filter": {"status": "eaten"}},
        {"items": ["x"] * 10_001},
    ],
)
def test_what_is_not_clear_is_not_done(client: TestClient, runs: FakeRuns, body: Any) -> None:
    """A misspelt filter must not requeue everything."""
    response = client.post(f"/api/runs/{LIVE}/requeue", json=body, headers=ACTION)
    assert (response.status_code, runs.requeued) == (400, [])


@pytest.mark.parametrize("body", [b"[]", b"7", b"{", b"\xff", b"[" * 100_000])
def test_bodies_that_are_no_objects(client: TestClient, runs: FakeRuns, body: bytes) -> None:
    """Each is refused in a sentence."""
    response = client.post(f"/api/runs/{LIVE}/stop", content=body, headers=ACTION)
    assert (response.status_code, runs.stopped) == (400, [])


def test_a_body_has_a_bound(client: TestClient, runs: FakeRuns) -> None:
    """Nobody fills the memory."""
    response = client.post(f"/api/runs/{LIVE}/requeue", content=b" " * 3_000_000, headers=ACTION)
    assert (response.status_code, runs.requeued) == (413, [])


@pytest.mark.parametrize("how", ["read_only", "no actor"])
def test_read_only(runs: FakeRuns, how: str) -> None:
    """Then nothing is done, and the page knows."""
    page = app(runs, runs, read_only=True) if how == "read_only" else app(runs)
    with client_of(page) as client:
        assert client.get("/api/about").json()["read_only"] is True
        for action in ("requeue", "stop"):
            response = client.post(f"/api/runs/{LIVE}/{action}", json={"items": ["7"]}, headers=ACTION)
            assert (response.status_code, response.json()) == (403, {"error": "this page is read-only"})
    assert (runs.requeued, runs.stopped) == ([], [])


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"x-rxpipe-action": ""},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"host": "evil.example"},
    ],
)
def test_no_foreign_page_acts(client: TestClient, runs: FakeRuns, headers: dict[str, str]) -> None:
    """Whatever a browser may be made to send."""
    response = client.post(f"/api/runs/{LIVE}/stop", content=b"{}", headers={**ACTION, **headers})
    assert (response.status_code, runs.stopped) == (403, [])


def test_actions_are_no_get_requests(client: TestClient, runs: FakeRuns) -> None:
    """Nor does any other method do anything."""
    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS"):
        assert client.request(method, f"/api/runs/{LIVE}/stop", headers=ACTION).status_code == 405
    assert runs.stopped == []
