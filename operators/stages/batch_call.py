"""One call for many items. Each item is counted, tried again and reported separately."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from ..core.running_call import Usage
from ..errors import WrongResult, kind_name
from .call import Owner, StageCall
from .settings import Decision


class BatchCall(StageCall):
    """A call with a list as its argument.

    Attributes:
        members: One ``StageCall`` for each item. The function is never called for a member alone.
        expected: The members whose values the function got, in the order of the list.
        left: The members whose results have not gone downstream.
        is_part: True if this call is a part of a failed call. A part that fails is not tried again, but divided.
    """

    is_part = False
    is_paid = False  # True if ``item_rate`` has given it its places
    is_pushed_back = False  # True if the server has refused it, or one of its items

    def __init__(self, machine: Owner, members: Sequence[StageCall]) -> None:
        super().__init__(machine, [member.item for member in members])
        self.members = list(members)
        self.expected: Sequence[StageCall] = ()
        self.left = set(self.members)
        self.attempt = max(member.attempt for member in self.members)
        self.queued_at, self.weight = self.members[0].queued_at, self.members[0].weight
        for member in self.members:
            member.batch = self

    def following(self, error: BaseException) -> tuple[StageCall, float]:
        """Returns the next attempt with the same items, and its delay in seconds: the longest delay of the items."""
        following = [member.following(error) for member in self.members]
        again = BatchCall(self.machine, [each for each, _ in following])
        again.is_part = self.is_part
        return again, max(delay for _, delay in following)

    def parts(self, error: BaseException) -> list[BatchCall]:
        """Returns two calls in place of this one, each with half of the items."""
        following = [member.following(error)[0] for member in self.members]
        half = len(following) // 2
        parts = [BatchCall(self.machine, some) for some in (following[:half], following[half:])]
        for part in parts:
            part.is_part = True
        return parts

    def remove(self, member: StageCall) -> None:
        """Leave out an item that is given up."""
        self.members.remove(member)
        self.item = [each.item for each in self.members]


def results_of(given: object, count: int, stage: str) -> list[Any]:
    """Returns the results that a stage's function has returned for ``count`` values.

    Raises:
        WrongResult: The function returned no list of results, or a list of another length.
        Decision: The function decided the same for all items.
        Exception: Any error that a foreign class of sequences raises.
    """
    if isinstance(given, Decision):
        raise given
    whatever = given  # its type stays unknown
    is_list = isinstance(given, Sequence) and not isinstance(given, (str, bytes))
    results = list(cast("Sequence[Any]", given)) if is_list else []
    if not is_list or len(results) != count:
        what = f"a list of {len(results)}" if is_list else kind_name(whatever)
        raise WrongResult(
            f"{stage}: the function got a list of {count} values, and returned {what}; "
            "return a list with one result for each value, in the same order"
        )
    return results


def is_failure(result: object) -> bool:
    """Returns True if the function returned an exception in place of a result. A decision is no failure."""
    kind = type(result)  # not ``isinstance``: a result may be anything, and may raise
    return issubclass(kind, BaseException) and not issubclass(kind, Decision)


def shares(usage: Usage, count: int) -> list[Usage]:
    """Divide the usage of a call evenly among its items. Remaining tokens go to the first items."""
    return [
        Usage(
            prompt_tokens=usage.prompt_tokens // count + (place < usage.prompt_tokens % count),
            completion_tokens=usage.completion_tokens // count + (place < usage.completion_tokens % count),
            cost=usage.cost / count,
        )
        for place in range(count)
    ]
