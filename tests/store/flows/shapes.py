"""Flows of each shape, for processes that are killed."""

from __future__ import annotations

from typing import Any

from pipelines.flows.model import Flow

from rxpipe import Batch

from .durable import QuickStep

SHAPES: dict[str, list[dict[str, Any]]] = {
    "bank": [
        {"max_rounds": 1},
        {"expand": True, "collected_by": 4},
        {"has_when": True},
        {"batch": Batch(max_items=3)},
        {"collect": True},
        {"max_rounds": 2, "trouble": 60},
        {"expand": True},
        {"has_key": True},
    ],
    "expand": [{}, {"expand": True}, {"expand": True, "trouble": 60}, {"has_key": True}],
    "collect": [{"expand": True, "collected_by": 2}, {"trouble": 60}, {"collect": True}, {}],
    "nested": [
        {"expand": True, "collected_by": 5},
        {"expand": True, "collected_by": 4},
        {"expand": True, "collected_by": 3},
        {"collect": True},
        {"collect": True},
        {"collect": True},
    ],
    "regroup": [
        {"expand": True, "collected_by": 2},
        {"has_when": True},
        {"collect": True, "expand": True, "collected_by": 4},
        {},
        {"collect": True, "max_rounds": 2, "trouble": 60},
    ],
    "send_back": [
        {},
        {"expand": True, "collected_by": 3},
        {"max_rounds": 2, "trouble": 60},
        {"collect": True, "max_rounds": 2, "trouble": 60},
        {"max_rounds": 2, "trouble": 60},
        {"expand": True, "max_rounds": 2, "trouble": 60},
        {"max_rounds": 2, "trouble": 60},
    ],
    "batch": [
        {"batch": Batch(max_items=5)},
        {"expand": True, "collected_by": 3},
        {"batch": Batch(max_items=3), "max_rounds": 2, "trouble": 60},
        {"collect": True, "max_rounds": 2},
        {"batch": Batch(max_items=4), "trouble": 60},
    ],
    "cache": [
        {"cache": True},
        {"cache": True, "max_rounds": 2, "trouble": 60},
        {"expand": True},
        {"cache": True, "batch": Batch(max_items=3), "max_rounds": 2, "trouble": 60},
        {"cache": True, "max_rounds": 2, "trouble": 60},
    ],
    "drop": [{"has_when": True, "trouble": 60}, {"expand": True, "trouble": 60}, {"has_when": True, "trouble": 60}],
}
"""The options of their stages."""


def flow_of(shape: str, ids: int, *, seed: int) -> Flow:
    """A flow of a shape; the seed decides what becomes of its items."""
    common: dict[str, Any] = {"trouble": 20, "concurrency": 4, "queue_size": 4}
    steps = [QuickStep(index=index, seed=seed, **(common | one)) for index, one in enumerate(SHAPES[shape])]
    return Flow(steps=list(steps), ids=ids)


def bank(ids: int, *, seed: int) -> Flow:
    """Items that are expanded, collected, sent back, expanded again and dropped."""
    return flow_of("bank", ids, seed=seed)
