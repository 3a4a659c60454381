"""The output of one item: its input, and its calls in order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from rxpipe.cli.commands.history import local_time
from rxpipe.insight.item_times import TimedCall, lengths, timed
from rxpipe.insight.reading import ItemDetails
from rxpipe.operators.core.running_call import Usage
from rxpipe.screen.terminal import hanging
from rxpipe.screen.texts import cell_text, cost_unit, duration, plural, screen_text, used

_LONGEST = 300  # characters of a value, without --verbose
_PAUSE = 0.1  # seconds; a shorter pause is not worth a word
_STYLES = {"ok": "green", "failed": "bold red", "retried": "yellow", "pushed_back": "yellow"}
_ENDS = {
    "retried": "failed, and was made again",
    "pushed_back": "refused for now (as with a 429)",
    "dropped": "dropped the item",
    "sent_back": "sent the item back",
    "cancelled": "was cancelled",
}
_DIVIDERS = {"requeued": "requeued", "another process": "another process went on"}
_AFTER: dict[str | None, str] = {"requeued": "after a requeue", "another process": "in another process"}


def print_item(console: Console, run: int, found: ItemDetails, most: Mapping[str, int], *, verbose: bool) -> None:
    """Write an item to standard output.

    Args:
        console: The console to write to.
        run: The run's number.
        found: The item.
        most: The most attempts of each stage, as far as known.
        verbose: Show whole values, tracebacks, prompts and replies.
    """
    row = found.row
    place = "" if row.stage is None else f" in {cell_text(row.stage)}"
    state = (f"{row.status}{place}", "bold red" if row.status == "failed" else "")
    console.print(Text.assemble((f"item {cell_text(row.id)}", "bold"), f" of run {run}: ", state), soft_wrap=True)
    calls = timed(found.calls)
    for line in _facts(found, calls):
        console.print(Text(line), soft_wrap=True)
    script = _Script(console, verbose=verbose)
    script.part("input", row.id if found.value is None else found.value)
    outputs = dict(found.outputs)
    last_ok = {call.stage: call for call in found.calls if call.ended in ("ok", "sent_back")}
    width = max((len(_offset(one)) for one in calls), default=0)
    for one in calls:
        call = one.call
        script.call(one, most.get(call.stage), width)
        if call.ended == "ok" and last_ok.get(call.stage) is call and call.stage in outputs:
            script.part("result", outputs.pop(call.stage))
    for stage, output in outputs.items():  # their calls were not kept
        script.part(f"result of {cell_text(stage)}", output)
    if row.error is not None and all(call.error != row.error for call in found.calls):
        script.part("reason" if row.status == "dropped" else "error", row.error)
    if script.is_cut:
        console.print(Text("\n-v shows all of it: whole values, tracebacks, prompts and replies", style="dim"))


def _facts(found: ItemDetails, calls: Sequence[TimedCall]) -> Iterator[str]:
    """Yields facts about the item besides its calls, a line each."""
    row = found.row
    usage = sum((call.usage for call in found.calls if not call.cached), Usage())
    costs = f", {used(usage)}{cost_unit(usage)}" if usage != Usage() else ""
    yield f"{plural(row.attempts, 'call')}{_took(found, calls)}{costs}"
    if row.rounds:
        yield f"sent back {plural(row.rounds, 'time')}; of each stage, the result of the last round is kept"
    if found.parents:
        yield f"a child of {', of '.join(cell_text(one) for one in found.parents)}"
    if row.children:
        states = " + ".join(f"{count} {state}" for state, count in found.children.items())
        yield f"{plural(row.children, 'child', 'children')}: {states}"


def _took(found: ItemDetails, calls: Sequence[TimedCall]) -> str:
    """Returns ``, 8.13 s in all`` or ``: 8.13 s, then 1.47 s after a requeue``."""
    parts, row = lengths(calls), found.row
    if len(parts) > 1:
        (_, first), *others = parts
        return f": {duration(first)}" + "".join(f", then {duration(length)} {_AFTER[why]}" for why, length in others)
    if row.began_at is None or row.ended_at is None:
        return ""
    return f", {duration(parts[0][1] if parts else row.ended_at - row.began_at)} in all"


def _offset(one: TimedCall) -> str:
    return "-" if one.offset is None else f"+{duration(one.offset)}" if one.offset else "+0 s"


class _Script:
    """Writes the parts of an item, one below the other.

    Attributes:
        is_cut: True if something was left out.
    """

    def __init__(self, console: Console, *, verbose: bool) -> None:
        self._console = console
        self._verbose = verbose
        self.is_cut = False

    def call(self, one: TimedCall, most: int | None, width: int) -> None:
        """Write a call with its offset, and its error if the call failed."""
        call = one.call
        if one.anew is not None:
            divider = f"\n{_DIVIDERS[one.anew]}, first call at {local_time(call.began_at)}"
            self._console.print(Text(divider, style="bold"), soft_wrap=True)
        offset = (f"{_offset(one):<{width}}  ", "dim")
        told = Text.assemble("\n", offset, (cell_text(call.stage), "bold"), *_told(one, most))
        self._console.print(told, soft_wrap=True)
        if call.error is not None:
            self.part("error", call.error, "red")
        self.is_cut = self.is_cut or (not self._verbose and bool(call.traceback or call.exchanges))
        if not self._verbose:
            return
        for line in screen_text(call.traceback or "").splitlines():
            self._console.print(Text(f"    {line}", style="dim"), soft_wrap=True)
        for exchange in call.exchanges:
            for message in exchange.messages:
                self.part(message.get("role", ""), message.get("content", ""), "dim")
            if exchange.reply is not None:
                self.part("reply", exchange.reply, "dim")

    def part(self, title: str, value: Any, style: str = "") -> None:
        """Write a value on one line, or in full."""
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        if not self._verbose:
            self.is_cut = self.is_cut or len(text) > _LONGEST
            text = cell_text(text, _LONGEST)
        head = Text(f"  {cell_text(title)}: ")
        self._console.print(hanging(self._console, head, text, style), soft_wrap=True)


def _told(one: TimedCall, most: int | None) -> Iterator[tuple[str, str]]:
    """Yields ``, attempt 2 of 3: failed, 0.12 s, after a pause of 2.10 s`` in pieces with their styles."""
    call = one.call
    if call.cached:
        yield ": the result of an earlier call was used, from the cache", ""
        return
    yield f", attempt {call.attempt}{'' if most is None else f' of {most}'}: ", ""
    yield _ENDS.get(call.ended, call.ended), _STYLES.get(call.ended, "")
    if call.seconds is not None:
        yield f", {duration(call.seconds)}", ""
    if one.pause is None and call.waited is not None:
        yield f", after {duration(call.waited)} in the queue", ""
    elif one.pause is not None and one.pause > _PAUSE:
        yield f", after a pause of {duration(one.pause)}", ""
    if call.usage != Usage():
        yield f", {used(call.usage)}", ""
