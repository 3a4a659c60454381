// The head of all screens of a run: name, state, actions and tabs.
import { html, useEffect, useState } from "./preact.js";
import { act } from "./api.js";
import { link } from "./route.js";
import { Confirm, Pill, Text, toast } from "./parts.js";
import { number, oneLine, plural } from "./texts.js";

export function RunHead({ row, run, tab, about, state }) {
  const [asked, setAsked] = useState(null);
  const name = row?.name || "run";
  useEffect(() => { document.title = `${oneLine(name)} ${run || ""} · rxpipe`; }, [name, run]);
  const acts = !about.read_only && run > 0;
  const live = row?.state === "running";
  const tabs = [["", "Overview"], ...(about.has_store && run > 0 ? [["timeline", "Timeline"], ["items", "Items"]] : [])];
  return html`
    <nav aria-label="You are here"><ol class="crumbs"><li><a href="#/">Runs</a></li><li>${run ? `run ${run}` : "this run"}</li></ol></nav>
    <div class="head"><h1 tabindex="-1"><${Text}>${name}<//> <span class="soft">${run || ""}</span></h1>
      ${row && html`<${Pill} state=${state === "stopping" ? "stopping" : row.state} />`}
      ${row?.workers > 0 && html`<span class="soft">${plural(row.workers, "worker")}</span>`}
      <span class="grow"></span>
      ${acts && row?.counts.failed > 0 && html`<button onClick=${() => setAsked("requeue")}>Requeue failed</button>`}
      ${acts && live && html`<button onClick=${() => setAsked("stop")}>Stop</button><button class="danger" onClick=${() => setAsked("abort")}>Abort</button>`}
    </div>
    <nav class="tabs" aria-label="Of this run">${tabs.map(([path, title]) => html`<a href=${link(path ? `runs/${run}/${path}` : `runs/${run}`)} aria-current=${path === tab ? "page" : undefined}>${title}</a>`)}</nav>
    ${asked === "stop" && html`<${Confirm} title=${`Stop run ${run}?`} label="Stop" onClose=${() => setAsked(null)} onDone=${() => stop(run, false)}>Its workers take no more items, and finish those that they have. The same command goes on with it later.<//>`}
    ${asked === "abort" && html`<${Confirm} title=${`Abort run ${run}?`} label="Abort" danger onClose=${() => setAsked(null)} onDone=${() => stop(run, true)}>Calls that run are cancelled now. What stages have returned is kept, and the same command goes on with it later.<//>`}
    ${asked === "requeue" && html`<${Confirm} title=${`Requeue ${plural(row.counts.failed, "failed item")}?`} label="Requeue" onClose=${() => setAsked(null)} onDone=${() => requeue(run, { filter: { status: "failed" } })}>They are tried again, each at the stage where it failed, by the workers of this run or its next one.<//>`}`;
}

async function stop(run, abort) {
  const { told } = await act(`runs/${run}/stop`, { abort });
  toast(told ? `${plural(told, "worker")} of run ${run} ${told === 1 ? "was" : "were"} told to ${abort ? "abort" : "stop"}.` : `Run ${run} has no worker that could be told.`);
}

export async function requeue(run, wanted) {
  const { requeued } = await act(`runs/${run}/requeue`, wanted);
  toast(`${number(requeued)} ${requeued === 1 ? "item is" : "items are"} to be tried again.`);
}
