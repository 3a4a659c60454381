"""Problems of keys that are each right by themselves, but contradict each other.

The search works on plain data that may be partly wrong. So these problems are reported together with all other problems
of a file. pydantic would compare keys only once each of them is right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from rxpipe.config.error_texts import Loc, Problem, given, near, shown, unknown
from rxpipe.config.executor_sections import EXECUTORS
from rxpipe.config.flow_consistency import flow_contradictions
from rxpipe.config.plain_data import get, is_mapping, items, mapping
from rxpipe.config.source_section import BESIDE, KINDS, NEED_ID
from rxpipe.files.sink import store_url


def contradictions(data: Any, *, stages: Sequence[str], retry: Mapping[str, Any]) -> Iterator[Problem]:
    """Compare the keys of a config.

    Args:
        data: The config as plain data, right or wrong.
        stages: The names of the stages of a config without ``stages``.
        retry: The retry settings of a config without its own.
    """
    shared, listed = mapping(data, "pipeline_config"), items(data, "stages")
    names = list(stages) if listed is None else [get(stage, "name") for stage in listed]
    yield from _same_names(names)
    yield from _names_without_stage(shared, names)
    place = "output" if is_mapping(get(data, "output")) else "database"
    is_staged, durable = get(data, "strategy") == "staged", get(get(data, place), "durable")
    if place == "output":
        yield from _output(data)
    if is_mapping(get(data, "source")):
        yield from _source(mapping(data, "source"), is_durable=not is_staged and durable is not False)
    if is_staged and durable is True:
        text = given(True, "false, or another strategy than staged, which holds all results to the end")
        yield Problem((place, "durable"), text)
    if is_staged and get(data, "until") is not None:
        text = "given beside strategy staged, which takes all items first; allowed: with per_stage or per_item"
        yield Problem(("until",), text)
    columns = mapping(get(data, "database"), "columns")
    if columns and "id" not in columns.values():
        text = "no column has the ID, by which a row is found again; needed: one that is id, such as {id: id}"
        yield Problem(("database", "columns"), text)
    common = mapping(shared, "retry")
    yield from _delays(("pipeline_config", "retry"), retry, common)
    yield from flow_contradictions(listed or [], is_staged=is_staged, is_durable=not is_staged and durable is not False)
    for index, stage in enumerate(listed or []):
        yield from _delays(("stages", index, "retry"), {**retry, **common}, mapping(stage, "retry"))
        if is_mapping(get(stage, "executor")):
            yield from _executor(("stages", index), stage)


def store_of(data: Any) -> str | None:
    """Returns the URL of the run store beside a config's output file; None if the config has no output file."""
    file = get(get(data, "output"), "jsonl")
    return store_url(file) if isinstance(file, str) else None


def _output(data: Any) -> Iterator[Problem]:
    database = get(data, "database")
    if database is not None and database != {"url": store_of(data)}:  # that URL is the default
        yield Problem(("database",), "given beside output; allowed: one of them")
    source = get(data, "source")
    if get(source, "sql") is not None and get(source, "url") is None:
        yield Problem(("source",), "given sql without url, beside output; needed: the database of the query")


def _same_names(names: list[Any]) -> Iterator[Problem]:
    for index, name in enumerate(names):
        first = names.index(name)
        if isinstance(name, str) and first < index:
            text = given(name, "a name of its own", f", which is the name of stages[{first}] too;")
            yield Problem(("stages", index, "name"), text)


def _names_without_stage(shared: Mapping[Any, Any], names: list[Any]) -> Iterator[Problem]:
    known = [name for name in names if isinstance(name, str)]
    if len(known) < len(names):
        return  # a stage's name is missing or wrong, and may be the right one
    for key in ("timeouts", "queue_sizes"):
        for name in mapping(shared, key):
            if isinstance(name, str) and name not in known:
                text = unknown("no stage has this name", name, known)
                yield Problem(("pipeline_config", key, name), text)


def _source(source: Mapping[Any, Any], *, is_durable: bool) -> Iterator[Problem]:
    found = [kind for kind in KINDS if kind in source]
    if len(found) != 1:
        # A misspelled key is reported as unknown, with the nearest key. One report is enough.
        if found or not any(near(key, KINDS) for key in source):
            what = " and ".join(found) if found else "no kind of source"
            yield Problem(("source",), f"given {what}; allowed: one of {', '.join(KINDS)}")
        return
    (kind,) = found
    for key, kinds in BESIDE.items():
        if key in source and kind not in kinds:
            yield Problem(("source", key), f"given beside {kind}; allowed: beside {_either(kinds)} only")
    if kind in NEED_ID and "id" not in source:
        yield Problem(("source",), f"given {kind} without id; needed: the field that is the ID, or id: hash")
    change = get(source, "on_change")
    if change in ("redo", "fail") and not is_durable:
        text = given(change, "keep, where no progress is kept: there is nothing to compare a record with")
        yield Problem(("source", "on_change"), text)


def _either(names: Sequence[str]) -> str:
    return " or ".join([*([", ".join(names[:-1])] if names[1:] else []), names[-1]])


def _executor(loc: Loc, stage: Mapping[Any, Any]) -> Iterator[Problem]:
    executor, concurrency = mapping(stage, "executor"), get(stage, "concurrency")
    found = [kind for kind in EXECUTORS if kind in executor]
    if len(found) > 1 or not executor:  # any other key is reported as unknown
        what = " and ".join(found) if found else "no kind of executor"
        yield Problem((*loc, "executor"), f"given {what}; allowed: one of {', '.join(EXECUTORS)}")
    dask = mapping(executor, "dask")
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
