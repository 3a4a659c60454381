// The pipeline: waiting items, busy slots, and what holds the run up.
import { html } from "./preact.js";
import { Share, Text } from "./parts.js";
import { known, number, percent, rate, seconds, short } from "./texts.js";

const KINDS = [["busy", "busy"], ["limited", "waits for a limit"], ["blocked", "held up by what follows"], ["held", "waits for the database"]];

export function Graph({ snapshot, window, findings }) {
  const source = snapshot.source;
  const is = (kind, name) => findings?.kind === kind && (name === undefined || findings.name === name);
  const sink = snapshot.sink;
  return html`<ol class="flow" tabindex="0" aria-label="The pipeline">
    <li class="end"><div class=${`card ${is("source") ? "bottleneck" : ""}`}>
      <div class="name">source ${is("source") && html`<span class="tag">bottleneck</span>`}</div>
      <dl class="small-facts"><dt>taken</dt><dd>${number(snapshot.taken)}</dd>
        ${known(source.length) && html`<dt>of</dt><dd>${short(source.length)}</dd>`}
        ${snapshot.spawned > 0 && html`<dt>spawned</dt><dd>${number(snapshot.spawned)}</dd>`}
        ${window && html`<dt>held back</dt><dd>${percent(window.source_waited)}</dd>`}</dl>
      ${source.is_over && html`<span class="soft">is over</span>`}
    </div></li>
    ${snapshot.stages.map((stage, index) => html`<${Stage} key=${stage.name} stage=${stage} window=${window?.stages[index]} snapshot=${snapshot} limits=${window?.limiters} is=${is} />`)}
    ${sink && html`<li class="end">
      <${Queue} count=${sink.waiting} label=${`${sink.waiting} outcomes wait for their commit`} />
      <div class=${`card ${is("sink") ? "bottleneck" : ""}`}><div class="name"><${Text}>${sink.name}<//> ${is("sink") && html`<span class="tag">bottleneck</span>`}</div>
      <dl class="small-facts"><dt>written</dt><dd>${number(snapshot.written)}</dd>
        ${snapshot.written_before > 0 && html`<dt>before</dt><dd>${number(snapshot.written_before)}</dd>`}
        <dt>commits</dt><dd>${short(sink.commits)}</dd>
        ${window && html`<dt>busy</dt><dd>${percent(window.sink_busy)}</dd>`}
        ${known(sink.away) && html`<dt class="worse">away for</dt><dd class="worse">${seconds(sink.away)}</dd>`}</dl>
    </div></li>`}
  </ol>`;
}

const Queue = ({ count, label, full }) => html`<div class=${`queue ${full ? "full" : ""}`} role="img" aria-label=${label}><b>${short(count)}</b></div>`;

function Stage({ stage, window, snapshot, limits, is }) {
  const bottleneck = is("stage", stage.name);
  const shares = Object.fromEntries(KINDS.map(([name]) => [name, window?.[name] ?? 0]));
  const held = shares.blocked + shares.held > 0.15;
  const look = bottleneck ? "bottleneck" : held ? "held-up" : shares.busy > 0.8 ? "busy" : "";
  const idle = Math.max(0, 1 - shares.busy - shares.limited - shares.blocked - shares.held);
  const told = `${KINDS.map(([name, text]) => `${percent(shares[name])} ${text}`).join(", ")}, ${percent(idle)} idle`;
  return html`<li>
    <${Queue} count=${stage.waiting} full=${stage.waiting > (stage.concurrency ?? Infinity)} label=${`${number(stage.waiting)} waiting for ${stage.name}`} />
    <div class=${`card ${look}`}>
      <div class="name"><${Text}>${stage.name}<//> ${bottleneck && html`<span class="tag">bottleneck</span>`}</div>
      <${Slots} stage=${stage} />
      ${window && known(window.busy) && html`<${Share} label=${told} parts=${KINDS.map(([name]) => ({ name, share: shares[name] }))} />`}
      <dl class="small-facts">
        <dt>running</dt><dd>${number(stage.running)}${known(stage.concurrency) ? ` of ${number(stage.concurrency)}` : ""}</dd>
        <dt>waiting</dt><dd>${number(stage.waiting)}${stage.delayed ? ` (${number(stage.delayed)} for a retry)` : ""}</dd>
        ${stage.blocked_now > 0 && html`<dt>blocked</dt><dd>${number(stage.blocked_now)}</dd>`}
        <dt>busy</dt><dd>${percent(window?.busy)}</dd>
        <dt>held up</dt><dd>${known(window?.blocked) ? percent(shares.blocked + shares.held) : "–"}</dd>
        <dt>items</dt><dd>${rate(window?.rate)}</dd>
        <dt>p50 / p95</dt><dd>${seconds(window?.p50 ?? stage.seconds.p50)} / ${seconds(window?.p95 ?? stage.seconds.p95)}</dd>
        <dt>done</dt><dd>${number(stage.done)}</dd>
        ${stage.failed > 0 && html`<dt>failed</dt><dd class="worse">${number(stage.failed)}</dd>`}
        ${stage.dropped > 0 && html`<dt>dropped</dt><dd>${number(stage.dropped)}</dd>`}
        ${stage.sent_back > 0 && html`<dt>sent back</dt><dd>${number(stage.sent_back)}</dd>`}
        ${stage.spawned > 0 && html`<dt>children</dt><dd>${number(stage.spawned)}</dd>`}
        ${stage.cached > 0 && html`<dt>cached</dt><dd>${number(stage.cached)}</dd>`}
        ${stage.retried > 0 && html`<dt>retried</dt><dd>${number(stage.retried)}</dd>`}
        ${stage.pushed_back > 0 && html`<dt>429s</dt><dd>${number(stage.pushed_back)}</dd>`}
        ${stage.abandoned > 0 && html`<dt>abandoned</dt><dd>${number(stage.abandoned)}</dd>`}
      </dl>
      ${stage.refusal && stage.pushed_back > 0.05 * stage.calls && html`<div class="chip"><span>the last 429: <${Text}>${stage.refusal}<//></span></div>`}
      ${stage.limiters.map((name) => html`<${Limit} key=${name} limiter=${snapshot.limiters.find((one) => one.name === name)} used=${limits?.[name]} binding=${is("limiter", name)} />`)}
    </div>
  </li>`;
}

function Limit({ limiter, used, binding }) {
  if (!limiter) return null;
  const share = known(used) && limiter.rate > 0 ? Math.min(1, used / limiter.rate) : null;
  return html`<div class=${`chip ${binding ? "binding" : ""}`}>
    <span><${Text}>${limiter.name}<//>: ${short(limiter.rate)} ${limiter.unit}/s${known(share) ? `, ${percent(share)} used` : ""}${binding ? " – bottleneck" : ""}</span>
    ${known(share) && html`<${Share} label=${`${percent(share)} used`} parts=${[{ name: "limited", share }]} />`}
  </div>`;
}

function Slots({ stage }) {
  const count = stage.concurrency;
  if (!known(count) || count > 48) return null;
  const state = (index) => (index < stage.running ? "running" : index < stage.running + stage.blocked_now ? "blocked" : "");
  return html`<div class="slots" role="img" aria-label=${`${stage.running} of ${count} slots taken`}>${Array.from({ length: count }, (_, index) => html`<i class=${state(index)}></i>`)}</div>`;
}

export const Key = () => html`<div class="key">${KINDS.map(([name, text]) => html`<span><i class=${name}></i>${text}</span>`)}<span><i class="idle"></i>idle</span></div>`;
