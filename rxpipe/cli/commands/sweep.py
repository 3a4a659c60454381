"""``rxpipe simulate --sweep``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rxpipe.cli.commands.html_option import check_writable, write_page
from rxpipe.cli.commands.simulated import Request, Subject, subject_of
from rxpipe.cli.messages import configure_logs
from rxpipe.cli.views.sweep import print_sweep
from rxpipe.cli.views.sweep_page import sweep_page
from rxpipe.config.error_texts import given
from rxpipe.config.settings import value_of
from rxpipe.errors import ConfigError
from rxpipe.foresight.sweeps import Sweep, sweep_of
from rxpipe.screen.terminal import say

_ALLOWED = "KEY=A..B or KEY=A,B,C, like stages.answering.concurrency=4..64"
_MOST = 200  # values of a list


def sweep(request: Request, sweeps: Sequence[str], *, html: Path | None, as_json: bool) -> None:
    """Simulate a config's run with each value of a setting, or each pair of values of two, and show the differences.

    Raises:
        ConfigError: The config cannot be simulated, or an option cannot be used.
    """
    configure_logs()
    settings = _settings(sweeps, request.settings)
    if html is not None:
        check_writable(html)
    subject = subject_of(request)
    found = _swept(subject, settings, request.seed)
    title = f"{subject.config.pipeline_name}: {' and '.join(found.settings)}, {subject.drawn_from}"
    if as_json:
        print(json.dumps({**subject.as_json, **found.as_json()}))
    else:
        print_sweep(found, title)
    if html is not None:
        write_page(html, sweep_page(found, title))
        say(f"\npage: {html}", err=as_json)


def _swept(subject: Subject, settings: dict[str, Iterable[Any]], seed: int) -> Sweep:
    try:
        found = sweep_of(subject.scenario, settings, subject.variant, seed=seed)
    except ConfigError as error:
        raise ConfigError(f"--sweep: {error}") from None
    return replace(found, assumptions=(*found.assumptions, *subject.notes))


def _settings(sweeps: Sequence[str], fixed: Sequence[str]) -> dict[str, Iterable[Any]]:
    found: dict[str, Iterable[Any]] = {}
    set_too = {one.partition("=")[0].strip() for one in fixed}
    for text in sweeps:
        path, equals, values = (part.strip() for part in text.partition("="))
        if not (path and equals and values):
            raise ConfigError(f"--sweep: {given(text, _ALLOWED)}")
        if path in found or path in set_too:
            raise ConfigError(f"--sweep: {path}: given twice; allowed: once, in --sweep or in --set")
        found[path] = _values(path, values)
    if len(found) > 2:
        raise ConfigError(f"--sweep: given {len(found)} settings; allowed: one or two")
    return found


def _values(path: str, text: str) -> Iterable[Any]:
    """Read ``4..64`` or ``4,8,16``."""
    if numbers := re.fullmatch(r"([0-9]{1,9})\.\.([0-9]{1,9})", text):
        first, last = int(numbers[1]), int(numbers[2])
        if not first < last:
            raise ConfigError(f"--sweep: {path}: {given(text, 'A..B with A less than B')}")
        return range(first, last + 1)
    values = [value_of(part) for part in text.split(",") if part.strip()]
    if not 2 <= len(values) <= _MOST:
        raise ConfigError(f"--sweep: {path}: {given(text, f'A..B, or 2 to {_MOST} values with commas between')}")
    return values
