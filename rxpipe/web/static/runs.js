// All runs of the database. Live runs are updated.
import { html, useEffect, useState } from "./preact.js";
import { ask, useStream } from "./api.js";
import { go, link } from "./route.js";
import { Empty, Pill, Share, Text, Trouble, Wide } from "./parts.js";
import { ago, clock, cost, date, number, short } from "./texts.js";

const ENDS = ["written", "failed", "dropped"];

export function counts(row) {
  const total = Object.values(row.counts).reduce((sum, count) => sum + count, 0);
  const known = Object.fromEntries(ENDS.map((name) => [name, row.counts[name] ?? 0]));
  const left = (row.counts.ready ?? 0) + (row.counts.running ?? 0) + (row.counts.waiting ?? 0);
  return { ...known, left, other: total - left - ENDS.reduce((sum, name) => sum + known[name], 0), total };
}

function Progress({ row }) {
  const { total, written, failed, dropped, other, left } = counts(row);
  const parts = [["written", written], ["failed", failed], ["dropped", dropped], ["other", other]];
  const label = `${number(written)} written, ${number(failed)} failed, ${number(dropped)} dropped, ${number(left)} left`;
  return html`<${Share} label=${label} parts=${parts.map(([name, count]) => ({ name, share: total ? count / total : 0 }))} />`;
}

export function Runs({ about }) {
  const [live, setLive] = useState(null);
  const [older, setOlder] = useState([]);
  const [more, setMore] = useState(null);
  const [chosen, setChosen] = useState([]);
  const [error, setError] = useState(null);
  const trouble = useStream("stream", "runs", (data) => { setLive(data.runs); setMore((old) => old ?? { after: data.following }); });
  useEffect(() => { document.title = "Runs · rxpipe"; }, []);
  const seen = new Set((live ?? []).map((row) => row.number));
  const rows = [...(live ?? []), ...older.filter((row) => !seen.has(row.number))];
  const next = () => ask(`runs?after=${more.after}`).then((data) => { setOlder((old) => [...old, ...data.runs]); setMore({ after: data.following }); }, setError);
  const choose = (row, on) => setChosen((old) => (on ? [...old, row.number].slice(-2) : old.filter((one) => one !== row.number)));
  return html`
    <div class="head"><h1 tabindex="-1">Runs</h1><span class="grow"></span>
      <button disabled=${chosen.length !== 2} onClick=${() => go("compare", { a: Math.min(...chosen), b: Math.max(...chosen) })}>Compare ${chosen.length === 2 ? `${Math.min(...chosen)} and ${Math.max(...chosen)}` : "two runs"}</button>
    </div>
    <${Trouble} error=${trouble ?? error} />
    <div class="panel">
      ${live === null ? html`<${Empty}>Reading the runs …<//>` : rows.length === 0 ? html`<${Empty}>There is no run yet. <span class="mono">rxpipe run</span> begins one, and it appears here.<//>` : html`
      <${Wide} label="All runs"><table>
        <caption class="hidden">All runs, the latest first. Select two to compare them.</caption>
        <thead><tr><th class="check"><span class="hidden">Select</span></th><th class="r">Run</th><th>Pipeline</th><th>State</th><th class="optional">Progress</th><th class="r">Written</th><th class="r">Failed</th><th class="r optional">Dropped</th><th class="r optional">Left</th><th class="r">Duration</th><th class="r optional">Tokens</th><th class="r optional">Cost</th><th class="r optional">Workers</th><th class="optional">Began</th></tr></thead>
        <tbody>${rows.map((row) => html`<${Row} key=${row.number} row=${row} chosen=${chosen.includes(row.number)} choose=${choose} />`)}</tbody>
      </table><//>`}
      ${more?.after && html`<div class="pager"><button onClick=${next}>Older runs</button></div>`}
    </div>`;
}

function Row({ row, chosen, choose }) {
  const { written, failed, dropped, left } = counts(row);
  const until = row.ended_at ?? row.active_at;
  return html`<tr>
    <td class="check"><input type="checkbox" aria-label=${`Select run ${row.number}`} checked=${chosen} onChange=${(event) => choose(row, event.target.checked)} /></td>
    <td class="r"><a href=${link(`runs/${row.number}`)}>${row.number || "now"}</a></td>
    <th scope="row" class="id"><a href=${link(`runs/${row.number}`)}><${Text}>${row.name || "without a name"}<//></a></th>
    <td><${Pill} state=${row.state} /></td>
    <td class="optional"><${Progress} row=${row} /></td>
    <td class="r">${number(written)}</td>
    <td class=${failed ? "r worse" : "r soft"}>${number(failed)}</td>
    <td class="r optional soft">${number(dropped)}</td>
    <td class="r optional soft">${number(left)}</td>
    <td class="r">${clock(until - row.began_at)}</td>
    <td class="r optional">${short(row.usage.prompt_tokens + row.usage.completion_tokens)}</td>
    <td class="r optional">${cost(row.usage.cost)}</td>
    <td class="r optional">${row.workers || html`<span class="soft">0</span>`}</td>
    <td class="optional number" title=${date(row.began_at)}>${date(row.began_at).slice(0, 16)} <span class="soft">${ago(row.began_at)}</span></td>
  </tr>`;
}
