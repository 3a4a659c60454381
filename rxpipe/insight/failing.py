"""Finds stages in which all items fail with one error, so that more items only cost money."""

from __future__ import annotations

from rxpipe.insight.snapshot import CountedError, Snapshot

ENOUGH = 20
"""How many items must fail alike. With a chance of 1 in 2, that many would fail once in a million runs."""


def all_failing(snapshot: Snapshot) -> CountedError | None:
    """Returns the error with which all items of a stage have failed so far, if at least 20 have; otherwise None."""
    for error in snapshot.errors:
        stage = next((one for one in snapshot.stages if one.name == error.stage), None)
        if error.count >= ENOUGH and stage is not None and stage.finished == stage.failed and not stage.cached:
            return error
    return None


def failing_text(error: CountedError) -> str:
    """Returns a sentence about the error, for a screen."""
    return (
        f"all {error.count:,} items so far have failed in {error.stage}: {error.text}; "
        f"--max-failures {ENOUGH} ends such a run early"
    )
