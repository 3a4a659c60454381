"""Contradictions between stages that expand, collect and batch. Each key is right by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rxpipe.config.error_texts import Loc, Problem, given
from rxpipe.config.plain_data import get


def flow_contradictions(stages: Sequence[Any], *, is_staged: bool, is_durable: bool) -> Iterator[Problem]:
    """Compare the keys of stages about their inputs and outputs.

    Args:
        stages: The stages as plain data, right or wrong.
        is_staged: True if the strategy is ``staged``.
        is_durable: True if progress is kept.
    """
    expanded = 0  # stages whose children no stage has collected yet
    for index, stage in enumerate(stages):
        loc: Loc = ("stages", index)
        expands, collects = get(stage, "expand") is True, get(stage, "collect") is True
        kinds = [key for key, there in (("expand", expands), ("collect", collects)) if there]
        if kinds and get(stage, "batch") is not None:
            yield Problem((*loc, "batch"), f"given beside {kinds[0]}; allowed: in a stage without expand and collect")
        if kinds and is_staged:
            text = given(True, "another strategy than staged, in which no stage expands or collects")
            yield Problem((*loc, kinds[0]), text)
        if collects:
            for key in ("when", "key"):
                if get(stage, key) is not None:
                    yield Problem((*loc, key), "given beside collect; allowed: in a stage that collects nothing")
            if not expanded:
                yield Problem((*loc, "collect"), given(True, "behind a stage with expand, which no other one collects"))
        expanded += expands - (collects and expanded > 0)
        if kinds and get(stage, "cache") is True:
            yield Problem((*loc, "cache"), f"given beside {kinds[0]}; allowed: in a stage without expand and collect")
        elif get(stage, "cache") is True and not is_durable:
            yield Problem((*loc, "cache"), given(True, "false, where no results are kept"))
