"""What the page is told of other settings."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from starlette.testclient import TestClient

from rxpipe.foresight.what_if import Point, WhatIf
from rxpipe.insight.reading import Timeline
from rxpipe.web import app

from .fake_figures import FINISHED, HOSTILE, LIVE, STAGES
from .fake_runs import FakeRuns
from .page_clients import client_of


@pytest.fixture
def curves(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What is simulated."""
    asked: list[tuple[str, Any]] = []
    real = WhatIf.curve

    def curve(self: WhatIf, name: str, changed: Any = None) -> list[Point]:
        asked.append((name, dict(changed or {})))
        return real(self, name, changed)

    monkeypatch.setattr(WhatIf, "curve", curve)
    return asked


def answer(client: TestClient, path: str) -> Any:
    response = client.get(f"/api/{path}")
    assert response.status_code == 200, response.text
    return response.json()


def test_what_can_be_set(client: TestClient, curves: list[Any]) -> None:
    """Slots of stages and limits, and how the run goes now; nothing is simulated for that."""
    told = answer(client, f"runs/{LIVE}/whatif")
    assert [(one["name"], one["kind"], one["now"]) for one in told["settings"]] == [
        *((name, "slots", slots) for name, slots, _ in STAGES),
        ("requests", "limit", 12.0),
    ]
    assert told["now"]["rate"] == pytest.approx(7.9, rel=0.1)
    assert told["now"]["seconds"] == pytest.approx(210.0)
    assert not told["now"]["is_over"]
    assert curves == []


def test_a_curve(client: TestClient, curves: list[Any]) -> None:
    """Rate and time left at each value; it is kept."""
    told = answer(client, f"runs/{LIVE}/whatif?vary=2")
    values = [point["value"] for point in told["points"]]
    assert values == sorted(values)
    assert {told["settings"][1]["now"], told["settings"][1]["most"]} <= set(values)
    here = next(point for point in told["points"] if point["value"] == told["settings"][1]["now"])
    assert here["rate"]["middle"] == pytest.approx(told["now"]["rate"])
    assert here["seconds"]["middle"] == pytest.approx(told["now"]["seconds"])
    least = told["points"][0]
    assert least["rate"]["middle"] < here["rate"]["middle"]
    assert least["seconds"]["low"] <= least["seconds"]["middle"] <= least["seconds"]["high"]
    assert answer(client, f"runs/{LIVE}/whatif?vary=2&set=2:9") == told
    assert curves == [("answering", {})]
    answer(client, f"runs/{LIVE}/whatif?vary=2&set=1:4&set=4:20")
    assert curves[1:] == [("answering", {"generation": 4.0, "requests": 20.0})]


def test_a_run_that_is_over(client: TestClient) -> None:
    """How long it would have taken."""
    now = answer(client, f"runs/{FINISHED}/whatif")["now"]
    assert now["is_over"]
    assert now["seconds"] > 1_000


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("vary=9", 400),
        ("vary=0", 400),
        ("vary=answering", 400),
        ("vary=1&set=9:3", 400),
        ("vary=1&set=2:1000", 400),
        ("vary=1&set=2:nan", 400),
        ("vary=1&set=generation", 400),
        ("vary=1&set=2:3&set=2:3&set=2:3&set=2:3&set=2:3", 400),
    ],
)
def test_what_makes_no_sense(client: TestClient, curves: list[Any], query: str, status: int) -> None:
    """It is refused before anything is simulated."""
    assert client.get(f"/api/runs/{LIVE}/whatif?{query}").status_code == status
    assert curves == []


def test_runs_that_tell_too_little(client: TestClient, runs: FakeRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    """No such run; one without calls says why; names full of attacks are only cut."""
    assert client.get("/api/runs/999/whatif").status_code == 404
    assert len(answer(client, f"runs/{HOSTILE}/whatif")["settings"]) >= 0

    def nothing(*_: Any, **__: Any) -> Timeline:
        return Timeline()

    monkeypatch.setattr(runs, "timeline", nothing)
    told = answer(client, f"runs/{FINISHED}/whatif")
    assert told["settings"] == []
    assert "no recorded calls" in told["why"]


def test_nothing_for_a_page_to_look_at_only(runs: FakeRuns) -> None:
    """It costs a processor: whoever may only look may not."""
    for page in (app(runs, None), app(runs, runs, read_only=True)):
        with client_of(page) as client:
            assert not answer(client, "about")["predicts"]
            assert client.get(f"/api/runs/{LIVE}/whatif").status_code == 403
    with client_of(app(runs, runs)) as client:
        assert answer(client, "about")["predicts"]


def test_one_at_a_time(runs: FakeRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others wait, and some of too many are sent away."""
    at_once, most, go_on = [0], [0], threading.Event()

    def curve(self: WhatIf, name: str, changed: Any = None) -> list[Point]:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        go_on.wait(20)
        at_once[0] -= 1
        return []

    monkeypatch.setattr(WhatIf, "curve", curve)
    statuses: list[int] = []
    with client_of(app(runs, runs)) as client:

        def ask(place: int) -> None:
            query = f"vary={place % 4 + 1}&set={(place + 1) % 4 + 1}:{8 + place % 3}"
            statuses.append(client.get(f"/api/runs/{LIVE}/whatif?{query}").status_code)

        threads = [threading.Thread(target=ask, args=(place,)) for place in range(9)]
        for thread in threads:
            thread.start()
        while 503 not in statuses:
            threads[0].join(0.05)
        go_on.set()
        for thread in threads:
            thread.join(30)
    assert most == [1]
    assert statuses.count(200) >= 5
    assert set(statuses) == {200, 503}
