"""The page that shows runs of a store side by side: a table, and a timeline for each. It loads nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from rxpipe.cli.views.past_run import PastRun
from rxpipe.cli.views.runs_compared import TWO_SHARES, lines, says_busy
from rxpipe.cli.views.runs_headline import headline
from rxpipe.devtools.compare.html import document
from rxpipe.devtools.compare.svg import COLOURS, escaped, ticks
from rxpipe.insight.reading import Heights
from rxpipe.screen.texts import clock

_LEFT, _WIDTH, _BAND, _GAP, _AXIS = 150, 1040, 44, 10, 22


def runs_page(runs: Sequence[PastRun]) -> str:
    """Returns the page, in the style of ``rxpipe compare``. All runs are drawn to the same scale."""
    numbers = [str(run.row.number) for run in runs]
    title = f"Runs {', '.join(numbers[:-1])} and {numbers[-1]}"
    told = headline(*runs) if len(runs) == 2 else ""
    return document(f"rxpipe compare: {title}", told or title, _body(runs))


def _body(runs: Sequence[PastRun]) -> Iterable[str]:
    for run in runs:
        note = f" It took {run.note}." if run.note else ""
        yield (
            f"<p><b>{escaped(run.title)}</b>, begun {_date(run.row.began_at)}: {escaped(run.sentence)}."
            f"{escaped(note)}</p>"
        )
    if says_busy(runs):
        yield f'<p class="soft">{TWO_SHARES.capitalize()}.</p>'
    yield _table(runs)
    yield (
        "<h2>What ran when</h2><p>Time runs to the right, at the same scale for all. A band is as high as calls of its "
        "stage ran, on average over each pixel or two; <b>what stays grey was idle</b>.</p>"
    )
    span = max(run.elapsed for run in runs) or 1.0
    for run in runs:
        picture = _picture(run, span)
        yield f"<figure><figcaption><b>{escaped(run.title)}</b></figcaption>{picture}</figure>\n"


def _table(runs: Sequence[PastRun]) -> str:
    head = "".join(f'<th scope="col">{escaped(run.title)}</th>' for run in runs)
    body: list[str] = []
    for title, cells, change in lines(runs):
        figures = "".join(f"<td>{escaped(cell)}</td>" for cell in (*cells, change))
        body.append(f'<tr><th scope="row">{escaped(title)}</th>{figures}</tr>')
    return (
        '<div class="wide"><table><caption>From the first to the last</caption><thead><tr><th scope="col"> </th>'
        f'{head}<th scope="col">change</th></tr></thead><tbody>{"".join(body)}</tbody></table></div>\n'
    )


def _picture(run: PastRun, span: float) -> str:
    if run.timeline.heights is None:
        return f"<p>{run.timeline.calls:,} calls are too many to draw.</p>"
    wide = (_WIDTH - _LEFT) * run.elapsed / span
    parts: list[str] = []
    for place, heights in enumerate(run.timeline.heights):
        stage = run.stage(heights.stage)
        slots = None if stage is None else stage.concurrency
        parts.append(_band(heights, place, slots, wide))
    bottom = len(parts) * (_BAND + _GAP)
    for tick in ticks(span):
        x = _LEFT + (_WIDTH - _LEFT) * tick / span
        anchor = "end" if x > _WIDTH - 20 else "middle"
        parts.insert(0, f'<path class="grid" d="M{x:.1f} 0V{bottom}"/>')
        parts.append(f'<text class="small" x="{x:.1f}" y="{bottom + 15}" text-anchor="{anchor}">{_moment(tick)}</text>')
    told = f"Calls that ran in {run.title}, stage by stage"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {bottom + _AXIS}" role="img" '
        f'aria-label="{escaped(told)}">{"".join(parts)}</svg>'
    )


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def _moment(seconds: float) -> str:
    return f"{seconds:g} s" if seconds < 100 else clock(seconds)


def _band(heights: Heights, place: int, slots: int | None, wide: float) -> str:
    low = place * (_BAND + _GAP) + _BAND
    highest = max(slots or 0, 1, *heights.running)
    step = wide / max(1, len(heights.running))
    path = f"M{_LEFT} {low}"
    for index, mean in enumerate(heights.running):
        path += f"V{low - _BAND * mean / highest:.1f}H{_LEFT + step * (index + 1):.1f}"
    told = "no bound" if slots is None else f"{slots:,} at once"
    name = heights.stage if len(heights.stage) <= 18 else f"{heights.stage[:17]}…"
    return (
        f'<text x="{_LEFT - 12}" y="{low - _BAND + 17}" text-anchor="end">{escaped(name)}</text>'
        f'<text class="small" x="{_LEFT - 12}" y="{low - 10}" text-anchor="end">{told}</text>'
        f'<rect class="room" x="{_LEFT}" y="{low - _BAND}" width="{wide:.1f}" height="{_BAND}"/>'
        f'<path class="c{place % COLOURS}" d="{path}V{low}Z"/>'
    )
