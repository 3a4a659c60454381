"""Looks for results of earlier calls, before items enter a stage with ``cache``.

Meanwhile the items hold no slot of the stage and no place of its rate limit. They keep their order: one call at a time
looks for all items that have come since the last call.
"""

from __future__ import annotations

from reactivex import Observable, operators

from rxpipe.operators.stage import stage_with
from rxpipe.operators.stages.options import Batch
from rxpipe.operators.stages.settings import Settings, settings_of
from rxpipe.pipeline.claim import Journal
from rxpipe.pipeline.run.item import Item
from rxpipe.pipeline.run.stage_role import StageRole

_TOGETHER = Batch(max_items=50, max_seconds=0.0)


class CacheStage:
    """An operator before a cached stage: a small stage that attaches cached results to items."""

    def __init__(self, role: StageRole, journal: Journal) -> None:
        """Prepare the operator.

        Args:
            role: The role of the cached stage.
            journal: Knows the results.
        """
        self._settings = _settings(role, journal)
        self._gone_on = 0

    @property
    def inside(self) -> int:
        """Number of items that wait for the lookup or for room in the cached stage. From any thread."""
        return max(0, self._settings.stats.taken - self._gone_on)

    def __call__(self, items: Observable[Item]) -> Observable[Item]:
        """Returns the items, with their cached results attached."""
        return items.pipe(stage_with(self._settings), operators.do_action(self._goes_on))

    def _goes_on(self, item: Item) -> None:
        self._gone_on += 1


def _settings(role: StageRole, journal: Journal) -> Settings[Item, Item]:
    def look_up(items: list[Item]) -> list[Item]:
        wanted = [item for item in items if _may_be_called_with(item, role)]
        if wanted:
            found = journal.look_up(role.index, [item.value for item in wanted])
            for item, lookup in zip(wanted, found, strict=True):
                item.lookup = lookup
        return items

    return settings_of(look_up, name=f"{role.name} (cache)", queue_size=0, batch=_TOGETHER)


def _may_be_called_with(item: Item, role: StageRole) -> bool:
    """Returns True if a cached result for the item's value would do.

    With feedback, the function knows more than the value, so a cached result would not do.
    """
    if item.settled or item.is_cancelled or item.went_back or item.finished > role.index:
        return False
    if item.claim is None or item.claim.lost:
        return False
    try:
        return role.when is None or bool(role.when(item.value))
    except BaseException:  # noqa: BLE001 - whatever the user's ``when`` raises: it does so again in the stage, and is told
        return False
