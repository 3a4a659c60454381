// The timeline, as drawn by `rxpipe compare`: a band for each stage, as high as the number of running calls, and rows below.
import { html, useLayoutEffect, useRef, useState } from "./preact.js";
import { useAnswer } from "./api.js";
import { go, link } from "./route.js";
import { RunHead } from "./run_head.js";
import { Empty, Panel, Pill, Text, Trouble, Wide } from "./parts.js";
import { clock, known, number, oneLine, percent, plural, seconds } from "./texts.js";

const [LEFT, RIGHT, TOP, BAND, GAP, AXIS] = [140, 24, 6, 44, 10, 24];
const NARROWEST = 560;

export function Timeline({ run, values, about }) {
  const head = useAnswer(`runs/${run}`);
  const history = useAnswer(`runs/${run}/history`);
  const row = head.data?.run;
  const elapsed = row?.state === "running" ? head.data.snapshot?.elapsed ?? 0 : 0; // newer than the last heartbeat
  const length = row ? Math.max(1, (row.ended_at ?? row.active_at) - row.began_at, elapsed) : null;
  const span = values.seconds ? Math.max(0.1, Math.min(Number(values.seconds) || 1, length ?? Infinity)) : null;
  const since = span === null || length === null ? 0 : Math.max(0, Math.min(Number(values.since) || 0, length - span));
  const calls = useAnswer(length === null ? null : `runs/${run}/timeline?${new URLSearchParams({ since, seconds: span ?? length })}`);
  const view = (from, long) => go(`runs/${run}/timeline`, { since: Math.max(0, Math.min(from, length - long)).toFixed(2), seconds: long.toFixed(2) });
  const whole = () => go(`runs/${run}/timeline`);
  const again = () => { head.again(); history.again(); calls.again(); };
  const now = span ?? length;
  return html`
    <${RunHead} run=${run} row=${row} tab="timeline" about=${about} />
    <${Trouble} error=${head.error ?? history.error ?? calls.error} again=${again} />
    ${length !== null && html`<${Panel} id="timeline" className="timeline" title=${span === null ? "The whole run" : `${clock(since)} to ${clock(since + span)}`} extra=${html`<div class="steps">
        <button disabled=${span === null} onClick=${whole}>Whole run</button>
        <button disabled=${span === null || since <= 0} onClick=${() => view(since - span / 2, span)}>Earlier</button>
        <button disabled=${span === null || since + span >= length} onClick=${() => view(since + span / 2, span)}>Later</button>
        <button onClick=${() => view(since + now / 4, now / 2)}>Zoom in</button>
        <button disabled=${span === null} onClick=${() => (span * 2 >= length ? whole() : view(since - span / 2, span * 2))}>Zoom out</button>
        <button onClick=${() => view(length - 30, Math.min(30, length))}>Last 30 s</button>
        <button onClick=${again}>Refresh</button></div>`}>
      <div class="body">
        ${span !== null && html`<label class="soft">Place in the run<input type="range" min="0" max=${Math.max(0, length - span)} step="any" value=${since} aria-valuetext=${clock(since)} onChange=${(event) => view(Number(event.target.value), span)} /></label>`}
        ${history.data && html`<${Picture} history=${history.data} head=${head.data} told=${calls.data} since=${since} span=${now} length=${length} onPick=${(at) => view(at - now / 8, now / 4)} />`}
        ${calls.data && html`<${Missing} told=${calls.data} isLive=${row.state === "running"} />`}
      </div>
    <//>
    ${calls.data && html`<${Calls} told=${calls.data} isWhole=${span === null} run=${run} />`}`}`;
}

const cut = (name) => { const text = oneLine(name); return text.length > 16 ? `${text.slice(0, 15)}…` : text; };

// Says in words what the picture leaves out.
function Missing({ told, isLive }) {
  const { bars, calls, heights, is_cut: isCut, seconds: long } = told;
  const means = heights === null
    ? `About ${number(calls)} calls ran here, too many to add up: heights are means from one of the run's snapshots to the next.`
    : `${plural(calls, "call")} ran here: heights are means over ${seconds(long / heights[0].running.length)} each, of all of them.`;
  return html`${isCut && heights?.length !== 0 && html`<p class="soft">${means} Zoom in, or click, to see each call as it was.</p>`}
    ${isLive && html`<p class="soft">Calls that have not ended yet are not drawn.</p>`}`;
}

// The mean number of running calls over time, as computed by the server.
const meansOf = (values, since, long) => [...values.map((value, place) => [since + (place * long) / values.length, value]), [since + long, 0]];

// The number of running calls at each moment, computed from the calls.
function changes(bars, since, span) {
  const steps = [];
  for (const bar of bars) {
    if (bar.began > since + span || bar.began + bar.seconds < since) continue;
    steps.push([Math.max(since, bar.began), 1]);
    steps.push([Math.min(since + span, bar.began + bar.seconds), -1]);
  }
  steps.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const levels = [];
  let level = 0;
  for (const [at, change] of steps) { level += change; levels.push([at, level]); }
  return levels;
}

function Picture({ history, head, told, since, span, length, onPick }) {
  const box = useRef(null);
  const [width, setWidth] = useState(1000);
  useLayoutEffect(() => {
    const measure = () => setWidth(Math.max(NARROWEST, Math.floor(box.current.clientWidth)));
    const watch = new ResizeObserver(measure);
    watch.observe(box.current);
    measure();
    return () => watch.disconnect();
  }, []);
  const PLOT = width - LEFT - RIGHT;
  const stages = head?.snapshot?.stages ?? history.stages.map((stage) => ({ name: stage.name, concurrency: null }));
  const x = (at) => LEFT + (PLOT * (at - since)) / span;
  const y = (band) => TOP + band * (BAND + GAP) + BAND;
  const bottom = TOP + (stages.length + 1) * (BAND + GAP);
  const times = history.at.map((at) => at - history.began_at);
  const inside = (at) => Math.max(since, Math.min(since + span, at));
  const bars = told && !told.is_cut ? told.bars : null;
  const heights = told?.heights;
  const meansOfHistory = (values) => [...times.map((at, step) => [inside(step ? times[step - 1] : 0), values[step] ?? 0]), [inside(times.at(-1) ?? 0), 0]];
  const level = (index) => (bars ? changes(bars.filter((bar) => bar.stage === stages[index].name), since, span)
    : heights?.[index] ? meansOf(heights[index].running, told.since, told.seconds) : meansOfHistory(history.stages[index]?.mean ?? []));
  const failedLevel = (index) => {
    if (!bars) return heights?.[index]?.failed.some(Boolean) ? meansOf(heights[index].failed, told.since, told.seconds) : [];
    return changes(bars.filter((bar) => bar.stage === stages[index].name && bar.ended !== "ok"), since, span);
  };
  const area = (levels, unit, low) => {
    let path = `M${LEFT} ${low}`;
    for (const [at, count] of levels) path += `H${x(at).toFixed(1)}V${(low - unit * count).toFixed(1)}`;
    return `${path}H${x(Math.min(since + span, length)).toFixed(1)}V${low}Z`;
  };
  const most = Math.max(1, ...history.done);
  const written = (at) => {
    const next = times.findIndex((time) => time >= at);
    if (next < 0) return history.done.at(-1) ?? 0;
    const [began, from] = next ? [times[next - 1], history.done[next - 1]] : [0, 0];
    return times[next] > began ? from + ((history.done[next] - from) * (at - began)) / (times[next] - began) : history.done[next];
  };
  const done = () => {
    const end = Math.min(since + span, length);
    const points = [since, ...times.filter((at) => at > since && at < end), end];
    const line = points.map((at) => `L${x(at).toFixed(1)} ${(y(stages.length) - (BAND * written(at)) / most).toFixed(1)}`).join("");
    return `M${LEFT} ${y(stages.length)}${line}V${y(stages.length)}Z`;
  };
  const pick = (event) => {
    const at = event.clientX - event.currentTarget.getBoundingClientRect().left;
    if (at > LEFT) onPick(since + ((at - LEFT) / PLOT) * span);
  };
  const inWords = stages.map((stage, index) => `${stage.name}: ${percent(history.stages[index]?.busy.at(-1))} busy`).join("; ");
  return html`<${Wide} label="Timeline"><div ref=${box}><svg width=${width} height=${bottom + AXIS} role="img" aria-label=${`Calls that ran over time. ${inWords}`} onClick=${pick}>
    <defs><pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path d="M0 0V5" /></pattern></defs>
    ${ticks(since, span).map((tick) => html`<path class="grid" d=${`M${x(tick).toFixed(1)} ${TOP}V${bottom}`} /><text class="small" x=${x(tick)} y=${bottom + 15} text-anchor="middle">${span < 30 ? `${Number(tick.toFixed(2))} s` : clock(tick)}</text>`)}
    ${stages.map((stage, index) => {
      const levels = level(index);
      const slots = stage.concurrency ?? Math.max(1, ...levels.map(([, count]) => count));
      const unit = BAND / Math.max(slots, ...levels.map(([, count]) => count));
      const failed = failedLevel(index);
      return html`<g key=${stage.name}>
        <text x=${LEFT - 12} y=${y(index) - BAND + 17} text-anchor="end">${cut(stage.name)}</text>
        <text class="small" x=${LEFT - 12} y=${y(index) - 10} text-anchor="end">${known(stage.concurrency) ? `${number(stage.concurrency)} at once` : "no bound"}</text>
        <rect class="room" x=${LEFT} y=${y(index) - BAND} width=${Math.max(0, x(Math.min(since + span, length)) - LEFT)} height=${BAND} />
        <path class=${`area c${index % 6}`} d=${area(levels, unit, y(index))} />
        ${failed.length > 0 && html`<path class="failed" d=${area(failed, unit, y(index))} />`}
      </g>`;
    })}
    <text x=${LEFT - 12} y=${y(stages.length) - BAND + 17} text-anchor="end">rows</text>
    <text class="small" x=${LEFT - 12} y=${y(stages.length) - 10} text-anchor="end">${number(history.done.at(-1) ?? 0)} written</text>
    <rect class="room" x=${LEFT} y=${y(stages.length) - BAND} width=${Math.max(0, x(Math.min(since + span, length)) - LEFT)} height=${BAND} />
    <path class="rows" d=${done()} />
  </svg></div><//>`;
}

function ticks(since, span) {
  const power = 10 ** Math.floor(Math.log10(span / 8));
  const steps = span > 480 ? [60, 120, 300, 600, 1200, 1800, 3600, 7200, 21600, 43200, 86400, 604800] : [1, 2, 5, 10].map((factor) => factor * power);
  const step = steps.find((one) => one * 9 >= span) ?? steps.at(-1);
  const found = [];
  for (let tick = Math.ceil(since / step) * step; tick <= since + span; tick += step) found.push(tick);
  return found;
}

function Calls({ told, isWhole, run }) {
  const { bars, calls } = told;
  const counted = bars.length < calls ? `${number(bars.length)} of ${told.heights === null ? "about " : ""}${number(calls)}` : number(calls);
  const [most, setMost] = useState(25);
  const sorted = [...bars].sort((a, b) => b.seconds - a.seconds);
  return html`<${Panel} title=${isWhole ? "Calls, the longest first" : "Calls in this part, the longest first"} id="longest" extra=${html`<span class="soft">${counted}</span>`}>
    ${bars.length === 0 ? html`<${Empty}>No call ran here, or none was kept.<//>` : html`<${Wide} label="Calls"><table>
      <caption class="hidden">Calls that ran in this part of the run</caption>
      <thead><tr><th>Item</th><th>Stage</th><th class="r">Began</th><th class="r">Took</th><th>Ended</th></tr></thead>
      <tbody>${sorted.slice(0, most).map((bar) => html`<tr><th scope="row" class="id"><a href=${link(`runs/${run}/item`, { id: String(bar.item) })}><${Text} mono>${String(bar.item)}<//></a></th><td><${Text}>${bar.stage}<//></td><td class="r">${seconds(bar.began)}</td><td class="r">${seconds(bar.seconds)}</td><td><${Pill} state=${bar.ended} /></td></tr>`)}</tbody>
    </table><//>`}
    ${most < bars.length && html`<div class="pager"><button onClick=${() => setMost(most + 100)}>More</button></div>`}
  <//>`;
}
