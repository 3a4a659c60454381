"""Single settings of a config by their paths, such as ``stages.answering.concurrency``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from rxpipe.config.error_texts import Loc, unknown
from rxpipe.config.plain_data import get, is_mapping
from rxpipe.errors import ConfigError

_STAGES = "stages."


def setting_of(text: str) -> tuple[str, Any]:
    """Split ``stages.answering.concurrency=14`` into a path and a value. The value is read as YAML.

    Raises:
        ConfigError: The text does not have that form.
    """
    path, equals, value = (part.strip() for part in text.partition("="))
    if not (path and equals):
        raise ConfigError(f"{text!r} is no setting; allowed: KEY=VALUE, like stages.answering.concurrency=14")
    return path, value_of(value)


def value_of(text: str) -> Any:
    """Returns the value that a text means in the config file.

    Raises:
        ConfigError: The text is not YAML.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"{text!r} cannot be read; allowed: a value as in the config file") from None


def changed(data: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the config's data with some settings changed.

    Args:
        data: Plain data of the config, with its stages.
        settings: Values by their paths. A path names a stage by its name: ``stages.NAME.KEY``.

    Raises:
        ConfigError: There is no such stage.
    """
    found = dict(data)
    names = [stage["name"] for stage in data["stages"]]
    for path, value in settings.items():
        found = _with(found, location(path, names), value)
    return found


def location(path: str, names: Sequence[str]) -> Loc:
    """Returns the place in the data that a path leads to.

    Args:
        path: The path as the user writes it.
        names: The names of the stages.

    Raises:
        ConfigError: There is no such stage.
    """
    if not path.startswith(_STAGES):
        return tuple(path.split("."))
    rest = path.removeprefix(_STAGES)
    for name in sorted(names, key=len, reverse=True):  # a name may contain dots
        if rest.startswith(f"{name}."):
            return ("stages", names.index(name), *rest.removeprefix(f"{name}.").split("."))
    if rest in names:
        raise ConfigError(f"{path}: a stage; needed: one of its keys, like {path}.concurrency")
    name = rest.partition(".")[0]
    raise ConfigError(f"{path}: {unknown(f'no stage is called {name!r}', name, names)}")


def by_name(loc: Loc, names: Sequence[str]) -> Loc:
    """Returns the same place with a stage's name instead of its number."""
    if len(loc) > 1 and loc[0] == "stages" and isinstance(loc[1], int):
        return ("stages", names[loc[1]], *loc[2:])
    return loc


def _with(data: Any, loc: Loc, value: Any) -> Any:
    """Returns a copy of the data with a value at a place. Missing mappings on the way are created."""
    if not loc:
        return value
    first, *rest = loc
    if isinstance(first, int):
        return [_with(one, tuple(rest), value) if place == first else one for place, one in enumerate(data)]
    return {**(data if is_mapping(data) else {}), first: _with(get(data, first), tuple(rest), value)}
