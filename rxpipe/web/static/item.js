// One item: its value, the result of each stage, and its calls with prompts, errors and waits.
import { html, useEffect, useState } from "./preact.js";
import { useAnswer } from "./api.js";
import { link } from "./route.js";
import { RunHead, requeue } from "./run_head.js";
import { Confirm, Empty, LongText, Panel, Pill, Text, Trouble } from "./parts.js";
import { cost, date, known, number, oneLine, plural, seconds, words } from "./texts.js";

export function Item({ run, values, about }) {
  const id = values.id ?? "";
  const head = useAnswer(`runs/${run}`);
  const { data, error, again } = useAnswer(`runs/${run}/item?${new URLSearchParams({ id })}`);
  const [asked, setAsked] = useState(false);
  useEffect(() => { document.title = `item ${oneLine(id).slice(0, 80)} · rxpipe`; }, [id, head.data]);
  const item = data?.item;
  const acts = !about.read_only && item && ["failed", "dropped"].includes(item.status);
  return html`
    <${RunHead} run=${run} row=${head.data?.run} tab="items" about=${about} />
    <${Trouble} error=${error ?? head.error} again=${again} />
    ${item && html`
      <section class="panel" aria-labelledby="item">
        <div class="bar"><h2 id="item">Item <${Text} mono>${item.id.length > 300 ? `${item.id.slice(0, 300)}…` : item.id}<//></h2><${Pill} state=${item.status} /><span class="grow"></span>
          ${acts && html`<button onClick=${() => setAsked(true)}>Requeue</button>`}<button onClick=${again}>Refresh</button></div>
        <div class="body"><${Facts} data=${data} run=${run} /></div>
      </section>
      ${data.calls.some((call) => known(call.began_at) && known(call.seconds)) && html`<${Panel} title="When it waited, and when calls ran" id="when"><div class="body"><${Gantt} calls=${data.calls} /></div><//>`}
      ${data.value && html`<${Panel} title="Input" id="input"><div class="body"><${LongText} part=${data.value} run=${run} item=${item.key} /></div><//>`}
      <${Panel} title="Calls" id="calls" extra=${html`<span class="soft">${plural(data.calls.length, "call")}</span>`}>
        ${data.calls.length ? data.calls.map((call, index) => html`<${Call} key=${index} call=${call} run=${run} item=${item.key} />`) : html`<${Empty}>No call was made for it.<//>`}
      <//>
      ${data.outputs.length > 0 && html`<${Panel} title="What stages returned" id="outputs"><div class="body">${data.outputs.map((one) => html`<div class="message"><h3><${Text}>${one.stage}<//></h3><${LongText} part=${one.output} run=${run} item=${item.key} /></div>`)}</div><//>`}
      ${asked && html`<${Confirm} title="Requeue this item?" label="Requeue" onClose=${() => setAsked(false)} onDone=${() => requeue(run, { items: [item.key] }).then(again)}>It is tried again at the stage where it ended.<//>`}
    `}`;
}

function Facts({ data, run }) {
  const { item, parents, children, calls } = data;
  const tokens = calls.reduce((sum, call) => sum + call.usage.prompt_tokens + call.usage.completion_tokens, 0);
  const spent = calls.reduce((sum, call) => sum + call.usage.cost, 0);
  const kids = Object.entries(children);
  return html`<dl class="facts">
    ${item.stage && html`<div><dt>stage</dt><dd><${Text}>${item.stage}<//></dd></div>`}
    ${item.error && html`<div><dt>error or reason</dt><dd><${Text}>${item.error}<//></dd></div>`}
    <div><dt>took</dt><dd>${known(item.began_at) && known(item.ended_at) ? seconds(item.ended_at - item.began_at) : "–"}</dd></div>
    <div><dt>taken</dt><dd class="number">${date(item.began_at)}</dd></div>
    <div><dt>ended</dt><dd class="number">${date(item.ended_at)}</dd></div>
    <div><dt>calls</dt><dd>${number(item.attempts)}${item.rounds ? `, sent back ${plural(item.rounds, "time")}` : ""}</dd></div>
    ${tokens > 0 && html`<div><dt>tokens, cost</dt><dd>${number(tokens)}, ${cost(spent)}</dd></div>`}
    ${parents.length > 0 && html`<div><dt>made of</dt><dd>${parents.map((parent, index) => html`${index ? " ← " : ""}<a href=${link(`runs/${run}/item`, { id: parent })}><${Text} mono>${parent}<//></a>`)}</dd></div>`}
    ${kids.length > 0 && html`<div><dt>children</dt><dd><a href=${link(`runs/${run}/items`, { parent: item.key })}>${kids.map(([status, count]) => `${number(count)} ${words(status)}`).join(", ")}</a></dd></div>`}
  </dl>`;
}

const LOOKS = { ok: "ok", failed: "bad", cancelled: "bad", retried: "warn", pushed_back: "warn", sent_back: "warn", dropped: "warn" };

function Gantt({ calls }) {
  const timed = calls.filter((call) => known(call.began_at) && known(call.seconds));
  const began = Math.min(...timed.map((call) => call.began_at - (call.waited ?? 0)));
  const span = Math.max(...timed.map((call) => call.began_at + call.seconds)) - began || 1;
  const share = (value) => `${(100 * value) / span}%`;
  return html`<div class="gantt">${timed.map((call) => {
    const told = `${call.stage}, call ${call.attempt}: waited ${seconds(call.waited ?? 0)}, from ${seconds(call.began_at - began)} on ran ${seconds(call.seconds)}, ${words(call.ended)}`;
    return html`<span class="label"><${Text}>${call.stage}<//> <span class="soft">${call.attempt}</span></span>
      <svg role="img" aria-label=${told}>
        ${call.waited > 0 && html`<rect class="wait" x=${share(call.began_at - call.waited - began)} width=${share(call.waited)} y="5" height="6" />`}
        <rect class=${LOOKS[call.ended] ?? "ok"} x=${share(call.began_at - began)} width=${share(Math.max(call.seconds, span / 300))} y="1" height="14" rx="2" />
      </svg>`;
  })}<span class="label soft">all of it</span><span class="soft">${seconds(span)}</span></div>`;
}

function Call({ call, run, item }) {
  const tokens = call.usage.prompt_tokens + call.usage.completion_tokens;
  return html`<article class="call" aria-label=${`${call.stage}, call ${call.attempt}`}>
    <div class="line"><h3><${Text}>${call.stage}<//></h3><span class="soft">call ${call.attempt}</span><${Pill} state=${call.ended} />
      ${call.cached && html`<span class="soft">an earlier result was used</span>`}
      <span class="number">${seconds(call.seconds)}</span>
      ${call.waited > 0 && html`<span class="soft">waited ${seconds(call.waited)}</span>`}
      ${known(call.in_flight) && html`<span class="soft">${plural(call.in_flight, "call")} in flight</span>`}
      ${tokens > 0 && html`<span class="soft">${number(call.usage.prompt_tokens)} + ${number(call.usage.completion_tokens)} tokens, ${cost(call.usage.cost)}</span>`}
      ${known(call.began_at) && html`<span class="soft number">${date(call.began_at)}</span>`}</div>
    ${call.error && html`<${LongText} part=${call.error} run=${run} item=${item} trace />`}
    ${call.traceback && html`<details><summary>Traceback</summary><${LongText} part=${call.traceback} run=${run} item=${item} trace /></details>`}
    ${call.exchanges.map((exchange, index) => html`<details open=${call.exchanges.length === 1 && index === 0}><summary>Prompt and reply of <${Text}>${exchange.model}<//></summary>
      ${exchange.messages.map((message) => html`<div class="message"><span class="role"><${Text}>${message.role}<//></span><${LongText} part=${message.content} run=${run} item=${item} /></div>`)}
      <div class="message reply"><span class="role">reply</span>${exchange.reply ? html`<${LongText} part=${exchange.reply} run=${run} item=${item} />` : html`<span class="soft">none</span>`}</div>
    </details>`)}
  </article>`;
}
