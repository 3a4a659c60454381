"""The page that shows a sweep: a curve over one setting, or a map over two, and a table. It loads nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from rxpipe.cli.views.forecast import time_text
from rxpipe.cli.views.sweep import rate_text, short
from rxpipe.devtools.compare.html import document
from rxpipe.devtools.compare.svg import escaped, ticks
from rxpipe.foresight.sweeps import NEARLY, Point, Sweep
from rxpipe.screen.texts import cost, number

_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 40, 24, 46
_WIDTH, _HEIGHT = 1040, 340
_CELL = 46  # the height of a row of a map
_LOGARITHMIC = 8  # the least ratio of the largest to the smallest value for a logarithmic scale
_NEAR = 34  # the least distance between the labels of two values, in pixels


def sweep_page(sweep: Sweep, title: str) -> str:
    """Returns the page of a sweep, in the style of ``rxpipe compare``."""
    return document(f"rxpipe simulate: {title}", title, _body(sweep))


def _body(sweep: Sweep) -> Iterable[str]:
    items = "as many items as are needed" if sweep.count is None else f"{number(sweep.count)} items"
    yield f"<p>{escaped(sweep.sentence)}</p>"
    picture = _curve(sweep) if len(sweep.settings) == 1 else _map(sweep)
    yield f"<figure><figcaption><b>Rows in a second</b><span>{items}</span></figcaption>{picture}</figure>\n"
    yield _table(sweep)
    notes = (*sweep.assumptions, f"one simulation each, all with seed {sweep.seed}")
    yield f'<ul class="notes">{"".join(f"<li>{escaped(note)}</li>" for note in notes)}</ul>\n'


def _svg(height: int, told: str, parts: Iterable[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-labelledby="sweep-desc"><desc id="sweep-desc">{escaped(told)}</desc>{"".join(parts)}</svg>'
    )


class _Scale:
    """The places of values from left to right: on a scale for numbers, else one beside the other."""

    def __init__(self, values: Sequence[Any]) -> None:
        numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in values)
        places = [float(one) for one in values] if numbers else [float(place) for place in range(len(values))]
        if numbers and min(places) > 0 and max(places) >= _LOGARITHMIC * min(places):
            places = [math.log(one) for one in places]
        low, span = min(places), (max(places) - min(places)) or 1.0
        room = _WIDTH - _LEFT - _RIGHT
        self._x = {value: _LEFT + room * (place - low) / span for value, place in zip(values, places, strict=True)}

    def x(self, value: Any) -> float:
        return self._x[value]


def _curve(sweep: Sweep) -> str:
    (path,) = sweep.settings
    most = (sweep.best.rate or 1.0) * 1.06
    scale, bottom = _Scale(sweep.settings[path]), _HEIGHT - _BOTTOM

    def y(rate: float) -> float:
        return bottom - (bottom - _TOP) * rate / most

    parts = list(_rates(most, y))
    parts += _labels(sweep.settings[path], scale, bottom)
    parts.append(
        f'<text class="small" x="{(_LEFT + _WIDTH - _RIGHT) / 2:.0f}" y="{_HEIGHT - 6}" '
        f'text-anchor="middle">{escaped(path)}</text>'
    )
    enough = y(NEARLY * sweep.best.rate)
    parts.append(
        f'<path class="grid" stroke-dasharray="4 4" d="M{_LEFT} {enough:.1f}H{_WIDTH - _RIGHT}"/>'
        f'<text class="small" x="{_WIDTH - _RIGHT}" y="{enough + 14:.1f}" text-anchor="end">{NEARLY:.0%} of the '
        "best</text>"
    )
    line = "L".join(f"{scale.x(one.settings[path]):.1f} {y(one.rate):.1f}" for one in sweep.points)
    parts.append(f'<path class="way" d="M{line}"/>')
    for one in sweep.points:
        x, height = scale.x(one.settings[path]), y(one.rate)
        parts.append(
            f"<g><title>{escaped(_told(one))}</title>"
            f'<circle class="dot" cx="{x:.1f}" cy="{height:.1f}" r="{6 if one is sweep.knee else 4}"/></g>'
        )
    if sweep.knee is not None:
        x, late = scale.x(sweep.knee.settings[path]), scale.x(sweep.knee.settings[path]) > _WIDTH / 2
        parts.append(
            f'<path class="end" stroke-dasharray="3 3" d="M{x:.1f} {_TOP}V{bottom}"/>'
            f'<text class="mark" x="{x + (-9 if late else 9):.1f}" y="{bottom - 10}" '
            f'text-anchor="{"end" if late else "start"}">knee: {escaped(sweep.knee.settings[path])}, '
            f"{rate_text(sweep.knee.rate)} rows/s</text>"
        )
    return _svg(_HEIGHT, sweep.sentence, parts)


def _rates(most: float, y: Any) -> Iterable[str]:
    for tick in ticks(most)[::2]:
        height = y(tick)
        yield (
            f'<path class="grid" d="M{_LEFT} {height:.1f}H{_WIDTH - _RIGHT}"/>'
            f'<text class="small" x="{_LEFT - 8}" y="{height + 4:.1f}" text-anchor="end">{tick:g}</text>'
        )


def _labels(values: Sequence[Any], scale: _Scale, bottom: float) -> Iterable[str]:
    last = -math.inf
    for value in values:
        x = scale.x(value)
        if x - last >= _NEAR:
            yield f'<text class="small" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{escaped(value)}</text>'
            last = x


def _map(sweep: Sweep) -> str:
    (down, rows), (across, columns) = sweep.settings.items()
    left = _LEFT + 8 * max(len(str(row)) for row in rows)
    wide = (_WIDTH - left - 8) / len(columns)
    height = _TOP + 22 + _CELL * len(rows)
    parts = [
        f'<text class="small" x="{left + wide * len(columns) / 2:.1f}" y="14" '
        f'text-anchor="middle">{escaped(across)}</text>',
        f'<text class="small" transform="translate(16 {(_TOP + height) / 2:.1f}) rotate(-90)" '
        f'text-anchor="middle">{escaped(short(down))}</text>',
    ]
    marked = sweep.knee or sweep.best
    for place, column in enumerate(columns):
        x = left + wide * (place + 0.5)
        parts.append(f'<text class="small" x="{x:.1f}" y="{_TOP + 12}" text-anchor="middle">{escaped(column)}</text>')
    points = {(one.settings[down], one.settings[across]): one for one in sweep.points}
    for line, row in enumerate(rows):
        top = _TOP + 18 + _CELL * line
        parts.append(
            f'<text class="small" x="{left - 8}" y="{top + _CELL / 2 + 4:.1f}" text-anchor="end">{escaped(row)}</text>'
        )
        for place, column in enumerate(columns):
            one, x = points[row, column], left + wide * place
            shade = 0.06 + 0.5 * one.rate / (sweep.best.rate or 1.0)
            knee = ' stroke="currentColor" stroke-width="2.5"' if one is marked else ""
            parts.append(
                f"<g><title>{escaped(_told(one))}</title>"
                f'<rect class="c0" fill-opacity="{shade:.2f}" x="{x + 1.5:.1f}" y="{top + 1.5:.1f}" '
                f'width="{wide - 3:.1f}" height="{_CELL - 3}" rx="4"{knee}/>'
                f'<text class="{"mark" if one is marked else "cell"}" x="{x + wide / 2:.1f}" '
                f'y="{top + _CELL / 2 + 4:.1f}" text-anchor="middle">{rate_text(one.rate)}</text></g>'
            )
    return _svg(height, sweep.sentence, parts)


def _told(one: Point) -> str:
    chosen = ", ".join(f"{short(path)} {value}" for path, value in one.settings.items())
    told = f"{chosen}: {rate_text(one.rate)} rows/s, {time_text(one.seconds)}"
    return f"{told}, held up by {one.held_up_by}" if one.held_up_by else told


def _table(sweep: Sweep) -> str:
    columns = _columns(sweep)
    head = "".join(f'<th scope="col">{escaped(title)}</th>' for title, _ in columns)
    rows: list[str] = []
    for first, *cells in zip(*(cells for _, cells in columns), strict=True):
        figures = "".join(f"<td>{escaped(cell)}</td>" for cell in cells)
        rows.append(f'<tr><th scope="row">{escaped(first)}</th>{figures}</tr>')
    return (
        '<div class="wide"><table><caption>One simulation each</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>\n"
    )


def _columns(sweep: Sweep) -> list[tuple[str, list[str]]]:
    points = sweep.points
    marked, mark = (sweep.best, " ◀ best") if sweep.knee is None else (sweep.knee, " ◀ knee")
    columns = [(short(path), [str(one.settings[path]) for one in points]) for path in sweep.settings]
    columns[0][1][points.index(marked)] += mark
    columns += [
        ("rows/s", [rate_text(one.rate) for one in points]),
        ("time", [time_text(one.seconds) for one in points]),
        ("first row", [time_text(one.first_seconds) for one in points]),
        ("item p50", [time_text(one.item_p50) for one in points]),
        ("item p95", [time_text(one.item_p95) for one in points]),
        ("in memory", [number(one.in_flight) for one in points]),
    ]
    if any(one.failed for one in points):
        columns.append(("failed", [number(one.failed) for one in points]))
    if len({cost(one.cost) for one in points}) > 1:
        columns.append(("cost", [cost(one.cost) for one in points]))
    return [*columns, ("held up by", [one.held_up_by or "" for one in points])]
