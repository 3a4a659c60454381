"""``rxpipe advise``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from rxpipe.cli.commands.simulate import noted
from rxpipe.cli.commands.simulated import Request, Subject, subject_of
from rxpipe.cli.messages import ExitCode, configure_logs
from rxpipe.cli.views.recommendation import print_recommendation
from rxpipe.config import Config
from rxpipe.config.error_texts import given, unknown
from rxpipe.errors import ConfigError
from rxpipe.foresight.adviser import TOTAL, Recommendation, advise_of

_OF_PROVIDER = ".calls"


def advise(
    request: Request, *, deadline: float | None, max_cost: float | None, at_most: Sequence[str], as_json: bool
) -> ExitCode:
    """Find and show the settings that finish a config's run soonest, or the smallest settings that meet a deadline.

    Returns:
        The exit code of the program.

    Raises:
        ConfigError: The config cannot be simulated, or an option cannot be used.
    """
    configure_logs()
    subject = subject_of(request)
    bounds = _bounds(at_most, subject.config)
    try:
        found = advise_of(
            subject.scenario,
            deadline=deadline,
            max_cost=subject.config.max_cost if max_cost is None else max_cost,
            at_most=bounds,
            seed=request.seed,
            replications=request.replications,
        )
    except ConfigError as error:
        raise ConfigError(str(error).replace("at_most:", "--at-most:", 1)) from None
    found = replace(found, before=noted(subject, found.before), after=noted(subject, found.after))
    if as_json:
        print(json.dumps(_json(subject, found)))
    else:
        print_recommendation(found, str(request.path), _title(subject, found), yaml_of(found))
    return ExitCode.OK if found.meets_deadline and found.is_paid else ExitCode.FAILED


def yaml_of(found: Recommendation) -> str:
    """Returns the changes as YAML for the config; an empty text if nothing changes."""
    lines: list[str] = []
    for change in sorted(found.changes, key=lambda change: list(found.settings).index(change.setting)):
        if change.setting == "concurrency":
            return f"pipeline_config:\n  parallel_pipelines: {change.after}  # was {change.before}"
        name = change.setting.removeprefix("stages.").removesuffix(".concurrency")
        lines += [f"  - name: {json.dumps(name, ensure_ascii=False) if not name.isidentifier() else name}"]
        lines += [f"    concurrency: {change.after}  # was {change.before}"]
    return "\n".join(["stages:", *lines]) if lines else ""


def _title(subject: Subject, found: Recommendation) -> str:
    what = "the settings that finish soonest" if found.deadline is None else "the smallest settings for the deadline"
    return f"{subject.config.pipeline_name}: {what}, {subject.drawn_from}"


def _json(subject: Subject, found: Recommendation) -> Mapping[str, object]:
    return {**subject.as_json, **found.as_json(), "yaml": yaml_of(found)}


def _bounds(texts: Sequence[str], config: Config) -> dict[str | tuple[str, ...], int]:
    """Read ``--at-most answering=64``, ``total=100`` or ``main.calls=64``."""
    stages = [stage.name for stage in config.stages]
    groups = {f"{name}{_OF_PROVIDER}": _stages_of(name, config) for name in config.providers}
    known = [*stages, *(name for name in (TOTAL,) if name not in stages), *(name for name, of in groups.items() if of)]
    found: dict[str | tuple[str, ...], int] = {}
    for text in texts:
        name, equals, count = (part.strip() for part in text.rpartition("="))
        if not equals:
            raise ConfigError(f"--at-most: {given(text, 'NAME=N, like answering=64, or total=100 for all calls')}")
        if name not in known:
            raise ConfigError(f"--at-most: {unknown(f'there is no stage called {name!r}', name, known)}")
        if not (count.isascii() and count.isdecimal() and int(count) >= 1):
            raise ConfigError(f"--at-most: {name}: {given(count, 'a whole number, 1 or more')}")
        key = name if name in stages or name == TOTAL else groups[name]
        if key in found:
            raise ConfigError(f"--at-most: {name}: given twice; allowed: once")
        found[key] = int(count)
    return found


def _stages_of(provider: str, config: Config) -> tuple[str, ...]:
    """Returns the stages that use a provider."""
    return tuple(stage.name for stage in config.stages if provider in stage.options.values())
