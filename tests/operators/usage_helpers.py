"""Stages whose functions record what they used, and envelopes that are told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from adaptive_servers import settings
from operator_helpers import LIMIT, collect

from rxpipe.operators import Failure, Usage, from_iterable
from rxpipe.operators.stage import stage_with
from rxpipe.operators.stages.settings import KEPT, Admission, Settings


def used(tokens: int) -> Usage:
    return Usage(prompt_tokens=tokens, completion_tokens=2 * tokens, cost=float(tokens))


def minus_one(failure: Failure[Any]) -> int:
    return -1


def usage_of(fn: Callable[[Any], Any], items: int = 1, **options: Any) -> Usage:
    """What a stage counts of a function, when all of its items are through."""
    made = settings(fn, options.pop("concurrency", 2), recover=minus_one, **options)
    assert len(collect(from_iterable(range(items)).pipe(stage_with(made)))) == items
    return made.stats.usage


@dataclass
class Noted:
    """An envelope that notes what it is told."""

    used_by: list[tuple[Any, int, Usage]] = field(default_factory=list[tuple[Any, int, Usage]])
    may_begin: None = None  # calls begin at once

    def attach(self, readmit: Callable[[Any], None]) -> None:
        pass

    def admit(self, item: Any, call: Any) -> Admission:
        return "call"

    def open(self, item: Any, call: Any) -> Any:
        return item

    def close(self, item: Any, result: Any) -> Any:
        return result

    def begin_many(self, item: Any) -> None:
        pass

    def spawn(self, item: Any, value: Any) -> Any:
        return value

    def expanded(self, item: Any) -> Any:
        return KEPT

    def again(self, item: Any, attempt: int, error: BaseException) -> None:
        pass

    def used(self, item: Any, attempt: int, usage: Usage) -> None:
        self.used_by.append((item, attempt, usage))


def noting(fn: Callable[[Any], Any], **options: Any) -> tuple[Settings[Any, Any], Noted]:
    noted = Noted()
    return settings(fn, 4, envelope=noted, **options), noted


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether it comes true soon."""
    changed = threading.Event()
    for _ in range(int(LIMIT * 1000)):
        if condition():
            return True
        changed.wait(0.001)
    return False
