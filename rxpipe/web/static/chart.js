// A line chart over a run's time, with the same numbers in a table beside it.
import { html, useEffect, useLayoutEffect, useRef, useState } from "./preact.js";
import { Text } from "./parts.js";
import { clock, known } from "./texts.js";

const SYNC = "run";

function colour(className) {
  const probe = document.createElement("i");
  probe.className = className;
  document.body.append(probe);
  const found = getComputedStyle(probe).getPropertyValue("--c").trim();
  probe.remove();
  return found;
}

const paint = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function options(lines, format, size, onMove, ends) {
  const axis = { stroke: () => paint("--soft"), grid: { stroke: () => paint("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
  return {
    ...size,
    legend: { show: false },
    padding: [8, 8, 0, 0],
    cursor: { sync: { key: SYNC }, drag: { x: true, y: false }, points: { size: 5 } },
    scales: { x: { time: false, range: (plot, low, high) => [low, Math.max(high, zoomed(plot, high) ? 0 : Math.min(ends.current?.high ?? 0, high * 1.5))] }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
    axes: [
      { ...axis, size: 26, values: (_, splits) => splits.map((at) => clock(at)), space: 64, incrs: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800] },
      { ...axis, size: 52, values: (_, splits) => splits.map((value) => format(value)), space: 34 },
    ],
    series: [{}, ...lines.map((line) => ({ stroke: () => colour(line.look), width: 1.5, fill: line.fill ? () => `color-mix(in srgb, ${colour(line.look)} 14%, transparent)` : undefined, points: { show: false }, spanGaps: true }))],
    hooks: { setCursor: [(plot) => onMove(plot.cursor.idx)], draw: [(plot) => ends.current && drawEnds(plot, ends.current)] },
  };
}

// True if the reader has zoomed in to a part of the time.
const zoomed = (plot, high) => plot.data[0].length > 0 && high < plot.data[0].at(-1);

// Draws the estimated end of the run as a line, and its interval as a band.
function drawEnds(plot, { low, middle, high }) {
  const { ctx, bbox } = plot;
  const [from, at, to] = [low, middle, high].map((value) => Math.min(plot.valToPos(value, "x", true), bbox.left + bbox.width));
  if (from >= bbox.left + bbox.width) return; // the end is beyond the right edge: the legend says when
  ctx.save();
  ctx.fillStyle = paint("--accent-soft");
  ctx.fillRect(Math.max(from, bbox.left), bbox.top, Math.max(1, to - Math.max(from, bbox.left)), bbox.height);
  ctx.strokeStyle = paint("--accent");
  ctx.setLineDash([4, 3]);
  ctx.beginPath();
  ctx.moveTo(at, bbox.top);
  ctx.lineTo(at, bbox.top + bbox.height);
  ctx.stroke();
  ctx.restore();
}

// Axes have room for few characters, so the units are in the title.
export function Chart({ title, x, lines, format, axis = format, extra, id, ends = null }) {
  const place = useRef(null);
  const plot = useRef(null);
  const [index, setIndex] = useState(null);
  const foretold = useRef(ends);
  foretold.current = ends;
  const shape = lines.map((line) => `${line.label} ${line.look}`).join();
  const data = [x, ...lines.map((line) => line.values.map((value) => (known(value) ? value : null)))];
  useLayoutEffect(() => {
    const size = () => ({ width: Math.max(160, place.current.clientWidth - 12), height: 158 });
    const made = new uPlot(options(lines, axis, size(), (at) => setIndex(at ?? null), foretold), data, place.current);
    plot.current = made;
    const watch = new ResizeObserver(() => made.setSize(size()));
    watch.observe(place.current);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    const redraw = () => made.redraw(false);
    scheme.addEventListener("change", redraw);
    return () => { scheme.removeEventListener("change", redraw); watch.disconnect(); made.destroy(); plot.current = null; };
  }, [shape]);
  useEffect(() => { plot.current?.setData(data); }, [x, lines, ends?.middle]);
  const at = index === null || index >= x.length ? x.length - 1 : index;
  return html`<figure class="panel chart" aria-labelledby=${id}>
    <figcaption class="bar"><h3 id=${id}>${title}</h3>${extra}<span class="grow"></span>
      <span class="legend">${lines.map((line) => html`<span class=${line.look}><i></i><${Text}>${line.label}<//> <b>${format(line.values[at])}</b></span>`)}
        ${ends && html`<span class="accent-line ends"><i></i>end <b>${clock(ends.middle)}</b>${` (${clock(ends.low)} to ${clock(ends.high)})`}</span>`}</span></figcaption>
    <div class="plot" ref=${place} role="img" aria-label=${`${title}, as lines over time; the same numbers are in the table that follows`}></div>
    <${Numbers} title=${title} x=${x} lines=${lines} format=${format} />
  </figure>`;
}

function Numbers({ title, x, lines, format }) {
  const [open, setOpen] = useState(false);
  const every = Math.max(1, Math.ceil(x.length / 24));
  const rows = open ? x.map((_, index) => index).filter((index) => index % every === 0 || index === x.length - 1) : [];
  return html`<details class="table" onToggle=${(event) => setOpen(event.target.open)}><summary>As a table</summary>
    <div tabindex="0" role="group" aria-label=${`${title} as a table`}><table><thead><tr><th scope="col" class="r">Time</th>${lines.map((line) => html`<th scope="col" class="r"><${Text}>${line.label}<//></th>`)}</tr></thead>
    <tbody>${rows.map((index) => html`<tr><th scope="row" class="r">${clock(x[index])}</th>${lines.map((line) => html`<td class="r">${format(line.values[index])}</td>`)}</tr>`)}</tbody></table></div>
  </details>`;
}
