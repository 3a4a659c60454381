"""A run whose items have children, of each kind that there is: its rows are made up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, insert

from rxpipe.identity.signature import StageSignature, to_text
from rxpipe.store.schema.migrations import migrate
from rxpipe.store.schema.tables import CHECKPOINTS, FAILURES, ITEMS, RUNS

from .stores import connected

STAGES = ("splitting", "answering", "voting", "grading")
"""The first one expands items, the third one collects their children."""

_FAILED = {"1/1": ("answering", "no answer"), "3": ("splitting", "cut off"), "4": ("voting", "a tie")}
_FAILED["4/1"] = ("answering", "no answer")


def fill_family(url: str) -> None:
    """Run 1, of these items.

    1 is written, of a collected, a failed and a dropped child; 2 waits for one of its two children; 3 failed while it
    was split, with one child; 4 failed in voting, of a collected and a failed child; 5 and 7 were dropped; 6 ended
    with its one child, which is written.
    """
    with connected(url) as connection:
        migrate(connection)
        add_run(connection, STAGES)
        for number in range(1, 8):
            add_checkpoint(connection, str(number), -1, {"topic": f"topic {number}"})
        add_item(connection, "1", "written", 4, seq=0, children=3, collected_by=2)
        add_checkpoint(connection, "1", 2, {"answer": {"text": "a", "votes": 1}})
        add_checkpoint(connection, "1", 3, {"answer": {"text": "a", "votes": 1}, "score": -5})
        add_item(connection, "2", "waiting", 0, seq=1, children=2, collected_by=2)
        add_item(connection, "3", "failed", 0, seq=2, children=1)
        add_item(connection, "4", "failed", 0, seq=3, children=2, collected_by=2)
        add_item(connection, "5", "dropped", 0, seq=4, last_error="topic 5 is too short")
        add_item(connection, "6", "expanded", 0, seq=5, children=1)
        add_item(connection, "7", "dropped", 0, seq=6, last_error="topic 7 is too short")
        children = {
            "1": ["collected", "failed", "dropped"],
            "2": ["collected", "ready"],
            "3": ["ready"],
            "4": ["collected", "failed"],
            "6": ["written"],
        }
        for parent, states in children.items():
            for number, state in enumerate(states):
                _add_child(connection, parent, number, state)
        for key, (stage, text) in _FAILED.items():
            add_failure(connection, key, stage, text)
        connection.commit()


def add_run(connection: Connection, stages: Sequence[str]) -> None:
    """Run 1, of these stages."""
    known = to_text([StageSignature(stage, f"module:{stage}", None) for stage in stages])
    connection.execute(insert(RUNS).values(id=1, name="family", generation=1, stages=known, created_at=0))


def add_item(connection: Connection, key: str, state: str, stage: int, **columns: Any) -> None:
    """An item; its key is its ID, a number if it looks like one."""
    common = {"run_id": 1, "fence": 1, "attempts": 1, "failures": 0, "crashes": 0, "seq": 0}
    item = {"item_key": key, "is_integer": key.isdecimal(), "state": state, "stage": stage}
    connection.execute(insert(ITEMS).values(**(common | item | columns)))


def add_checkpoint(connection: Connection, key: str, stage: int, output: Any) -> None:
    """What a stage returned; that of stage -1 is what the source gave."""
    kept = {"run_id": 1, "item_key": key, "stage": stage, "fence": 1, "output": json.dumps(output), "at": 0}
    connection.execute(insert(CHECKPOINTS).values(**kept))


def add_failure(connection: Connection, key: str, stage: str, text: str) -> None:
    """What an item failed with."""
    failure = {"id": f"f{key}", "run_id": 1, "item_key": key, "stage": stage, "attempt": 1, "final": True}
    told = {"type": "ValueError", "text": f"ValueError: {text}", "traceback": "", "at": 0}
    connection.execute(insert(FAILURES).values(**failure, **told))


def _add_child(connection: Connection, parent: str, number: int, state: str) -> None:
    key = f"{parent}/{number}"
    stage = {"collected": 2, "written": 4}.get(state, 1)
    family = {"parent_key": parent, "root_key": parent, "number": number, "depth": 1, "seq": int(parent) - 1}
    reason = {"last_error": "no question"} if state == "dropped" else {}
    add_item(connection, key, state, stage, **family, **reason)
    add_checkpoint(connection, key, 0, {"question": f"question {key}"})
    for index in range(1, stage):
        add_checkpoint(connection, key, index, {"question": f"question {key}", "answer": "a"})
