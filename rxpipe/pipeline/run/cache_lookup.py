"""Looking for results of earlier calls, before items come to a stage with ``cache``.

The items have no slot of the stage and no place of its rate limit meanwhile. They keep their order: one call at a time
looks for all that have come since the last one.
"""

from __future__ import annotations

from rxpipe.operators.stages.options import Batch
from rxpipe.operators.stages.settings import Settings, settings_of
from rxpipe.pipeline.claim import Journal
from rxpipe.pipeline.run.item import Item
from rxpipe.pipeline.run.stage_role import StageRole

_TOGETHER = Batch(max_items=50, max_seconds=0.0)


def cache_lookup(role: StageRole, journal: Journal) -> Settings[Item, Item]:
    """What goes before a stage: the settings of a small stage that notes on items what the cache has for them.

    Args:
        role: What the stage behind it is.
        journal: Knows the results.
    """

    def look_up(items: list[Item]) -> list[Item]:
        wanted = [item for item in items if _may_be_called_with(item, role)]
        if wanted:
            found = journal.look_up(role.index, [item.value for item in wanted])
            for item, lookup in zip(wanted, found, strict=True):
                item.lookup = lookup
        return items

    return settings_of(look_up, name=f"{role.name} (cache)", queue_size=0, batch=_TOGETHER)


def _may_be_called_with(item: Item, role: StageRole) -> bool:
    """Whether a result for its value would do: not if its function may be told more than that, by feedback."""
    if item.settled or item.is_cancelled or item.went_back or item.finished > role.index:
        return False
    if item.claim is None or item.claim.lost:
        return False
    try:
        return role.when is None or bool(role.when(item.value))
    except BaseException:  # noqa: BLE001 - whatever the user's ``when`` raises: it does so again in the stage, and is told
        return False
