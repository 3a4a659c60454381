"""What a worker has in hand."""

from __future__ import annotations

import threading

from pipeline_helpers import LIMIT

from rxpipe.pipeline.claim import Claim
from rxpipe.pipeline.run.envelope import ItemEnvelope
from rxpipe.pipeline.run.item import Item
from rxpipe.pipeline.run.stage_role import StageRole
from rxpipe.store.items.in_flight import InFlightClaims


def claim(key: str, owner: str = "a", fence: int = 1) -> Claim:
    return Claim(id=key, key=key, owner=owner, fence=fence, value=key)


def test_claims_are_in_hand_until_they_end() -> None:
    """Also two of the same item, where the first was lost."""
    in_flight = InFlightClaims()
    old, new = claim("1"), claim("1", fence=3)
    in_flight.add([old, new, claim("2", owner="b")])
    assert in_flight.keys("a") == ["1", "1"]
    in_flight.end([old])
    assert in_flight.keys("a") == ["1"]
    assert in_flight.ended == 1


def test_waiting_for_the_others() -> None:
    """It ends as soon as there are few enough."""
    in_flight = InFlightClaims()
    claims = [claim("1"), claim("2")]
    in_flight.add(claims)
    assert not in_flight.wait_until(1, 0.0)
    ending = threading.Thread(target=in_flight.end, args=(claims[:1],))
    ending.start()
    assert in_flight.wait_until(1, LIMIT)
    ending.join()


class Ignored:
    """A call that nobody gives up."""

    def give_up(self, error: Exception) -> None:
        raise AssertionError

    def time(self, ended: str) -> None:
        raise AssertionError

    def waited_downstream(self) -> float:
        return 0.0

    def take_notes(self) -> list[object]:
        raise AssertionError


def test_no_calls_are_made_for_what_is_lost() -> None:
    """Its items pass the stages that are left; those of another name are not touched."""
    in_flight = InFlightClaims()
    mine, other = claim("1"), claim("2", owner="b")
    in_flight.add([mine, other])
    in_flight.lose("a")
    envelope = ItemEnvelope(StageRole(name="work", index=0))
    assert envelope.admit(Item(mine, 0.0), Ignored()) == "pass"
    assert envelope.admit(Item(other, 0.0), Ignored()) == "call"
