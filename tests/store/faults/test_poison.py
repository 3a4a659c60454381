"""An item that ends the process that takes it."""

from __future__ import annotations

import pytest

from rxpipe.store.items.claims import TRIES_ALONE

from .places import Place
from .sweep import Start
from .watch import Watch, output
from .work import Job, Trouble

MAX_CRASHES = 2
DEATHS = MAX_CRASHES + TRIES_ALONE  # of processes


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["generation", "answering"])
def test_item_that_ends_its_process(place: Place, start: Start, stage: str) -> None:
    """It is tried, then alone three times, and is a dead letter then; those that were with it are done."""
    items = tuple(range(60))
    watch = Watch(place)
    job = Job(
        url=place.url,
        directory=place.directory,
        items=items,
        seconds=0.01,
        store={"max_crashes": MAX_CRASHES},
        troubles=(Trouble(item="3", stage=stage, exits=True),),
    )
    codes: list[int] = []
    interrupted: list[list[str]] = []  # the items whose calls were not finished, by process
    while 0 not in codes:
        assert len(codes) <= DEATHS
        child = start(job)
        codes.append(child.wait())
        kept = {output(checkpoint)["calls"][-1] for checkpoint in watch.look().checkpoints.values()}
        calls = [call for call in watch.ledger.calls() if call.pid == child.pid]
        if codes[-1]:
            interrupted.append([call.item for call in calls if call.token not in kept])
    assert codes == [9] * DEATHS + [0]
    snapshot = watch.check(items, dead=[3])
    poison = [failure for failure in snapshot.failures if failure.item_key == "3"]
    assert [(failure.type, failure.final) for failure in poison] == [("rxpipe.errors.WorkerLost", True)]
    assert snapshot.failures == poison
    assert "workers died" in snapshot.rows["3"].error
    assert watch.ledger.counts()["3", stage] == snapshot.items["3"].crashes == DEATHS
    assert all(item.crashes <= MAX_CRASHES for key, item in snapshot.items.items() if key != "3")
    assert interrupted[-TRIES_ALONE:] == [["3"]] * TRIES_ALONE
