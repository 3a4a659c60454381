"""Whether all items of a stage fail with one error, so that more of them only cost."""

from __future__ import annotations

from rxpipe.insight.snapshot import CountedError, Snapshot

ENOUGH = 20
"""Items that have failed alike. If half of a stage's items failed by chance, so many would once in a million runs."""


def all_failing(snapshot: Snapshot) -> CountedError | None:
    """The error with which all items of a stage have failed so far, if these are at least 20."""
    for error in snapshot.errors:
        stage = next((one for one in snapshot.stages if one.name == error.stage), None)
        if error.count >= ENOUGH and stage is not None and stage.finished == stage.failed and not stage.cached:
            return error
    return None


def failing_text(error: CountedError) -> str:
    """The same in words, for a screen."""
    return (
        f"all {error.count:,} items so far have failed in {error.stage}: {error.text}; "
        f"--max-failures {ENOUGH} ends such a run early"
    )
