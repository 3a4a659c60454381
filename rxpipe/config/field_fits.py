"""Finds fields that a config names and that values surely do not have, before any call."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, get_args

from rxpipe.config.arguments import hints_of
from rxpipe.config.error_texts import unknown
from rxpipe.config.imports import resolve
from rxpipe.config.model import Config, StageSettings
from rxpipe.config.section_base import TARGET
from rxpipe.database.column_paths import root_of
from rxpipe.database.field_names import OPTIONAL, names_in, time_hint
from rxpipe.errors import ConfigError
from rxpipe.llm.prompt import Prompt
from rxpipe.llm.record_path import is_record_path
from rxpipe.pipeline.record import Record
from rxpipe.questions.hints import fields_of_hint
from rxpipe.questions.inputs import declared


def check_stage_fields(config: Config, stage: StageSettings, hint: Any) -> None:
    """Check that values have the fields of a stage's ``when`` and ``key``.

    Args:
        config: The config.
        stage: The stage.
        hint: The annotation of the stage's input.

    Raises:
        ConfigError: The annotation declares fields, and lacks a named field.
    """
    _refuse(config, _of_stage(stage), fields_of_hint(hint), "the value")


def check_columns(config: Config, hint: Any) -> None:
    """Check that the last value has the fields that columns name. ``hint`` is the value's annotation.

    Raises:
        ConfigError: The annotation declares fields, and lacks a named field.
    """
    _refuse(config, _of_columns(config, "value"), fields_of_hint(hint), "the value")


def check_source_fields(config: Config, items: Any) -> None:
    """Check that the first record has the fields that columns, the first stage, options and prompts name.

    Args:
        config: The config.
        items: The IDs or records of the source. They are looked at only if they can be read again.

    Raises:
        ConfigError: The record lacks a named field. Or an option or a prompt names a field, and the source gives IDs.
    """
    asked = [(key, name) for stage in config.resolved_stages() for key, name in _of_options(config, stage)]
    given: object = items  # for the type checkers, which do not know the type of the items
    first: Any = next(iter(items), None) if isinstance(given, Iterable) and isinstance(given, Sized) else None
    found: object = first
    if isinstance(found, Record):
        names = names_in(first.value)
        _refuse(config, _of_columns(config, "record"), names, "the first record")
        _refuse(config, _of_stage(config.resolved_stages()[0]), names, "the first record")
        _refuse(config, asked, names, "the first record")
    elif first is not None and asked:
        key, name = asked[0]
        text = f"record.{name} is a field of records, and the source gives IDs; needed: a source with id, such as csv"
        raise ConfigError(f"{config.where(key)}: {text}")


def _of_stage(stage: StageSettings) -> Iterator[tuple[str, str]]:
    """Yields the keys of a stage that name fields, and these fields."""
    for name, wanted in stage.when.items() if isinstance(stage.when, Mapping) else ():
        if wanted is not None and not (isinstance(wanted, list) and None in wanted):
            yield f"{stage.key}.when", name
    if stage.order_key is not None and not re.search(TARGET, stage.order_key):
        yield f"{stage.key}.key", stage.order_key


def _of_options(config: Config, stage: StageSettings) -> Iterator[tuple[str, str]]:
    """Yields the options of a stage that name fields of the record, directly or in a prompt, and these fields."""
    call = resolve(stage.call, config.folder, where=config.where(f"{stage.key}.call"))
    hints = hints_of(call)
    for option, value in stage.options.items():
        kinds = [hints.get(option), *get_args(hints.get(option))]
        paths: Sequence[str]
        if Prompt in kinds and isinstance(value, str):
            paths = Prompt.read((config.folder or Path()) / value).record_paths
        else:
            paths = [value] if option in declared(call).from_record and is_record_path(value) else []
        for path in paths:
            parts = path.split(".")[1:]
            if parts and not path.endswith(OPTIONAL):
                yield f"{stage.key}.with.{option}", parts[0]


def _of_columns(config: Config, root: str) -> Iterator[tuple[str, str]]:
    """Yields the columns that begin in the value or in the record, and their first fields."""
    place, section = ("database", config.database) if config.output is None else ("output", config.output)
    for column, path in (section.columns or {}).items():
        start, parts = root_of(path)
        if start == root and parts and not parts[0].isdecimal() and not path.endswith(OPTIONAL):
            yield f"{place}.columns.{column}", parts[0]


def _refuse(config: Config, named: Iterable[tuple[str, str]], names: Sequence[str] | None, of: str) -> None:
    for key, name in named:
        if names and name not in names and not name.endswith(OPTIONAL):
            text = unknown(f"{of} has no field {name!r}", name, names)
            raise ConfigError(f"{config.where(key)}: {text}{time_hint(name) if '.columns.' in key else ''}")
