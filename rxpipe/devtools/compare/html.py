"""The page that shows a comparison: the table, and a timeline for each run. One file that loads nothing."""

from __future__ import annotations

from collections.abc import Iterable

from rxpipe.devtools.compare.comparison import SIMULATED, Comparison, Row, items_text, seconds_text
from rxpipe.devtools.compare.least_time import items_at_once
from rxpipe.devtools.compare.svg import COLOURS, escaped, picture

# For light and dark mode. The colours also differ in lightness, for any colour vision, and names stand beside them.
_LIGHT = ("#2f6fd0", "#c8660a", "#16866a", "#8b4cc2", "#c03a6b", "#6f7a12")
_DARK = ("#79a8ff", "#f2a14e", "#45c79c", "#c39bff", "#f5809f", "#bcc94d")

_STYLE = """
:root { color-scheme: light dark; --page: #fbfbfa; --text: #1d1f23; --soft: #5b6068; --line: #dedfe2; --room: #ececee;
  --panel: #ffffff; --hatch: #a3180d; %s }
@media (prefers-color-scheme: dark) { :root { --page: #15171b; --text: #e8e9ec; --soft: #a2a8b2; --line: #33373f;
  --room: #2a2e35; --panel: #1c1f24; --hatch: #ffb4a8; %s } }
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, "Segoe UI", Roboto,
  "Noto Sans", "DejaVu Sans", sans-serif }
main { max-width: 1120px; margin: 0 auto; padding: 32px 24px 56px }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 6px } h2 { font-size: 19px; margin: 40px 0 4px }
p { margin: 0 0 10px; max-width: 100ch } .soft, .notes { color: var(--soft) }
.wide { overflow-x: auto; margin: 20px 0 }
table { border-collapse: collapse; width: 100%%; min-width: 720px; font-variant-numeric: tabular-nums }
th, td { padding: 7px 12px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line) }
th:first-child, td:first-child { text-align: left; padding-left: 4px } tbody th { font-weight: 600 }
thead th { color: var(--soft); font-weight: 500; border-bottom: 2px solid var(--line) }
tbody + tbody tr:first-child > * { border-top: 2px solid var(--line) }
caption { text-align: left; color: var(--soft); padding-bottom: 6px }
.notes { font-size: 14px; padding-left: 20px; max-width: 108ch } .notes li { margin-bottom: 3px }
figure { margin: 14px 0 0; padding: 12px 14px 4px; background: var(--panel); border: 1px solid var(--line);
  border-radius: 10px; overflow-x: auto }
figcaption { margin-bottom: 6px } figcaption b { font-size: 16px; margin-right: 10px }
figcaption span { color: var(--soft) } svg { display: block; width: 100%%; min-width: 820px; height: auto }
svg text { fill: var(--text); font-size: 13px } svg .small { fill: var(--soft); font-size: 11.5px }
svg .name, svg .mark { font-weight: 600 } svg .mark { font-size: 12.5px; paint-order: stroke; stroke: var(--panel);
  stroke-width: 3px; stroke-linejoin: round }
.grid { stroke: var(--line); fill: none } .room { fill: var(--room) } .end { stroke: var(--text); stroke-width: 1.5 }
.commits { fill: var(--soft); fill-opacity: .38; stroke: var(--soft) }
.halo { fill: none; stroke: var(--panel); stroke-width: 5; stroke-linejoin: round; stroke-linecap: round }
.way { fill: none; stroke: var(--text); stroke-width: 2; stroke-linejoin: round; stroke-linecap: round }
.dot { fill: var(--text); stroke: var(--panel); stroke-width: 2 } .failed { fill: url(#failed) }
.key { display: inline-block; width: 14px; height: 12px; vertical-align: -1px; margin-right: 2px }
"""


def page(comparison: Comparison) -> str:
    """Returns the page of a comparison. All runs are drawn to the same scale."""
    names = ", ".join(stage.name for stage in comparison.stages)
    items = items_text(comparison.count)
    how = " (simulated)" if comparison.simulated else ""
    return document(f"rxpipe compare{how}: {items}", f"{items} through {names}{how}", _body(comparison))


def document(title: str, heading: str, body: Iterable[str]) -> str:
    """Returns a page as HTML that is also well-formed XML.

    The page fetches nothing and runs no script, and its policy forbids both.

    Args:
        title: The window's title.
        heading: The page's heading.
        body: The rest of the page, as HTML.
    """
    head = (
        '<!DOCTYPE html>\n<html lang="en" xmlns="http://www.w3.org/1999/xhtml"><head><meta charset="utf-8"/>'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>"
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>{escaped(title)}</title><style>{_style()}</style></head>\n<body><main>"
        f"<h1>{escaped(heading)}</h1>"
    )
    return "".join((head, *body, "</main></body></html>\n"))


def _body(comparison: Comparison) -> Iterable[str]:
    if comparison.simulated:
        yield f"<p><b>{escaped(SIMULATED)}</b></p>"
    for scheduler in dict.fromkeys(row.scheduler for row in comparison.rows):
        yield _summary([row for row in comparison.rows if row.scheduler == scheduler])
    yield _table(comparison)
    yield f'<ul class="notes">{"".join(f"<li>{escaped(note)}</li>" for note in comparison.notes)}</ul>\n'
    yield _timelines(comparison)


def _style() -> str:
    colours = [" ".join(f"--c{index}: {colour};" for index, colour in enumerate(mode)) for mode in (_LIGHT, _DARK)]
    stages = "".join(f".c{index} {{ fill: var(--c{index}) }} " for index in range(COLOURS))
    return _STYLE % tuple(colours) + stages


def _summary(rows: list[Row]) -> str:
    """Returns the result in a sentence, without praise, so that it is right for any figures."""
    staged, *others = rows
    first = staged.report.first_seconds
    if first is None or any(row.report.first_seconds is None for row in others):
        return ""
    took = " and ".join(f"{row.strategy} took {seconds_text(row.report.seconds)}" for row in others)
    firsts = " and ".join(seconds_text(row.report.first_seconds or 0.0) for row in others)
    held = " and ".join(str(row.report.most_in_flight) for row in others)
    return (
        f"<p>On {staged.scheduler}, {took} where staged took {seconds_text(staged.report.seconds)}. Their first rows "
        f"were there after {firsts} instead of {seconds_text(first)}, and they held {held} items at most instead of "
        f"{staged.report.most_in_flight}.</p>"
    )


def _table(comparison: Comparison) -> str:
    head = "".join(f'<th scope="col">{escaped(column)}</th>' for column in comparison.columns)
    bodies: list[str] = []
    for scheduler in dict.fromkeys(row.scheduler for row in comparison.rows):
        bodies.append("<tbody>")
        for row in comparison.rows:
            if row.scheduler == scheduler:
                name, *figures = comparison.cells(row)
                cells = "".join(f"<td>{escaped(figure)}</td>" for figure in figures)
                bodies.append(f'<tr><th scope="row">{escaped(name)}</th>{cells}</tr>')
        bodies.append("</tbody>")
    return (
        '<div class="wide"><table><caption>Every strategy on every scheduler, the same work</caption>'
        f"<thead><tr>{head}</tr></thead>{''.join(bodies)}</table></div>\n"
    )


def _timelines(comparison: Comparison) -> str:
    span = max(row.timeline.seconds for row in comparison.rows) or 1.0
    parts = [
        "<h2>What ran when</h2>"
        "<p>Time runs to the right, at the same scale for all. A band is filled as high as slots of its stage were "
        "busy, and <b>what stays grey was idle</b>; with per_item all stages share one. The line follows the item "
        "whose row was the first, from call to call to its commit.</p>"
    ]
    if any(not call.ok for row in comparison.rows for stage in row.timeline.stages for call in stage.calls):
        parts.append(
            '<p><svg class="key" style="min-width:0;display:inline-block" viewBox="0 0 14 12" aria-hidden="true" '
            'xmlns="http://www.w3.org/2000/svg"><defs><pattern id="failed" width="5" height="5" '
            'patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="5" height="5" '
            'fill="var(--panel)"/><rect width="2.5" height="5" fill="var(--hatch)"/></pattern></defs>'
            '<rect class="failed" width="14" height="12"/></svg> Hatched: calls that failed or timed out.</p>'
        )
    total = items_at_once(comparison.stages)
    for number, row in enumerate(comparison.rows):
        first = row.report.first_seconds
        told = [
            f"{row.busy:.0%} of {total} slots busy",
            f"{row.report.most_in_flight} held at most",
            "no row" if first is None else f"first row after {seconds_text(first)}",
        ]
        parts.append(
            f"<figure><figcaption><b>{escaped(row.name)}</b><span>{', '.join(told)}"
            f"{escaped('; stopped by ' + row.error) if row.error else ''}</span></figcaption>"
            f"{picture(row, key=f'run{number}', span=span)}</figure>\n"
        )
    return "".join(parts)
