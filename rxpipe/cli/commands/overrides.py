"""Options of the command line that change a config, with error messages in the words of the config."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from rxpipe.config import Config
from rxpipe.config.error_texts import Loc, explain, given, unknown
from rxpipe.config.settings import setting_of
from rxpipe.errors import ConfigError

_OPTIONS: dict[Loc, str] = {
    ("strategy",): "--strategy",
    ("scheduler",): "--scheduler",
    ("database", "url"): "--database",
}


def overridden(
    config: Config, *, strategy: str | None = None, scheduler: str | None = None, database: str | None = None
) -> Config:
    """Returns the config with the options in place of its own values. Options that are None change nothing.

    Raises:
        ConfigError: An option's key does not allow the value.
    """
    options = {"strategy": strategy, "scheduler": scheduler}
    changes: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    if database is not None:
        changes["database"] = {"url": database}
    try:
        checked = Config.model_validate(changes)
    except ValidationError as error:
        problems = [f"{_OPTIONS[problem.loc]}: {problem.text}" for problem in explain(error, Config)]
        raise ConfigError("\n".join(problems)) from None
    update: dict[str, Any] = {key: getattr(checked, key) for key in changes}
    if database is not None:  # the config keeps its table
        update["database"] = config.database.model_copy(update={"url": checked.database.url})
        if config.source.sql and not config.source.url:  # the IDs still come from the config's database
            update["source"] = config.source.model_copy(update={"url": config.database.url})
    return config.model_copy(update=update)


def with_settings(config: Config, settings: Sequence[str]) -> Config:
    """Returns the config with the values of ``--set``, each like ``stages.answering.concurrency=14``.

    Raises:
        ConfigError: There is no such key, or the value is not allowed there.
    """
    try:
        return config.with_settings(dict(map(setting_of, settings))) if settings else config
    except ConfigError as error:
        raise ConfigError(f"--set: {error}") from None


def latencies(text: str, names: Sequence[str]) -> dict[str, float]:
    """Read ``--latency generation=0.03,answering=0.06``.

    Args:
        text: The option's value; blank for no latencies.
        names: The names of the stages.

    Raises:
        ConfigError: The text cannot be read, or names an unknown stage.
    """
    found: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.rpartition("="))
        if not equals:
            raise ConfigError(f"--latency: {given(part, 'stage=seconds, separated by commas')}")
        if name not in names:
            raise ConfigError(f"--latency: {unknown(f'no stage is called {name!r}', name, names)}")
        if name in found:
            raise ConfigError(f"--latency: {name}: given twice; allowed: once for each stage")
        found[name] = _seconds(name, value)
    return found


def _seconds(name: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ConfigError(f"--latency: {name}: {given(value, 'a number of seconds, 0 or more, like 0.03')}")
    return seconds
