"""The timeline of one run as an SVG picture: a band for each stage, the commits below, time to the right.

The height of a band at a moment is the number of running calls; its full height is all slots. If stages share their
slots (``per_item``), there is one band for all of them, in layers. For many calls, averages over short parts of the
time are drawn, so that a picture stays small.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence

from rxpipe.devtools.compare.comparison import Row, seconds_text
from rxpipe.devtools.compare.timeline import Call, Commit, StageTimeline, averages, changes

LEFT, PLOT, RIGHT = 178, 784, 78  # the names, the time, and room for figures at its end
WIDTH = LEFT + PLOT + RIGHT
COLOURS = 6
_TOP, _BAND, _GAP, _AXIS = 6, 34, 9, 22
_NAME_LENGTH = 22
_CALLS = 3000  # most calls in a picture that are drawn exactly
_PART = 2  # pixels of a part, if averages are drawn
_CORNERS = 400  # most corners of the curve of commits


def escaped(text: object) -> str:
    """Returns text for HTML and XML.

    Characters that they forbid, or that are invisible, become a replacement character.
    """
    return html.escape("".join(c if c.isprintable() else "\ufffd" for c in str(text)))


def picture(row: Row, *, key: str, span: float) -> str:
    """Returns the SVG of one run.

    Args:
        row: The run.
        key: A prefix for the names of the picture's parts that no other picture has.
        span: The seconds that the width stands for; the same for all runs, so that they can be compared.
    """
    return "".join(_Picture(row, key, span).parts())


class _Picture:
    def __init__(self, row: Row, key: str, span: float) -> None:
        self._row = row
        self._line = row.timeline
        self._key = key
        self._span = span
        self._bottom = _TOP + (len(self._line.stages) + 1) * (_BAND + _GAP)
        self._first = next((commit for commit in self._line.commits if commit.written), None)
        self._is_exact = sum(len(stage.calls) for stage in self._line.stages) <= _CALLS

    def parts(self) -> Iterable[str]:
        height = self._bottom + _AXIS
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
            f'aria-labelledby="{self._key}-title {self._key}-desc">'
            f'<title id="{self._key}-title">{escaped(self._row.name)}</title>'
            f'<desc id="{self._key}-desc">{escaped(self._told())}</desc>'
        )
        yield self._axis()
        yield self._layers() if self._row.strategy == "per_item" else self._bands()
        yield self._commits()
        yield self._journey()
        yield self._end()
        yield "</svg>"

    def _told(self) -> str:
        """Returns the picture in words."""
        stages = (
            f"{stage.name}: {len(stage.calls)} calls"
            + (f" from {seconds_text(stage.calls[0].began)} to {seconds_text(_last(stage))}" if stage.calls else "")
            for stage in self._line.stages
        )
        if self._first is None:
            return f"{'; '.join(stages)}; no result was committed."
        first, last = seconds_text(self._first.at), seconds_text(self._line.commits[-1].at)
        return f"{'; '.join(stages)}; first result committed after {first}, last row after {last}."

    # Positions

    def _x(self, seconds: float) -> float:
        return LEFT + PLOT * seconds / self._span

    def _y(self, band: int) -> int:
        """Returns the lower edge of a band."""
        return _TOP + band * (_BAND + _GAP) + _BAND

    def _axis(self) -> str:
        parts: list[str] = []
        for tick in ticks(self._span):
            x = _n(self._x(tick))
            parts.append(
                f'<path class="grid" d="M{x} {_TOP}V{self._bottom}"/>'
                f'<text class="small" x="{x}" y="{self._bottom + 14}" text-anchor="middle">{tick:g} s</text>'
            )
        return "".join(parts)

    def _label(self, name: str, figure: str, band: int) -> str:
        short = name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 1]}…"
        bottom = self._y(band)
        return (
            f'<text class="name" x="{LEFT - 12}" y="{bottom - _BAND + 14}" text-anchor="end">{escaped(short)}</text>'
            f'<text class="small" x="{LEFT - 12}" y="{bottom - 4}" text-anchor="end">{escaped(figure)}</text>'
        )

    def _room(self, top: int, bottom: int) -> str:
        """Returns the area that calls could fill while the run lasted. The part that stays visible was idle."""
        width = _n(PLOT * self._line.seconds / self._span)
        return f'<rect class="room" x="{LEFT}" y="{top}" width="{width}" height="{bottom - top}"/>'

    # The stages

    def _bands(self) -> str:
        """Returns a band for each stage."""
        parts: list[str] = []
        for index, stage in enumerate(self._line.stages):
            bottom, unit = self._y(index), _BAND / stage.slots
            parts.append(
                f"<g><title>{escaped(self._figures(stage))}</title>"
                f"{self._label(stage.name, f'{stage.slots} at once, {self._busy(stage):.0%} busy', index)}"
                f"{self._room(bottom - _BAND, bottom)}"
                f'<path class="c{index % COLOURS}" d="{self._area(stage.calls, unit, bottom)}"/>'
                f"{self._hatched(stage, unit, bottom)}</g>"
            )
        return "".join(parts)

    def _layers(self) -> str:
        """Returns one band for all stages, the first on top, since they share the slots."""
        stages = self._line.stages
        bottom, slots = self._y(len(stages) - 1), stages[0].slots
        unit = (bottom - _TOP) / slots
        parts = ["<g>", self._room(_TOP, bottom)]
        for index, stage in enumerate(stages):
            below = [call for lower in stages[index + 1 :] for call in lower.calls]
            parts.append(
                f"<g><title>{escaped(self._figures(stage))}</title>"
                f"{self._label(stage.name, f'{self._busy(stage):.0%} of {slots} slots', index)}"
                f'<rect class="c{index % COLOURS}" x="{LEFT - 7}" y="{self._y(index) - _BAND}" width="4" '
                f'height="{_BAND}"/>'
                f'<path class="c{index % COLOURS}" d="{self._area((*below, *stage.calls), unit, bottom)}"/>'
                f"{self._hatched(stage, unit, bottom, below)}</g>"
            )
        return "".join((*parts, "</g>"))

    def _busy(self, stage: StageTimeline) -> float:
        return stage.busy_seconds / (stage.slots * self._line.seconds) if self._line.seconds else 0.0

    def _figures(self, stage: StageTimeline) -> str:
        failed = sum(not call.ok for call in stage.calls)
        text = f"{stage.name}: {len(stage.calls)} calls, {self._busy(stage):.1%} of the time of {stage.slots} slots"
        return f"{text}, {failed} of the calls failed" if failed else text

    def _hatched(self, stage: StageTimeline, unit: float, bottom: int, below: Sequence[Call] = ()) -> str:
        failed = [call for call in stage.calls if not call.ok]
        return f'<path class="failed" d="{self._area((*below, *failed), unit, bottom)}"/>' if failed else ""

    def _area(self, calls: Sequence[Call], unit: float, bottom: int) -> str:
        """Returns the area of running calls, ``unit`` pixels each. Changes within a tenth of a pixel are one step."""
        seconds = self._line.seconds
        if self._is_exact or not seconds:
            levels = changes(calls)
        else:
            levels = averages(calls, seconds, max(1, math.ceil(PLOT * seconds / self._span / _PART)))
        heights = {_n(self._x(at)): _n(bottom - unit * level) for at, level in levels}
        path = [f"M{LEFT} {bottom}"]
        last = str(bottom)
        for x, height in heights.items():
            if height != last:
                path.append(f"H{x}V{height}")
                last = height
        return "".join((*path, f"H{_n(self._x(seconds))}V{bottom}Z"))

    # The rows

    def _commits(self) -> str:
        band = len(self._line.stages)
        bottom = self._y(band)
        commits = self._line.commits
        written = sum(commit.written for commit in commits)
        failed = len(commits) - written
        figure = f"{written} written" + (f", {failed} failed" if failed else "")
        parts = [f"<g><title>{figure}</title>{self._label('rows', figure, band)}{self._room(bottom - _BAND, bottom)}"]
        if commits:
            parts.append(f'<path class="commits" d="{self._curve(commits, bottom)}"/>')
        if first := self._first:
            at = self._x(first.at)
            # Beside the end of the line that leads there, not on it.
            late = at > LEFT + PLOT / 2
            x, y, anchor = (at - 9, bottom - 4, "end") if late else (at + 9, bottom - _BAND + 13, "start")
            parts.append(
                f'<text class="mark" x="{_n(x)}" y="{y}" text-anchor="{anchor}">'
                f"first row {seconds_text(first.at)}</text>"
            )
        return "".join((*parts, "</g>"))

    def _curve(self, commits: Sequence[Commit], bottom: int) -> str:
        """Returns the number of rows as an area. A commit of many rows is one step."""
        total = len(commits)
        path = [f"M{_n(self._x(commits[0].at))} {bottom}"]
        every = max(1, total // _CORNERS)
        for number in [*range(every, total, every), total]:
            at, height = self._x(commits[number - 1].at), _BAND * number / total
            path.append(f"H{_n(at)}V{_n(bottom - height)}")
        return "".join((*path, f"H{_n(self._x(self._line.seconds))}V{bottom}Z"))

    def _journey(self) -> str:
        """Returns the way of the item whose row was first, from call to call and to its commit."""
        first = self._first
        if first is None:
            return ""
        points: list[tuple[float, float]] = []
        for index, call in self._line.journey(first.item):
            middle = self._y(index) - _BAND / 2
            points += [(self._x(call.began), middle), (self._x(call.ended), middle)]
        points.append((self._x(first.at), self._y(len(self._line.stages)) - _BAND / 2))
        path = "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in points)
        x, y = points[-1]
        return (
            f"<g><title>the way of item {escaped(first.item)}, whose row was the first</title>"
            f'<path class="halo" d="{path}"/><path class="way" d="{path}"/>'
            f'<circle class="dot" cx="{_n(x)}" cy="{_n(y)}" r="4.5"/></g>'
        )

    def _end(self) -> str:
        x = self._x(self._line.seconds)
        text = seconds_text(self._line.seconds)
        return (
            f'<path class="end" d="M{_n(x)} {_TOP}V{self._bottom - _GAP}"/>'
            f'<text class="mark" x="{_n(x + 7)}" y="{_TOP + 13}">{text}</text>'
        )


def ticks(span: float) -> list[float]:
    """Returns about eight round times from 0 to ``span``."""
    power = 10.0 ** math.floor(math.log10(span / 8))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * 8 >= span * 0.999)
    return [round(step * number, 9) for number in range(math.floor(span / step * 1.000001) + 1)]


def _last(stage: StageTimeline) -> float:
    return max(call.ended for call in stage.calls)


def _n(value: float) -> str:
    """Returns a number for a path: a tenth of a pixel is exact enough."""
    return f"{value:.1f}".removesuffix(".0")
