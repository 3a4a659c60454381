"""Problems of a config's keys that are each right by themselves and not together.

They are found in plain data, parts of which may be wrong, so that they are told along with all other
problems of a file: pydantic compares keys only once each of them is right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard, cast

from rxpipe.config.error_texts import Loc, Problem, given, near, shown, unknown
from rxpipe.config.executor_sections import EXECUTORS


def contradictions(
    data: Any, *, kinds: Sequence[str], stages: Sequence[str], retry: Mapping[str, Any]
) -> Iterator[Problem]:
    """Compares the keys of a config.

    Args:
        data: The config as plain data, right or wrong.
        kinds: The keys of a source of which it has one.
        stages: The names of the stages that a config without ``stages`` has.
        retry: The retry settings where the config has none.
    """
    shared, listed = _mapping(data, "pipeline_config"), _items(data, "stages")
    names = list(stages) if listed is None else [_get(stage, "name") for stage in listed]
    yield from _same_names(names)
    yield from _names_without_stage(shared, names)
    if _is_mapping(_get(data, "source")):
        yield from _kinds(_mapping(data, "source"), kinds)
    if _get(data, "strategy") == "staged" and _get(_get(data, "database"), "durable") is True:
        text = given(True, "false, or another strategy than staged, which holds all results to the end")
        yield Problem(("database", "durable"), text)
    common = _mapping(shared, "retry")
    yield from _delays(("pipeline_config", "retry"), retry, common)
    for index, stage in enumerate(listed or []):
        yield from _delays(("stages", index, "retry"), {**retry, **common}, _mapping(stage, "retry"))
        if _is_mapping(_get(stage, "executor")):
            yield from _executor(("stages", index), stage)


def _same_names(names: list[Any]) -> Iterator[Problem]:
    for index, name in enumerate(names):
        first = names.index(name)
        if isinstance(name, str) and first < index:
            text = given(name, "a name of its own", f", which is the name of stages[{first}] too;")
            yield Problem(("stages", index, "name"), text)


def _names_without_stage(shared: Mapping[Any, Any], names: list[Any]) -> Iterator[Problem]:
    known = [name for name in names if isinstance(name, str)]
    if len(known) < len(names):
        return  # a stage's name is missing or wrong, and may be the one meant
    for key in ("timeouts", "queue_sizes"):
        for name in _mapping(shared, key):
            if isinstance(name, str) and name not in known:
                text = unknown("no stage has this name", name, known)
                yield Problem(("pipeline_config", key, name), text)


def _kinds(source: Mapping[Any, Any], kinds: Sequence[str]) -> Iterator[Problem]:
    found = [kind for kind in kinds if kind in source]
    if len(found) != 1:
        # A key that is spelled wrongly is reported as unknown, with the nearest; it need not be told twice.
        if found or not any(near(key, kinds) for key in source):
            what = " and ".join(found) if found else "no kind of source"
            yield Problem(("source",), f"given {what}; allowed: one of {', '.join(kinds)}")
    elif "url" in source and found != ["sql"]:
        yield Problem(("source", "url"), f"given beside {found[0]}; allowed: beside sql only")


def _executor(loc: Loc, stage: Mapping[Any, Any]) -> Iterator[Problem]:
    executor, concurrency = _mapping(stage, "executor"), _get(stage, "concurrency")
    found = [kind for kind in EXECUTORS if kind in executor]
    if len(found) > 1 or not executor:  # another key is told as unknown
        what = " and ".join(found) if found else "no kind of executor"
        yield Problem((*loc, "executor"), f"given {what}; allowed: one of {', '.join(EXECUTORS)}")
    dask = _mapping(executor, "dask")
    if "address" in dask and "workers" in dask:
        text = given(dask["workers"], "without an address only: a cluster elsewhere has the workers that it has")
        yield Problem((*loc, "executor", "dask", "workers"), text)
    if isinstance(concurrency, str):
        text = given(concurrency, "a whole number, 1 or more, beside executor: only a server can push back")
        yield Problem((*loc, "concurrency"), text)


def _delays(loc: Loc, common: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[Problem]:
    merged = {**common, **own}
    initial, longest = merged.get("initial"), merged.get("max_delay")
    if _is_number(initial) and _is_number(longest) and initial > longest:
        if "max_delay" in own:
            yield Problem((*loc, "max_delay"), given(longest, f"initial, which is {_text(initial)}, or more"))
        elif "initial" in own:
            yield Problem((*loc, "initial"), given(initial, f"max_delay, which is {_text(longest)}, or less"))


def _text(number: float) -> str:
    return f"{number:g}" if isinstance(number, float) else shown(number)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    return isinstance(value, Mapping)


def _get(data: Any, key: str) -> Any:
    return data.get(key) if _is_mapping(data) else None


def _mapping(data: Any, key: str) -> Mapping[Any, Any]:
    value = _get(data, key)
    return value if _is_mapping(value) else {}


def _items(data: Any, key: str) -> list[Any] | None:
    value = _get(data, key)
    return list(cast("list[Any]", value)) if isinstance(value, list | tuple) else None
