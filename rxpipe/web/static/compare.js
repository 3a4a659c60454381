// Two runs side by side.
import { html, useEffect, useMemo } from "./preact.js";
import { useAnswer } from "./api.js";
import { link } from "./route.js";
import { Chart } from "./chart.js";
import { Panel, Pill, Text, Trouble, Wide } from "./parts.js";
import { clock, cost, date, known, number, percent, rate, seconds, short } from "./texts.js";

export function Compare({ values }) {
  const runs = [Number(values.a) || 0, Number(values.b) || 0];
  const heads = runs.map((run) => useAnswer(`runs/${run}`));
  const pasts = runs.map((run) => useAnswer(`runs/${run}/history`));
  useEffect(() => { document.title = `Runs ${runs.join(" and ")} · rxpipe`; }, [values.a, values.b]);
  const there = heads.every((head) => head.data?.run);
  return html`
    <nav aria-label="You are here"><ol class="crumbs"><li><a href="#/">Runs</a></li><li>two runs</li></ol></nav>
    <h1 tabindex="-1">Runs ${runs[0]} and ${runs[1]}</h1>
    ${heads.map((head) => html`<${Trouble} error=${head.error} again=${head.again} />`)}
    ${there && html`<${Table} heads=${heads.map((head) => head.data)} />`}
    ${there && html`<${Stages} heads=${heads.map((head) => head.data)} />`}
    <section class="pair" aria-label="Throughput">${pasts.map((past, index) => past.data?.at.length > 1 && html`<${Throughput} key=${index} run=${runs[index]} past=${past.data} />`)}</section>`;
}

const lasted = ({ run }) => (run.ended_at ?? run.active_at) - run.began_at;
const speed = (data) => { const span = lasted(data); return span > 0 ? (data.run.counts.written ?? 0) / span : null; };
const tokens = ({ run }) => run.usage.prompt_tokens + run.usage.completion_tokens;
const failed = ({ run }) => (run.counts.failed ?? 0) / Math.max(1, (run.counts.written ?? 0) + (run.counts.failed ?? 0));
const share = (value) => (known(value) ? `${(100 * value).toFixed(1)}%` : "–");
const perCall = (name) => ({ stage }) => (stage?.calls ? stage[name] / stage.calls : null);
const FIGURES = [
  ["written", ({ run }) => run.counts.written ?? 0, number, 0],
  ["failed", ({ run }) => run.counts.failed ?? 0, number, 0],
  ["share that failed", failed, share, -1],
  ["dropped", ({ run }) => run.counts.dropped ?? 0, number, 0],
  ["duration", lasted, clock, 0],
  ["written per second", speed, rate, 1],
  ["tokens", tokens, short, 0],
  ["tokens per row", (data) => tokens(data) / Math.max(1, data.run.counts.written ?? 0), short, -1],
  ["cost", ({ run }) => run.usage.cost, cost, 0],
  ["cost per 1,000 rows", ({ run }) => (1000 * run.usage.cost) / Math.max(1, run.counts.written ?? 0), cost, -1],
];

function Change({ a, b, better }) {
  if (!known(a) || !known(b) || !a) return html`<span class="soft">–</span>`;
  const change = b / a - 1;
  const look = Math.abs(change) < 0.005 || !better ? "soft" : change * better > 0 ? "better" : "worse";
  return html`<span class=${look}>${change > 0 ? "+" : ""}${percent(change)}</span>`;
}

function Heads({ heads }) {
  return heads.map(({ run }) => html`<th scope="col" class="r"><a href=${link(`runs/${run.number}`)}>${run.number} <${Text}>${run.name}<//></a></th>`);
}

function Table({ heads }) {
  return html`<${Panel} title="All of them" id="all"><${Wide} label="Figures of both"><table>
    <caption class="hidden">Figures of both runs, and how the second differs</caption>
    <thead><tr><th scope="col"><span class="hidden">Figure</span></th><${Heads} heads=${heads} /><th scope="col" class="r">Change</th></tr></thead>
    <tbody><tr><th scope="row">state</th>${heads.map(({ run }) => html`<td class="r"><${Pill} state=${run.state} /></td>`)}<td></td></tr>
    <tr><th scope="row">began</th>${heads.map(({ run }) => html`<td class="r number">${date(run.began_at)}</td>`)}<td></td></tr>
    ${FIGURES.map(([name, of, format, better]) => { const [a, b] = heads.map(of); return html`<tr><th scope="row">${name}</th><td class="r">${format(a)}</td><td class="r">${format(b)}</td><td class="r"><${Change} a=${a} b=${b} better=${better} /></td></tr>`; })}</tbody>
  </table><//><//>`;
}

function Stages({ heads }) {
  const names = [...new Set(heads.flatMap(({ snapshot }) => snapshot?.stages.map((stage) => stage.name) ?? []))];
  const found = (data, name) => ({ stage: data.snapshot?.stages.find((stage) => stage.name === name), window: data.window?.stages[data.snapshot?.stages.findIndex((stage) => stage.name === name)] });
  const rows = [["slots", ({ stage }) => stage?.concurrency, number, 0], ["busy", ({ window }) => window?.busy, percent, 0], ["p50", ({ stage }) => stage?.seconds.p50, seconds, -1], ["p95", ({ stage }) => stage?.seconds.p95, seconds, -1], ["p99", ({ stage }) => stage?.seconds.p99, seconds, -1], ["retried", perCall("retried"), share, -1], ["429s", perCall("pushed_back"), share, -1]];
  if (!names.length) return null;
  return html`<${Panel} title="Stages" id="stages"><${Wide} label="Stages of both"><table>
    <caption class="hidden">Each stage in both runs</caption>
    <thead><tr><th scope="col">Stage</th><th scope="col"><span class="hidden">Figure</span></th><${Heads} heads=${heads} /><th scope="col" class="r">Change</th></tr></thead>
    <tbody>${names.map((name) => rows.map(([figure, of, format, better], index) => { const [a, b] = heads.map((data) => of(found(data, name))); return html`<tr>${index === 0 && html`<th scope="rowgroup" rowspan=${rows.length}><${Text}>${name}<//></th>`}<td class="soft">${figure}</td><td class="r">${format(a)}</td><td class="r">${format(b)}</td><td class="r"><${Change} a=${a} b=${b} better=${better} /></td></tr>`; }))}</tbody>
  </table><//><//>`;
}

function Throughput({ run, past }) {
  const x = useMemo(() => past.at.map((at) => Math.max(0, at - past.began_at)), [past]);
  const lines = useMemo(() => [{ label: "written", look: "good-line", values: past.written, fill: true }, { label: "failed", look: "bad-line", values: past.failed }], [past]);
  return html`<${Chart} id=${`throughput-${run}`} title=${`Throughput of run ${run}`} x=${x} lines=${lines} format=${rate} />`;
}
