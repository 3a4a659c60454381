"""One call for many items, each of which is counted, tried again and told of on its own."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.running_call import Usage
from .call import Owner, StageCall


class BatchCall(StageCall):
    """One call for the items of several.

    Attributes:
        members: A call for each item, which is never made by itself.
        expected: Those of them whose results the function gives.
        left: Those whose results have not gone downstream.
        is_part: Whether it is a part of one that has failed: then it is not tried again, but divided further.
    """

    is_part = False
    is_paid = False  # for by ``item_rate``

    def __init__(self, machine: Owner, members: Sequence[StageCall]) -> None:
        super().__init__(machine, [member.item for member in members])
        self.members = list(members)
        self.expected: Sequence[StageCall] = ()
        self.left = set(self.members)
        self.attempt = max(member.attempt for member in self.members)
        self.queued_at = self.members[0].queued_at
        for member in self.members:
            member.batch = self

    def following(self, error: BaseException) -> tuple[StageCall, float]:
        """The next attempt with the same items."""
        following = [member.following(error) for member in self.members]
        again = BatchCall(self.machine, [each for each, _ in following])
        again.is_part = self.is_part
        return again, max(delay for _, delay in following)

    def parts(self, error: BaseException) -> list[BatchCall]:
        """The next calls, each with half of the items."""
        following = [member.following(error)[0] for member in self.members]
        half = len(following) // 2
        parts = [BatchCall(self.machine, some) for some in (following[:half], following[half:])]
        for part in parts:
            part.is_part = True
        return parts

    def remove(self, member: StageCall) -> None:
        """An item is not wanted any more."""
        self.members.remove(member)
        self.item = [each.item for each in self.members]


def shares(usage: Usage, count: int) -> list[Usage]:
    """What a call has used, shared out evenly among its items; the first ones have the tokens that are left over."""
    return [
        Usage(
            prompt_tokens=usage.prompt_tokens // count + (place < usage.prompt_tokens % count),
            completion_tokens=usage.completion_tokens // count + (place < usage.completion_tokens % count),
            cost=usage.cost / count,
        )
        for place in range(count)
    ]
