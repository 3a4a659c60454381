"""The properties that must be the same for checkpoints to apply: names, functions and versions of stages, in order."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from rxpipe.identity.arguments import signature_of
from rxpipe.identity.code import code_hash, have_changed

_DIGITS = 12  # of a hash
_HASH = re.compile(rf"(\w+) ([0-9a-f]{{{_DIGITS}}})")  # an argument's name and hash


@dataclass(frozen=True, slots=True)
class StageSignature:
    """The properties of a stage on which its checkpoints depend.

    Attributes:
        name: The stage's name.
        call: The stage's function, as ``module:name``.
        version: The version from the user, and the arguments bound to the function.
        shape: What the stage does with items: ``expand``, ``collect``, ``collect and expand``, or empty.
        code: A hash of the function's code, or None. If it changes, checkpoints still apply, and a warning says so.
        models: The language models that the arguments name, with their options. If they change, checkpoints of the run
            still apply, but results are not reused in other runs.
    """

    name: str
    call: str
    version: str | None
    code: str | None = field(default=None, compare=False)
    shape: str = ""
    models: str | None = field(default=None, compare=False)

    @staticmethod
    def of(name: str, call: Any, version: str | int | None, shape: str = "") -> StageSignature:
        """Returns the signature of a stage with this function."""
        parts = ([] if version is None else [str(version)]) + arguments_of(call)
        models = ", ".join(models_of(call)) or None
        return StageSignature(name, call_name(call), ", ".join(parts) or None, code_hash(call), shape, models)

    @property
    def result_key(self) -> str:
        """Returns a hash of everything that results depend on besides the value, for use in other runs."""
        parts = json.dumps([self.call, self.version, self.code, self.models])
        return hashlib.sha256(parts.encode("utf-8", "backslashreplace")).hexdigest()


def call_name(call: Any) -> str:
    """Returns a function as ``module:name``; a callable object by its type."""
    while isinstance(call, functools.partial):
        call = call.func
    if not hasattr(call, "__qualname__"):
        call = call.__class__
    of_type = getattr(call, "__objclass__", None)  # of a method of a built-in type, such as ``str.upper``
    module = getattr(call, "__module__", None) or getattr(of_type, "__module__", None)
    return f"{module}:{call.__qualname__}"


def arguments_of(call: Any) -> list[str]:
    """Returns the bound arguments of a function that affect its results, such as ``prompt 3f2a…``.

    - An argument with a text as ``version``, such as a ``Prompt``, counts by that text, also if it is a default.
    - Plain data bound by ``functools.partial`` count by their hash.
    - Anything else, such as a provider, does not count: an answer is valid, wherever it came from.
    """
    given: dict[str, Any] = {}
    while isinstance(call, functools.partial):
        given = {**call.keywords, **given}
        call = call.func
    versions = {name: value.version for name, value in {**_defaults(call), **given}.items() if _has_version(value)}
    plain: dict[str, str] = {}
    for name, value in given.items():
        if name not in versions:
            try:
                plain[name] = json.dumps(value, sort_keys=True)
            except (TypeError, ValueError):
                continue
    parts = [f"{name} {version}" for name, version in sorted(versions.items())]
    if plain:
        digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
        parts.append(f"options {digest[:_DIGITS]}")
    return parts


def models_of(call: Any) -> list[str]:
    """Returns the language models in a function's bound arguments: those with ``model_key``."""
    given: dict[str, Any] = {}
    while isinstance(call, functools.partial):
        given = {**call.keywords, **given}
        call = call.func
    found = {name: getattr(value, "model_key", None) for name, value in {**_defaults(call), **given}.items()}
    return [f"{name} {key}" for name, key in sorted(found.items()) if isinstance(key, str)]


def _has_version(value: Any) -> bool:
    return isinstance(getattr(value, "version", None), str)


def _defaults(call: Any) -> dict[str, Any]:
    signature = signature_of(call)
    return {} if signature is None else {one.name: one.default for one in signature.parameters.values()}


def to_text(stages: Sequence[StageSignature]) -> str:
    """Returns the stages as JSON, a list of mappings."""
    return json.dumps([asdict(stage) for stage in stages], ensure_ascii=False)


def from_text(text: str) -> tuple[StageSignature, ...]:
    """Returns the stages of a text of ``to_text``."""
    return tuple(StageSignature(**stage) for stage in json.loads(text))


def kept(before: Sequence[StageSignature], now: Sequence[StageSignature]) -> int:
    """Returns the number of stages, from the first, that are the same. Their checkpoints still apply."""
    count = 0
    for old, new in zip(before, now, strict=False):
        if old != new:
            break
        count += 1
    return count


def changes(before: Sequence[StageSignature], now: Sequence[StageSignature]) -> list[str]:
    """Returns the changes in words; empty if there are none."""
    found: list[str] = []
    old, new = {stage.name: stage for stage in before}, {stage.name: stage for stage in now}
    found += [f"stage {name} is gone" for name in old if name not in new]
    found += [f"stage {name} is new" for name in new if name not in old]
    for name in [name for name in old if name in new]:
        if old[name].call != new[name].call:
            found.append(f"stage {name} calls {new[name].call} instead of {old[name].call}")
        found += _changes_of_version(name, old[name].version, new[name].version)
        if old[name].shape != new[name].shape:
            shapes = [f"the shape {one.shape}" if one.shape else "no shape" for one in (new[name], old[name])]
            found.append(f"stage {name} has {shapes[0]} instead of {shapes[1]}")
    common = [name for name in old if name in new]
    if common != [name for name in new if name in old]:
        found.append(f"the stages are in another order, {', '.join(new)} instead of {', '.join(old)}")
    return found


def given_version(version: str | None) -> str | None:
    """Returns the version that the user gave, without the hashes of arguments."""
    return _parts(version)[0] or None


def _changes_of_version(name: str, before: str | None, now: str | None) -> list[str]:
    """Returns the changes in words, without hashes."""
    (old_version, old_hashes), (new_version, new_hashes) = _parts(before), _parts(now)
    found: list[str] = []
    if old_version != new_version:
        told = [f"version {one}" if one else "no version" for one in (new_version, old_version)]
        found.append(f"stage {name} has {told[0]} instead of {told[1]}")
    argument_names = dict.fromkeys([*old_hashes, *new_hashes])
    if changed := [f"the {one}" for one in argument_names if old_hashes.get(one) != new_hashes.get(one)]:
        were = "was" if len(changed) == 1 and changed != ["the options"] else "were"
        found.append(f"{_listed(changed)} of stage {name} {were} changed")
    return found


def _parts(version: str | None) -> tuple[str, dict[str, str]]:
    """Returns the user's version, and the hashes of arguments by name."""
    given: list[str] = []
    hashes: dict[str, str] = {}
    for part in version.split(", ") if version else ():
        if match := _HASH.fullmatch(part):
            hashes[match[1]] = match[2]
        else:
            given.append(part)
    return ", ".join(given), hashes


def _listed(names: Sequence[str]) -> str:
    """Returns names as text: ``a``, ``a and b``, ``a, b and c``."""
    *some, last = names
    return f"{', '.join(some)} and {last}" if some else last


def edited(before: Sequence[StageSignature], now: Sequence[StageSignature]) -> list[str]:
    """Returns the names of stages whose checkpoints apply, though the code of their functions has changed."""
    same = kept(before, now)
    pairs = zip(before[:same], now[:same], strict=True)
    return [new.name for old, new in pairs if have_changed(old.code, new.code)]


def merged(before: Sequence[StageSignature], now: Sequence[StageSignature]) -> list[StageSignature]:
    """Returns today's stages. Those whose checkpoints apply have the code that made the checkpoints."""
    same = kept(before, now)
    codes = [stage.code for stage in before[:same]]
    return [replace(new, code=old or new.code) for old, new in zip(codes, now[:same], strict=True)] + [*now[same:]]
