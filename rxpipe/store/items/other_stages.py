"""Moves items when their run goes on with other stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, ScalarSelect, and_, case, delete, func, or_, select, update

from rxpipe.database.json_rows import RUN
from rxpipe.store.commits.children import wake_all_parents
from rxpipe.store.commits.row_writer import Forget
from rxpipe.store.commits.tallies import recount
from rxpipe.store.schema.tables import CHECKPOINTS, ITEMS, db_now

_HAS_CHILDREN = or_(ITEMS.c.children > 0, ITEMS.c.collected_by.is_not(None))


def go_back(
    connection: Connection,
    run_id: int,
    keep: int,
    outdated: ColumnElement[bool],
    collectors: Mapping[int, int | None],
    forget: Forget | None = None,
) -> None:
    """Move items back to the last stage up to which the stages are unchanged.

    Children whose maker is called again are made anew. The other children stay. Their parents wait for them again if
    another stage collects them now.

    Args:
        connection: In a transaction, while the run has no workers.
        run_id: The run's number.
        keep: How many stages are unchanged.
        outdated: The condition for items that have ended behind those stages.
        collectors: The stages that expand items, with the stages that collect the children.
        forget: Deletes the rows of children that are made anew.
    """
    ours = ITEMS.c.run_id == run_id
    waits_behind = and_(ours, ITEMS.c.stage >= keep, ITEMS.c.state == "waiting")
    ready = update(ITEMS).where(or_(outdated, waits_behind))
    anew: dict[str, Any] = {"state": "ready", "owner": None, "fence": ITEMS.c.fence + 1, "feedback": None}
    anew |= {"ready_at": db_now(), "taken_at": None, "ended_at": None, "seconds": None}
    connection.execute(ready.values(failures=0, crashes=0, **anew))
    connection.execute(delete(CHECKPOINTS).where(CHECKPOINTS.c.run_id == run_id, CHECKPOINTS.c.stage >= keep))
    made_anew = and_(ours, ITEMS.c.made_by >= keep)
    if forget is not None:
        forget(connection, select(ITEMS.c.item_key).where(made_anew))
    connection.execute(delete(ITEMS).where(made_anew))
    further = update(ITEMS).where(ours, ITEMS.c.stage > keep)
    connection.execute(further.values(stage=case((_HAS_CHILDREN, _checkpoints()), else_=keep)))
    connection.execute(update(ITEMS).where(ours, ITEMS.c.children > 0).values(children=_children()))
    makers = {stage: collector for stage, collector in collectors.items() if stage < keep}
    is_next_collected = and_(ours, ITEMS.c.collected_by.is_not(None), ITEMS.c.stage <= ITEMS.c.collected_by)
    is_made_anew = and_(is_next_collected, ITEMS.c.stage.not_in(list(makers)))
    connection.execute(update(ITEMS).where(is_made_anew).values(collected_by=None))
    for maker, collector in makers.items():
        is_going_on = and_(is_next_collected, ITEMS.c.state.in_(("ready", "waiting")))
        parents = update(ITEMS).where(ours, ITEMS.c.stage == maker, or_(is_going_on, ITEMS.c.state == "expanded"))
        state = "expanded" if collector is None else "waiting"
        times: dict[str, Any] = {"ended_at": None, "seconds": None}
        if collector is None:
            times = {"ended_at": func.coalesce(ITEMS.c.ended_at, db_now())}
        connection.execute(parents.values(state=state, collected_by=collector, **times))
    recount(connection, run_id)
    wake_all_parents(connection, {RUN: run_id})


def _checkpoints() -> ScalarSelect[int]:
    """How many stages of an item still have a checkpoint."""
    its = and_(CHECKPOINTS.c.run_id == ITEMS.c.run_id, CHECKPOINTS.c.item_key == ITEMS.c.item_key)
    return select(func.coalesce(func.max(CHECKPOINTS.c.stage), -1) + 1).where(its).scalar_subquery()


def _children() -> ScalarSelect[int]:
    """How many children of an item are left from its latest round."""
    child = ITEMS.alias("child")
    its = and_(child.c.run_id == ITEMS.c.run_id, child.c.parent_key == ITEMS.c.item_key, child.c.number >= 0)
    return select(func.count()).select_from(child).where(its).scalar_subquery()
