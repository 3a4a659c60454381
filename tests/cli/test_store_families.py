"""What the commands tell of runs whose items have children, or are dropped."""

from __future__ import annotations

import pytest

from .store_program import document, lines

pytest_plugins = ("store.store_fixtures",)
pytestmark = pytest.mark.usefixtures("nowhere")


def test_runs_with_children(family_in: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """States that items are in have columns and fields of their own."""
    monkeypatch.setenv("COLUMNS", "160")
    head, _, row = lines("runs")
    assert head.split() == [
        *("run", "name", "state", "workers", "written", "failed", "dropped", "expanded", "collected"),
        *("ready", "running", "waiting", "created", "finished"),
    ]
    assert row.split()[2:12] == ["unfinished", "0", "2", "4", "3", "1", "3", "2", "0", "1"]
    (found,) = document("runs")
    states = ("ready", "running", "waiting", "written", "failed", "dropped", "expanded", "collected")
    assert [found[state] for state in states] == [2, 0, 1, 2, 4, 3, 1, 3]
    assert found["items"] == 16


def test_show_with_children(family_in: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many are in each state, why items were dropped, and which ones wait for their children."""
    monkeypatch.setenv("COLUMNS", "120")
    shown = lines("show", "1")
    assert shown[2] == (
        "16 items = 2 written + 4 failed + 3 dropped + 1 expanded + 3 collected + 2 ready + 0 running + 1 waiting"
    )
    assert shown[5].split() == ["stage", "checkpoints", "failed", "calls", "failed", "dropped", "call"]
    assert [line.split()[:5] for line in shown[7:11]] == [
        ["splitting", "9", "1", "1", "2"],
        ["answering", "4", "2", "2", "1"],
        ["voting", "2", "1", "1", "0"],
        ["grading", "2", "0", "0", "0"],
    ]
    reasons = shown.index("dropped items, the commonest reason first:")
    assert shown[reasons + 1 : reasons + 3] == [
        "        2  splitting  topic 5 is too short  (numbers vary)",
        "        1  answering  no question",
    ]
    assert shown[shown.index("items that wait for their children:") + 1] == (
        "  2  1 of 2 children unfinished, then for voting"
    )


def test_show_with_children_as_json(family_in: str) -> None:
    """The same for programs."""
    found = document("show", "1")
    assert found["drops"] == [
        {"stage": "splitting", "text": "topic 5 is too short", "count": 2, "same": False},
        {"stage": "answering", "text": "no question", "count": 1, "same": True},
    ]
    assert found["waiting_parents"] == [{"id": 2, "stage": "voting", "children": 2, "unfinished": 1}]
    assert [stage["dropped"] for stage in found["stages"]] == [2, 1, 0, 0]


def test_failures_of_children(family_in: str) -> None:
    """Children are listed by their IDs; what was dropped is no failure, and that is told."""
    shown = lines("failures", "1")
    assert shown[0] == "4 failed items in run 1"
    assert {tuple(line.split()[:2]) for line in shown[3:7]} == {
        ("1/1", "answering"),
        ("3", "splitting"),
        ("4", "voting"),
        ("4/1", "answering"),
    }
    assert shown[-1] == "3 items dropped, which is no failure: see rxpipe show"
    assert [one["id"] for one in document("failures", "1", "--stage", "voting")] == [4]
