// One run: its state, what holds it up, and its history.
import { html, useEffect, useMemo, useState } from "./preact.js";
import { useAnswer, useStream } from "./api.js";
import { link } from "./route.js";
import { RunHead } from "./run_head.js";
import { Graph, Key } from "./graph.js";
import { Chart } from "./chart.js";
import { WhatIf } from "./what_if.js";
import { Empty, Panel, Pill, Text, Trouble, Wide } from "./parts.js";
import { ago, clock, cost, date, inOneUnit, known, number, oneLine, rate, seconds, short } from "./texts.js";

const MOST_POINTS = 1200;
const LOOK = (index) => `c${index % 6}`;

// The history with the points of the stream added. When there are too many points, a thinned history is fetched.
function useHistory(run) {
  const kept = useAnswer(`runs/${run}/history`);
  const [added, setAdded] = useState([]);
  useEffect(() => { if (kept.data) setAdded([]); }, [kept.data]);
  const add = (point) => setAdded((old) => {
    const last = old.at(-1)?.at ?? kept.data?.at.at(-1) ?? -Infinity;
    if (!point || !kept.data || point.at <= last) return old;
    if (old.length + kept.data.at.length > MOST_POINTS) { kept.again(); return []; }
    return [...old, point];
  });
  const whole = useMemo(() => (kept.data ? joined(kept.data, added) : null), [kept.data, added]);
  return { history: whole, add, error: kept.error, again: kept.again };
}

function joined(history, points) {
  const fits = points.filter((point) => !history.stages.length || point.stages.length === history.stages.length);
  const columns = {};
  for (const key of ["at", "written", "failed", "dropped", "pushed_back", "retried", "tokens", "cost", "in_flight", "done"]) columns[key] = [...(history[key] ?? []), ...fits.map((point) => point[key])];
  const stages = history.stages.map((stage, index) => Object.fromEntries(Object.entries(stage).map(([key, values]) => [key, key === "name" ? values : [...values, ...fits.map((point) => point.stages[index][key])]])));
  return { ...columns, stages, x: columns.at.map((at) => Math.max(0, at - history.began_at)) };
}

export function Run({ run, about }) {
  const [now, setNow] = useState(null);
  const first = useAnswer(`runs/${run}`);
  const { history, add, error, again } = useHistory(run);
  const trouble = useStream(`runs/${run}/stream`, "run", (message) => { setNow(message); if (message.point) add(message.point); });
  const seen = now ?? first.data;
  const { run: row, snapshot, window, findings } = seen ?? {};
  return html`
    <${RunHead} run=${run} row=${row} tab="" about=${about} state=${snapshot?.state} />
    <${Trouble} error=${first.error ?? trouble ?? error} again=${trouble ? undefined : () => { first.again(); again(); }} />
    ${row && html`<${Figures} row=${row} snapshot=${snapshot} window=${window} />`}
    ${snapshot && html`<${Pipeline} isOver=${row && row.state !== "running"} snapshot=${snapshot} window=${window} findings=${findings} />`}
    ${row && !snapshot && html`<p class="note">No numbers were kept of this run: it was made by an earlier version, or has only just begun.</p>`}
    ${history && history.x.length > 1 && html`<${Charts} history=${history} ends=${endsOf(row, snapshot)} />`}
    ${row && snapshot && about.predicts && run > 0 && html`<${WhatIf} run=${run} />`}
    ${row && html`<${Errors} run=${run} about=${about} failed=${(row.counts.failed ?? 0) + (snapshot?.stages.reduce((sum, stage) => sum + stage.retried, 0) ?? 0)} />`}
    ${row && run > 0 && html`<${Workers} run=${run} count=${row.workers} />`}`;
}

// The estimate of what is left of a live run, at its newest numbers; null without an estimate.
function outlookOf(row, snapshot) {
  const outlook = row?.state === "running" ? snapshot?.outlook : null;
  if (!outlook) return null;
  const gone = Math.max(0, snapshot.elapsed - outlook.elapsed);
  const [low, middle, high] = ["low", "middle", "high"].map((name) => Math.max(0, outlook.seconds[name] - gone));
  return { low, middle, high, cost: outlook.cost };
}

// The estimated end of the run, in seconds from its start.
function endsOf(row, snapshot) {
  const outlook = outlookOf(row, snapshot);
  return outlook && { low: snapshot.elapsed + outlook.low, middle: snapshot.elapsed + outlook.middle, high: snapshot.elapsed + outlook.high };
}

const ranged = ({ whole, range }) => html`${whole}${range !== null && html` <small>${range}</small>`}`;

function Figures({ row, snapshot, window }) {
  const lasted = snapshot && row.state !== "running" ? (row.ended_at ?? row.active_at) - row.began_at : snapshot?.elapsed ?? row.active_at - row.began_at;
  const usage = row.usage;
  const tokens = usage.prompt_tokens + usage.completion_tokens;
  const speed = window && (window.written ?? 0) + (window.failed ?? 0) + (window.dropped ?? 0);
  const total = snapshot?.until ?? snapshot?.source.length;
  const ended = snapshot && snapshot.written + snapshot.failed + snapshot.dropped + snapshot.written_before + snapshot.failed_before;
  const left = known(total) && speed > 0 && row.state === "running" && !snapshot.spawned ? (total - ended) / speed : null;
  const outlook = outlookOf(row, snapshot);
  const facts = [
    ["written", number(row.counts.written ?? 0), "good"],
    ["failed", number(row.counts.failed ?? 0), row.counts.failed ? "bad" : ""],
    ["dropped", number(row.counts.dropped ?? 0)],
    ["in flight", number(snapshot?.in_flight ?? row.counts.running ?? 0)],
    [row.state === "running" ? "written now" : "written per second", rate(window?.written)],
    ["duration", clock(lasted)],
    ...(outlook ? [["left, about", ranged(inOneUnit(outlook))]] : known(left) && left >= 0 ? [["left", clock(left)]] : []),
    ...(tokens ? [["tokens", short(tokens)]] : []),
    ...(usage.cost ? [["cost", cost(usage.cost)]] : []),
    ...(outlook?.cost ? [["will cost about", ranged({ whole: cost(outlook.cost.middle), range: `${cost(outlook.cost.low)} to ${cost(outlook.cost.high)}` })]] : []),
  ];
  return html`<dl class="figures">${facts.map(([name, value, look]) => html`<div class=${look}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

function Pipeline({ isOver, snapshot, window, findings }) {
  const stalls = findings?.stalls ?? [];
  const busyInAll = findings?.kind === "stage" ? window?.stages[snapshot.stages.findIndex((stage) => stage.name === findings.name)]?.busy : null;
  return html`<${Panel} title="Pipeline" id="pipeline" extra=${html`${!isOver && html`<span class="key">as of ${clock(snapshot.elapsed)}</span>`}<${Key} />`}>
    <div role="status" aria-live="polite">
      ${findings?.sentence && html`<p class=${`advice ${findings.verdict}`}><${Text}>${findings.sentence}<//></p>`}
    </div>
    ${isOver && known(busyInAll) && busyInAll < 0.9 && html`<p class="aside soft">Busy in the sentence: while the run was full. Shares below: of the whole run, its beginning and end included.</p>`}
    ${stalls.map((sentence) => html`<p class="advice stall"><${Text}>${sentence}<//></p>`)}
    <${Graph} snapshot=${snapshot} window=${window} findings=${findings} />
  <//>`;
}

function Charts({ history, ends }) {
  const [stage, setStage] = useState(null);
  const { x, stages } = history;
  const refused = history.pushed_back.some((value) => value > 0) || history.retried.some((value) => value > 0);
  const slowest = () => stages.map((one, index) => [one.p50.at(-1) ?? 0, index]).sort((a, b) => b[0] - a[0])[0]?.[1] ?? 0;
  const chosen = stages[Math.min(stage ?? slowest(), stages.length - 1)];
  const lines = useMemo(() => ({
    throughput: [{ label: "written", look: "good-line", values: history.written, fill: true }, { label: "failed", look: "bad-line", values: history.failed }, ...(history.dropped.some(Boolean) ? [{ label: "dropped", look: "warn-line", values: history.dropped }] : [])],
    latency: chosen ? [{ label: "p50", look: "c2", values: chosen.p50 }, { label: "p95", look: "c1", values: chosen.p95 }, { label: "p99", look: "c4", values: chosen.p99 }] : [],
    running: stages.map((one, index) => ({ label: one.name, look: LOOK(index), values: one.running })),
    waiting: stages.map((one, index) => ({ label: one.name, look: LOOK(index), values: one.waiting })),
    busy: stages.map((one, index) => ({ label: one.name, look: LOOK(index), values: one.busy })),
    refused: [{ label: "429s", look: "bad-line", values: history.pushed_back }, { label: "retries", look: "warn-line", values: history.retried }],
    tokens: [{ label: "tokens", look: "accent-line", values: history.tokens, fill: true }],
    cost: [{ label: "cost", look: "accent-line", values: history.cost, fill: true }],
  }), [history, chosen]);
  const pick = html`<label class="soft"><span class="hidden">Stage of the latencies</span>
    <select value=${stages.indexOf(chosen)} onChange=${(event) => setStage(Number(event.target.value))}>${stages.map((one, index) => html`<option value=${index}>${oneLine(one.name)}</option>`)}</select></label>`;
  const percentage = (value) => (known(value) ? `${Math.round(value * 100)}%` : "–");
  return html`<section aria-label="Over time" class="charts">
    <${Chart} id="throughput" title="Throughput" x=${x} lines=${lines.throughput} format=${rate} ends=${ends} />
    ${chosen && html`<${Chart} id="latency" key=${chosen.name} title="Seconds per call" extra=${pick} x=${x} lines=${lines.latency} format=${seconds} />`}
    <${Chart} id="running" title="Calls in flight" x=${x} lines=${lines.running} format=${short} />
    <${Chart} id="waiting" title="Items waiting" x=${x} lines=${lines.waiting} format=${short} />
    <${Chart} id="busy" title="Slots busy" x=${x} lines=${lines.busy} format=${percentage} />
    ${refused && html`<${Chart} id="refused" title="Refused and retried" x=${x} lines=${lines.refused} format=${rate} />`}
    ${history.tokens.some((value) => value > 0) && html`<${Chart} id="tokens" title="Tokens" x=${x} lines=${lines.tokens} format=${rate} />`}
    ${history.cost.some((value) => value > 0) && html`<${Chart} id="cost" title="Cost so far" x=${x} lines=${lines.cost} format=${cost} />`}
  </section>`;
}

// Asks again when `sign` changes, at most every four seconds.
function useNow(path, sign) {
  const answer = useAnswer(path);
  const [seen, setSeen] = useState(sign);
  useEffect(() => {
    if (seen === sign) return undefined;
    const timer = setTimeout(() => { if (!document.hidden) { setSeen(sign); answer.again(); } }, 4000);
    return () => clearTimeout(timer);
  }, [sign !== seen]);
  return answer;
}

// Removes the type's name from the beginning of a text. `type` includes the module, the text does not.
function without(text, type) {
  const name = type?.split(".").pop();
  return name && text.startsWith(`${name}: `) ? text.slice(name.length + 2) : text;
}

// The longest part that all errors of a kind share: they differ in numbers, in quotes and in masked secrets.
const QUOTED = /(?<=; in )['"].*|(?<=reply: )['"].*|(?<!\w)(?:'(?:[^'\\]|\\.){32,}(?:'|\\?$)|"(?:[^"\\]|\\.){32,}(?:"|\\?$))/g;
const same = (text) => text.replace(QUOTED, "•").split(/[\d•…]+/).map((part) => part.trim()).reduce((best, part) => (part.length > best.length ? part : best), "");

function Errors({ run, failed, about }) {
  const { data, error, again } = useNow(`runs/${run}/errors`, failed);
  const items = (row) => link(`runs/${run}/items`, { status: "failed", stage: row.stage, error: same(without(row.text, row.type)) });
  return html`<${Panel} title="Errors" id="errors" extra=${data && html`<span class="soft">grouped by stage and kind; texts that differ in numbers or in what they quote only are one</span>`}>
    <${Trouble} error=${error} again=${again} />
    ${data && (data.errors.length === 0 ? html`<${Empty}>No call has failed.<//>` : html`<${Wide} label="Errors"><table>
      <caption class="hidden">Errors in groups, the commonest first</caption>
      <thead><tr><th class="r">Items</th><th class="r">Calls</th><th>Stage</th><th>Error</th><th class="optional">Last</th></tr></thead>
      <tbody>${data.errors.map((row) => html`<tr>
        <td class="r">${about.has_store && run > 0 && row.items > 0 ? html`<a href=${items(row)} aria-label=${`${row.items} items`}>${number(row.items)}</a>` : number(row.items)}</td><td class="r">${number(row.calls)}</td>
        <th scope="row"><${Text}>${row.stage}<//></th>
        <td class="error"><div>${row.type && html`<b><${Text}>${row.type}<//></b>${": "}`}<${Text}>${without(row.text, row.type)}<//></div></td>
        <td class="optional number">${known(row.last_at) ? date(row.last_at).slice(5) : "–"}</td></tr>`)}</tbody>
    </table><//>`)}
  <//>`;
}

function Workers({ run, count }) {
  const { data, error, again } = useNow(`runs/${run}/workers`, count);
  return html`<${Panel} title="Workers" id="workers" extra=${html`<button onClick=${again}>Refresh</button>`}>
    <${Trouble} error=${error} again=${again} />
    ${data && (data.workers.length === 0 ? html`<${Empty}>No worker is known.<//>` : html`<${Wide} label="Workers"><table>
      <caption class="hidden">Processes that work or have worked on this run</caption>
      <thead><tr><th>Host</th><th class="r">Process</th><th>State</th><th class="r">Items held</th><th>Last sign of life</th><th class="optional">Since</th></tr></thead>
      <tbody>${data.workers.map((row) => html`<tr><th scope="row"><${Text}>${row.host}<//></th><td class="r">${row.pid}</td><td><${Pill} state=${row.state} /></td><td class="r">${number(row.held)}</td>
        <td class="number" title=${date(row.heartbeat_at)}>${ago(row.heartbeat_at)}</td><td class="optional number">${date(row.began_at)}</td></tr>`)}</tbody>
    </table><//>`)}
  <//>`;
}
