// Simulations of a run with other settings: sliders, and the effect of each.
import { html, useEffect, useMemo, useState } from "./preact.js";
import { useAnswer } from "./api.js";
import { Panel, Text, Trouble } from "./parts.js";
import { about, known, oneLine, rate, short } from "./texts.js";

const WIDTH = 560;
const HEIGHT = 150;
const EDGE = { left: 52, right: 10, top: 10, bottom: 24 };
const PATIENCE = 300; // milliseconds that a slider must rest before a request

export function WhatIf({ run }) {
  const [open, setOpen] = useState(false);
  return html`<${Panel} title="What if" id="what-if" extra=${html`<span class="soft">simulated from recorded calls</span>`}>
    <details class="what-if" onToggle=${(event) => setOpen(event.target.open)}><summary>Try other settings: slots and limits</summary>
      ${open && html`<${Sliders} run=${run} />`}
    </details>
  <//>`;
}

function Sliders({ run }) {
  const [values, setValues] = useState({});
  const [chosen, setChosen] = useState(1);
  const others = Object.entries(values).filter(([place]) => Number(place) !== chosen).map(([place, value]) => `&set=${place}:${value}`).join("");
  const path = useRest(`runs/${run}/whatif?vary=${chosen}${others}`);
  const { data, error, again } = useAnswer(path);
  const [seen, setSeen] = useState(null);
  useEffect(() => { if (data) setSeen(data); }, [data]); // the sliders stay while the next curve is loading
  if (error) return html`<${Trouble} error=${error} again=${again} />`;
  if (!seen) return html`<p class="body soft" role="status">Simulating…</p>`;
  if (!seen.settings.length) return html`<p class="body note">There is nothing to try: ${oneLine(seen.why ?? "no stage has a bound")}.</p>`;
  const points = data?.vary === chosen ? data.points : null;
  const setting = seen.settings[chosen - 1];
  const value = values[chosen] ?? setting.now;
  const change = (place, to) => { setChosen(place); setValues((old) => ({ ...old, [place]: to })); };
  return html`<div class="body what-if-body">
    <div class="sliders">
      ${seen.settings.map((one, index) => html`<${Slider} key=${index} place=${index + 1} setting=${one} value=${values[index + 1] ?? one.now} chosen=${index + 1 === chosen} onChange=${change} />`)}
      <p><button onClick=${() => setValues({})} disabled=${!Object.keys(values).length}>As it is now</button></p>
    </div>
    <div class="told">
      <${Told} setting=${setting} value=${value} points=${points} now=${seen.now} changed=${others !== ""} />
      ${points && html`<${Curve} setting=${setting} value=${value} points=${points} now=${seen.now} />`}
    </div>
  </div>`;
}

// The latest value that has not changed for a while.
function useRest(value) {
  const [rested, setRested] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setRested(value), PATIENCE);
    return () => clearTimeout(timer);
  }, [value]);
  return rested;
}

const unit = (setting, value) => (setting.kind === "limit" ? `${short(value)} ${setting.unit} per second` : setting.kind === "items" ? `${value} items at once` : `${value} ${value === 1 ? "slot" : "slots"}`);

function Slider({ place, setting, value, chosen, onChange }) {
  const step = setting.kind === "limit" ? setting.now / 20 : 1;
  return html`<div class=${chosen ? "slider chosen" : "slider"}>
    <label for=${`setting-${place}`}><${Text}>${setting.name}<//></label>
    <input type="range" id=${`setting-${place}`} min=${setting.least} max=${setting.most} step=${step} value=${value}
      aria-valuetext=${unit(setting, value)} onInput=${(event) => onChange(place, Number(event.target.value))} onFocus=${() => onChange(place, value)} />
    <output for=${`setting-${place}`}>${unit(setting, value)}</output>
  </div>`;
}

function at(points, value, of) {
  const found = points.findIndex((point) => point.value >= value);
  if (found <= 0) return of(points[found === 0 ? 0 : points.length - 1]);
  const [before, after] = [points[found - 1], points[found]];
  const share = (value - before.value) / (after.value - before.value);
  const [low, high] = [of(before), of(after)];
  if (!low || !high) return null;
  return Object.fromEntries(Object.keys(low).map((name) => [name, low[name] + share * (high[name] - low[name])]));
}

function Told({ setting, value, points, now, changed }) {
  const speed = points && at(points, value, (point) => point.rate);
  const left = points && at(points, value, (point) => point.seconds);
  const still = !changed && value === setting.now;
  const time = left && (now.is_over ? `it would have taken ${about(left)}` : `${about(left)} left`);
  const was = known(now.seconds) ? `; now ${rate(now.rate)} and ${about({ middle: now.seconds, low: now.seconds, high: now.seconds })}` : `; now ${rate(now.rate)}`;
  return html`<p class="prediction" role="status" aria-live="polite">${!points ? "Simulating…" : html`<${Text}>${setting.name}<//>${`, ${unit(setting, value)}: `}<b>${rate(speed.middle)}</b>${` (${rate(speed.low)} to ${rate(speed.high)})`}${time ? `, ${time}` : ""}${still ? ", as it is now" : was}`}</p>`;
}

function Curve({ setting, value, points, now }) {
  const scales = useMemo(() => {
    const most = Math.max(...points.map((point) => point.rate.high), now.rate) * 1.08 || 1;
    const x = (given) => EDGE.left + ((given - setting.least) / (setting.most - setting.least || 1)) * (WIDTH - EDGE.left - EDGE.right);
    const y = (given) => HEIGHT - EDGE.bottom - (given / most) * (HEIGHT - EDGE.top - EDGE.bottom);
    return { x, y, most };
  }, [points, setting]);
  const { x, y, most } = scales;
  const path = (name) => points.map((point) => `${x(point.value).toFixed(1)},${y(point.rate[name]).toFixed(1)}`);
  const speed = at(points, value, (point) => point.rate).middle;
  return html`<svg class="curve" viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label=${`Rate against ${oneLine(setting.name)}; the same numbers are in the table that follows`}>
      ${[0, most / 2, most].map((given) => html`<line class="grid" x1=${EDGE.left} x2=${WIDTH - EDGE.right} y1=${y(given)} y2=${y(given)} /><text class="axis" x=${EDGE.left - 6} y=${y(given) + 4} text-anchor="end">${rate(given)}</text>`)}
      ${[setting.least, setting.now, setting.most].map((given) => html`<text class="axis" x=${x(given)} y=${HEIGHT - 6} text-anchor=${given === setting.most ? "end" : "middle"}>${short(given)}</text>`)}
      <line class="grid now" x1=${x(setting.now)} x2=${x(setting.now)} y1=${EDGE.top} y2=${HEIGHT - EDGE.bottom} />
      <polygon class="band" points=${[...path("low"), ...path("high").reverse()].join(" ")} />
      <polyline class="line" points=${path("middle").join(" ")} />
      <circle class="here" cx=${x(value)} cy=${y(speed)} r="5" />
    </svg>
    <details class="table"><summary>As a table</summary><div tabindex="0" role="group" aria-label="What other settings would do"><table>
      <thead><tr><th scope="col" class="r"><${Text}>${setting.name}<//></th><th scope="col" class="r">Rate</th><th scope="col" class="r">${now.is_over ? "Would take" : "Left"}</th></tr></thead>
      <tbody>${points.map((point) => html`<tr><th scope="row" class="r">${unit(setting, point.value)}</th><td class="r">${rate(point.rate.middle)}</td><td class="r">${point.seconds ? about(point.seconds) : "–"}</td></tr>`)}</tbody>
    </table></div></details>`;
}
