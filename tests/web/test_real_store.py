"""The page of a real store."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from rxpipe import DatabaseSink, Pipeline, Retry, RunStore, Stage
from rxpipe.web import app

from .page_clients import ACTION, client_of

pytestmark = pytest.mark.slow


def slow(number: int) -> int:
    """It begins slowly, as a server does that has to wake up: all of the run and its best part say different things."""
    time.sleep(0.3 if number < 2 else 0.002)
    return number


def test_the_page_says_what_the_report_says_of_what_held_the_run_up(tmp_path: Path) -> None:
    """Word for word, though the store has fewer snapshots than the run had; also after a run that had nothing to do."""
    url = f"sqlite:///{tmp_path / 'slow.db'}"
    stages = Stage("first", slow, concurrency=2), Stage("second", lambda value: value, concurrency=8)
    pipeline = Pipeline(*stages, sink=DatabaseSink(url), store=RunStore(), name="slow")
    report = pipeline.run(range(400))
    assert report.advice is not None
    for _ in range(2):
        with RunStore(url).reader() as reader, client_of(app(reader, None)) as client:
            told = answer(client, "runs/1")["findings"]
            assert (told["sentence"], told["name"]) == (report.advice.sentence, report.bottleneck)
        pipeline.run(range(400))


def generate(number: int) -> dict[str, Any]:
    return {"question": f"<b>What is {number}?</b>"}


def grade(value: dict[str, Any]) -> dict[str, Any]:
    if value["question"].endswith("3?</b>"):
        raise ValueError(f"no grade for {value['question']}")
    return {**value, "score": 1.0}


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    """One that has a run of 40 items, of which four have failed."""
    url = f"sqlite:///{tmp_path / 'bank.db'}"
    stages = (
        Stage("generation", generate, concurrency=4),
        Stage("grading", grade, retry=Retry(max_attempts=2, initial=0.0)),
    )
    report = Pipeline(*stages, sink=DatabaseSink(url), store=RunStore(), name="bank").run(range(40))
    assert (report.written, report.failed) == (36, 4)
    return RunStore(url)


def answer(client: TestClient, path: str) -> Any:
    response = client.get(f"/api/{path}")
    assert response.status_code == 200, response.text
    return response.json()


def test_each_screen_has_its_answers(store: RunStore) -> None:
    """From the rows that the run has left."""
    with store.reader() as reader, store.actor() as actor, client_of(app(reader, actor)) as client:
        (run,) = answer(client, "runs")["runs"]
        assert (run["name"], run["state"], run["counts"]["written"], run["counts"]["failed"]) == (
            "bank",
            "finished",
            36,
            4,
        )
        told = answer(client, "runs/1")
        assert [stage["name"] for stage in told["snapshot"]["stages"]] == ["generation", "grading"]
        assert told["findings"]["sentence"]
        assert answer(client, "runs/1/history")["done"][-1] == 36
        assert answer(client, "runs/1/workers")["workers"][0]["held"] == 0
        (error,) = answer(client, "runs/1/errors")["errors"]
        assert (error["stage"], error["type"], error["items"], error["calls"]) == ("grading", "ValueError", 4, 8)
        failed = answer(client, "runs/1/items?status=failed&error=NO+grade&most=3")
        assert (len(failed["items"]), failed["following"] is not None) == (3, True)
        assert answer(client, "runs/1/count?status=failed")["count"] == 4
        item = answer(client, "runs/1/item?id=13")
        assert [(call["stage"], call["ended"]) for call in item["calls"]] == [
            ("generation", "ok"),
            ("grading", "retried"),
            ("grading", "failed"),
        ]
        assert "ValueError" in item["calls"][-1]["traceback"]["text"]
        assert "<b>What is 13?</b>" in item["outputs"][0]["output"]["text"]
        timeline = answer(client, "runs/1/timeline?since=0&seconds=60")
        assert len(timeline["bars"]) == timeline["calls"] == 40 + 36 + 8
        for stage, heights in zip(told["snapshot"]["stages"], timeline["heights"], strict=True):
            drawn = sum(heights["running"]) * 60 / len(heights["running"])
            assert drawn == pytest.approx(stage["busy"], abs=1e-3)


def test_what_has_failed_is_requeued(store: RunStore) -> None:
    """By a filter, or by IDs."""
    with store.reader() as reader, store.actor() as actor, client_of(app(reader, actor)) as client:
        one = client.post("/api/runs/1/requeue", json={"items": ["13"]}, headers=ACTION)
        assert one.json() == {"requeued": 1}
        rest = client.post("/api/runs/1/requeue", json={"filter": {"status": "failed"}}, headers=ACTION)
        assert rest.json() == {"requeued": 3}
        assert answer(client, "runs/1/count?status=failed")["count"] == 0
        assert client.post("/api/runs/1/stop", json={}, headers=ACTION).json() == {"told": 0}
        assert client.post("/api/runs/99/stop", json={}, headers=ACTION).status_code in (200, 404, 503)
