"""What the page is answered."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from rxpipe.web import app

from .fake_figures import FINISHED, HOSTILE, LIVE
from .fake_runs import FakeRuns
from .page_clients import client_of


def answer(client: TestClient, path: str, status: int = 200) -> Any:
    response = client.get(f"/api/{path}")
    assert response.status_code == status, response.text
    return response.json()


def test_the_page_itself(client: TestClient) -> None:
    """It is HTML, and all that it names is there."""
    response = client.get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    for name in ("static/page.css", "static/main.js", "static/vendor/uPlot.iife.min.js", "static/icon.svg"):
        assert name in response.text
        assert client.get(f"/{name}").status_code == 200


def test_files_are_asked_for_once(client: TestClient) -> None:
    """A browser that has one is told that it is still right."""
    tag = client.get("/static/main.js").headers["etag"]
    response = client.get("/static/main.js", headers={"if-none-match": tag})
    assert (response.status_code, response.content) == (304, b"")


def test_runs_in_pages(client: TestClient) -> None:
    """The latest first; each page goes on behind the last."""
    first = answer(client, "runs?most=5")
    assert [row["number"] for row in first["runs"]] == [12, 11, 10, 9, 8]
    second = answer(client, f"runs?most=5&after={first['following']}")
    assert [row["number"] for row in second["runs"]] == [7, 6, 5, 4, 3]
    assert answer(client, "runs?most=5&after=3")["following"] is None


def test_a_run_with_its_numbers_and_what_they_say(client: TestClient) -> None:
    """Quantiles instead of histograms, rates of the latest minute, and the advice."""
    told = answer(client, f"runs/{LIVE}")
    assert told["run"]["state"] == "running"
    stage = told["snapshot"]["stages"][1]
    assert (stage["name"], stage["running"], stage["concurrency"]) == ("answering", 14, 14)
    assert set(stage["seconds"]) == {"count", "mean", "p50", "p95", "p99", "longest"}
    assert 6 < told["window"]["written"] < 9
    assert told["window"]["limiters"]["requests"] == pytest.approx(8.1)
    assert (told["findings"]["kind"], told["findings"]["name"]) == ("stage", "answering")
    assert told["findings"]["sentence"].startswith("answering holds the others up")


def test_history_is_in_columns_from_the_beginning(client: TestClient) -> None:
    """All of one length, which is bounded."""
    told = answer(client, f"runs/{LIVE}/history?most=50")
    columns = [values for key, values in told.items() if key not in ("stages", "began_at")]
    columns += [values for stage in told["stages"] for key, values in stage.items() if key != "name"]
    assert {len(values) for values in columns} == {50}
    assert told["at"][0] - told["began_at"] < 20
    assert told["cost"] == sorted(told["cost"])


def test_items_by_pages_and_filters(client: TestClient) -> None:
    """A page goes on where the last ended, and a filter holds for each of them."""
    first = answer(client, f"runs/{LIVE}/items?status=failed&most=20")
    second = answer(client, f"runs/{LIVE}/items?status=failed&most=20&after={first['following']}")
    ids = [int(row["key"]) for page in (first, second) for row in page["items"]]
    assert len(ids) == 40
    assert ids == sorted(set(ids), reverse=True)
    assert {row["status"] for page in (first, second) for row in page["items"]} == {"failed"}
    told = answer(client, f"runs/{LIVE}/items?stage=grading&error=SCORE&order=oldest&most=5")
    assert all("score" in row["error"] and row["stage"] == "grading" for row in told["items"])
    assert answer(client, f"runs/{LIVE}/items?text=4999")["items"][0]["key"] == "4999"
    assert [row["key"] for row in answer(client, f"runs/{LIVE}/items?parent=42")["items"]] == ["46", "45", "44"]
    slow = answer(client, f"runs/{LIVE}/items?longer_than=7&most=5")["items"]
    assert all(row["ended_at"] - row["began_at"] >= 7 for row in slow)


def test_a_count_is_bounded(client: TestClient, runs: FakeRuns) -> None:
    """Of a million items it says that there are many."""
    assert answer(client, f"runs/{LIVE}/count") == {"count": 5_000, "or_more": False}
    runs.items_of_live = 20_000
    assert answer(client, f"runs/{LIVE}/count") == {"count": 10_000, "or_more": True}


def test_an_item_with_all_that_is_kept_of_it(client: TestClient) -> None:
    """Input, outputs, calls with prompts and replies."""
    told = answer(client, f"runs/{LIVE}/item?id=42")
    assert told["children"] == {"written": 2, "dropped": 1}
    assert '"topic": "geography"' in told["value"]["text"]
    assert [one["stage"] for one in told["outputs"]] == ["generation", "answering", "grading"]
    call = told["calls"][2]
    assert (call["stage"], call["attempt"], call["ended"], call["in_flight"]) == ("answering", 2, "ok", 7)
    assert [message["role"] for message in call["exchanges"][0]["messages"]] == ["system", "user"]
    assert told["calls"][1]["traceback"]["text"].startswith("Traceback")
    assert answer(client, f"runs/{LIVE}/item?id=44")["parents"] == ["42"]


def test_the_timeline(client: TestClient) -> None:
    """Calls of a part of the run; it says when there are more."""
    told = answer(client, f"runs/{LIVE}/timeline?since=600&seconds=5")
    assert told["is_cut"] is False
    assert {bar["stage"] for bar in told["bars"]} == {"generation", "answering", "grading"}
    assert (told["calls"], told["since"], told["seconds"]) == (len(told["bars"]), 600.0, 5.0)
    cut = answer(client, f"runs/{LIVE}/timeline?since=600&seconds=5&most=20")
    assert (len(cut["bars"]), cut["calls"], cut["is_cut"]) == (20, told["calls"], True)
    assert [one["stage"] for one in cut["heights"]] == ["generation", "answering", "grading"]
    for of_stage in cut["heights"]:
        bars = [bar for bar in told["bars"] if bar["stage"] == of_stage["stage"]]
        seconds = sum(max(0.0, min(605.0, bar["began"] + bar["seconds"]) - max(600.0, bar["began"])) for bar in bars)
        assert sum(of_stage["running"]) * 5 / len(of_stage["running"]) == pytest.approx(seconds)


def test_a_timeline_of_more_calls_than_can_be_read(client: TestClient, runs: FakeRuns) -> None:
    """It says that calls are left out, however few it has."""
    runs.most_read = 10
    told = answer(client, f"runs/{LIVE}/timeline?since=600&seconds=5")
    assert (told["heights"], told["is_cut"]) == (None, True)


def test_workers_and_errors(client: TestClient) -> None:
    """As the reader has them."""
    assert [row["state"] for row in answer(client, f"runs/{LIVE}/workers")["workers"]] == ["alive", "late", "lost"]
    assert answer(client, f"runs/{FINISHED}/errors")["errors"][1]["type"] == "StageTimeout"


@pytest.mark.parametrize(
    "path",
    [
        "items?status=eaten",
        "items?order=prettiest",
        "items?longer_than=-1",
        "items?since=nan",
        "items?longer_than=1e999",
        "items?most=0",
        "items?most=-5",
        "items?most=abc",
        f"items?text={'x' * 3000}",
        "timeline?since=x",
        "timeline?seconds=0",
        "history?most=²",
    ],
)
def test_what_makes_no_sense_is_refused(client: TestClient, path: str) -> None:
    """With a sentence."""
    assert "must be" in answer(client, f"runs/{LIVE}/{path}", 400)["error"]


@pytest.mark.parametrize("path", ["runs/99", "runs/99/history", f"runs/{LIVE}/item?id=no", "nothing", "runs/x"])
def test_what_is_not_there(client: TestClient, path: str) -> None:
    """Each is 404, in JSON."""
    assert answer(client, path, 404)["error"]


def test_a_reader_that_raises_is_told_in_a_line(client: TestClient, runs: FakeRuns) -> None:
    """No traceback reaches a browser."""
    runs.error = OSError("no route to the host\n  and more of it")
    assert answer(client, f"runs/{LIVE}", 503) == {"error": "no route to the host"}


def test_most_is_bounded(client: TestClient) -> None:
    """However many are asked for."""
    assert len(answer(client, f"runs/{LIVE}/items?most=100000")["items"]) == 500


def test_below_another_app(runs: FakeRuns) -> None:
    """Mounted in FastAPI at a path, all addresses are relative, and the page has a slash at its end."""
    outer = FastAPI()
    outer.mount("/ops/runs", app(runs, runs))
    with client_of(outer) as client:
        page = client.get("/ops/runs")
        assert page.url.path == "/ops/runs/"
        assert page.status_code == 200
        assert 'href="/' not in page.text
        assert 'src="/' not in page.text
        assert client.get("/ops/runs/static/main.js").status_code == 200
        assert client.get("/ops/runs/api/runs").json()["runs"][0]["number"] == LIVE


def test_without_a_store() -> None:
    """A run of this process alone has no items."""
    live = FakeRuns(clock=lambda: 100.0).latest(LIVE)
    assert live is not None
    with client_of(app(None, live=lambda: live)) as client:
        assert answer(client, "about")["has_store"] is False
        assert [row["number"] for row in answer(client, "runs")["runs"]] == [LIVE]
        assert answer(client, f"runs/{LIVE}")["snapshot"]["written"] == live.written
        assert "no store" in answer(client, f"runs/{LIVE}/items", 404)["error"]


def test_numbers_that_json_has_not(client: TestClient) -> None:
    """A hostile run's JSON is JSON."""
    assert "NaN" not in client.get(f"/api/runs/{HOSTILE}").text
