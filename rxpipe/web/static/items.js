// The items of a run. The filters are in the URL, so a view can be shared.
import { html, useLayoutEffect, useState } from "./preact.js";
import { query, useAnswer } from "./api.js";
import { go, link } from "./route.js";
import { RunHead, requeue } from "./run_head.js";
import { Confirm, Empty, Pill, Text, Trouble, Wide } from "./parts.js";
import { date, known, number, oneLine, plural, seconds, words } from "./texts.js";

const STATUSES = ["ready", "running", "waiting", "written", "failed", "dropped", "expanded", "collected", "cancelled"];
const ORDERS = { newest: "newest first", oldest: "oldest first", slowest: "slowest first" };
const FILTERS = ["status", "stage", "error", "text", "parent", "longer_than", "since", "until"];
const AGAIN = new Set(["failed", "dropped"]);

const local = (value) => (Number.isFinite(Number(value || NaN)) && Math.abs(Number(value)) < 8e12 ? new Date(Number(value) * 1000 - new Date().getTimezoneOffset() * 60000).toISOString().slice(0, 16) : "");
const epoch = (text) => (text && !Number.isNaN(new Date(text).getTime()) ? String(new Date(text).getTime() / 1000) : "");

const short = (id) => (id.length > 120 ? `${id.slice(0, 120)}…` : id || "(empty)");

export function Items({ run, values, about }) {
  const filter = Object.fromEntries(FILTERS.filter((name) => values[name]).map((name) => [name, values[name]]));
  const head = useAnswer(`runs/${run}`);
  const page = useAnswer(`runs/${run}/items${query({ ...filter, order: values.order, after: values.after })}`);
  const count = useAnswer(`runs/${run}/count${query(filter)}`);
  const [chosen, setChosen] = useState(new Set());
  const [asked, setAsked] = useState(null);
  const place = JSON.stringify(values);
  useLayoutEffect(() => setChosen(new Set()), [place]);
  const set = (changes) => go(`runs/${run}/items`, { ...values, after: "", ...changes });
  const rows = page.data?.items ?? [];
  const selectable = rows.filter((row) => row.key !== null && AGAIN.has(row.status));
  const acts = !about.read_only;
  const found = count.data && `${number(count.data.count)}${count.data.or_more ? " or more" : ""}`;
  const choose = (row, on) => setChosen((old) => { const next = new Set(old); on ? next.add(row.key) : next.delete(row.key); return next; });
  const done = (wanted) => requeue(run, wanted).then(() => { setChosen(new Set()); page.again(); count.again(); });
  return html`
    <${RunHead} run=${run} row=${head.data?.run} tab="items" about=${about} />
    <${Trouble} error=${head.error ?? page.error} again=${page.again} />
    <section class="panel" aria-label="Items">
      <${Filters} values=${values} stages=${head.data?.run?.stages ?? []} set=${set} />
      <div class="bar">
        <span role="status">${found ? `${found} ${count.data.count === 1 && !count.data.or_more ? "item" : "items"}` : "Counting …"}</span><span class="grow"></span>
        ${acts && html`<button disabled=${chosen.size === 0} onClick=${() => setAsked("chosen")}>Requeue selected${chosen.size ? ` (${chosen.size})` : ""}</button>
          <button disabled=${!AGAIN.has(filter.status) || !count.data?.count} title=${AGAIN.has(filter.status) ? undefined : "Filter by failed or dropped first"} onClick=${() => setAsked("filter")}>Requeue all found</button>`}
        <button onClick=${() => { page.again(); count.again(); }}>Refresh</button>
      </div>
      ${page.data && (rows.length === 0 ? html`<${Empty}>No item is like this. ${FILTERS.some((name) => values[name]) && html`<a href=${link(`runs/${run}/items`)}>Show all items</a>`}<//>` : html`<${Wide} label="Items"><table>
        <caption class="hidden">Items, ${ORDERS[values.order ?? "newest"]}</caption>
        <thead><tr>
          ${acts && html`<th class="check"><input type="checkbox" aria-label="Select all that can be requeued" disabled=${!selectable.length} checked=${selectable.length > 0 && selectable.every((row) => chosen.has(row.key))} onChange=${(event) => setChosen(new Set(event.target.checked ? selectable.map((row) => row.key) : []))} /></th>`}
          <th>Item</th><th>Status</th><th>Stage</th><th class="r optional">Calls</th><th class="r">Took</th><th class="optional">Ended</th><th>Error or reason</th></tr></thead>
        <tbody>${rows.map((row) => html`<tr key=${row.key ?? row.id}>
          ${acts && html`<td class="check">${selectable.includes(row) && html`<input type="checkbox" aria-label=${`Select item ${oneLine(short(row.id))}`} checked=${chosen.has(row.key)} onChange=${(event) => choose(row, event.target.checked)} />`}</td>`}
          <th scope="row" class="id">${row.key === null ? html`<${Text} mono>${short(row.id)}<//>` : html`<a href=${link(`runs/${run}/item`, { id: row.key })}><${Text} mono>${short(row.id)}<//></a>`}
            ${row.children > 0 && html`<span class="soft"> ${plural(row.children, "child").replace("childs", "children")}</span>`}${row.rounds > 0 && html`<span class="soft"> ${plural(row.rounds, "round")} back</span>`}</th>
          <td><${Pill} state=${row.status} /></td>
          <td>${row.stage === null ? html`<span class="soft">–</span>` : html`<${Text}>${row.stage}<//>`}</td>
          <td class="r optional">${number(row.attempts)}</td>
          <td class="r">${known(row.began_at) && known(row.ended_at) ? seconds(row.ended_at - row.began_at) : html`<span class="soft">–</span>`}</td>
          <td class="optional number">${known(row.ended_at) ? date(row.ended_at).slice(5) : html`<span class="soft">–</span>`}</td>
          <td class="text">${row.error && html`<${Text}>${row.error}<//>`}</td></tr>`)}</tbody>
      </table><//>`)}
      <div class="pager">
        ${values.after && html`<a class="button" href=${link(`runs/${run}/items`, { ...values, after: "" })}>First page</a><button onClick=${() => history.back()}>Back</button>`}
        ${page.data?.following && html`<a class="button" href=${link(`runs/${run}/items`, { ...values, after: page.data.following })}>Next page</a>`}
        <span class="soft">${rows.length ? `${number(rows.length)} on this page` : ""}</span>
      </div>
    </section>
    ${asked === "chosen" && html`<${Confirm} title=${`Requeue ${plural(chosen.size, "item")}?`} label="Requeue" onClose=${() => setAsked(null)} onDone=${() => done({ items: [...chosen] })}>They are tried again, each at the stage where it ended.<//>`}
    ${asked === "filter" && html`<${Confirm} title=${`Requeue ${found} ${words(filter.status)} items?`} label="Requeue" onClose=${() => setAsked(null)} onDone=${() => done({ filter })}>All items that the filter finds are tried again, each at the stage where it ended.<//>`}`;
}

// Typed text is a draft until the reader submits it. The draft stays while the list below changes.
function Filters({ values, stages, set }) {
  const [draft, setDraft] = useState({});
  const given = { ...values, ...draft };
  const ask = (changes) => { setDraft({}); set({ ...given, ...changes }); };
  const type = (name, of = (text) => text) => ({ name, onInput: (event) => setDraft((old) => ({ ...old, [name]: of(event.target.value) })) });
  const pick = (name) => ({ name, value: given[name] ?? "", onChange: (event) => ask({ [name]: event.target.value }) });
  const all = stages.includes(given.stage ?? "") || !given.stage ? stages : [...stages, given.stage];
  return html`<form class="filters" onSubmit=${(event) => { event.preventDefault(); ask({}); }} role="search" aria-label="Filter items">
    <label>Status<select ...${pick("status")}><option value="">all</option>${STATUSES.map((status) => html`<option value=${status}>${status}</option>`)}</select></label>
    <label>Stage<select ...${pick("stage")}><option value="">all</option>${all.map((stage) => html`<option value=${stage}>${oneLine(stage)}</option>`)}</select></label>
    <label>Item ID<input type="search" ...${type("text")} value=${given.text ?? ""} /></label>
    <label>Error contains<input type="search" ...${type("error")} value=${given.error ?? ""} /></label>
    <label>Took at least (s)<input type="number" ...${type("longer_than")} min="0" step="any" value=${given.longer_than ?? ""} /></label>
    <label>Changed since<input type="datetime-local" ...${type("since", epoch)} value=${local(given.since)} /></label>
    <label>Changed before<input type="datetime-local" ...${type("until", epoch)} value=${local(given.until)} /></label>
    <label>Parent<input type="search" ...${type("parent")} value=${given.parent ?? ""} /></label>
    <label>Order<select ...${pick("order")} value=${given.order ?? "newest"}>${Object.entries(ORDERS).map(([order, text]) => html`<option value=${order}>${text}</option>`)}</select></label>
    <button class="main">Filter</button>
    ${FILTERS.some((name) => given[name]) && html`<button type="button" onClick=${() => ask(Object.fromEntries(FILTERS.map((name) => [name, ""])))}>Clear</button>`}
  </form>`;
}
