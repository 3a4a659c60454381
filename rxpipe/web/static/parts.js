// Small parts that all screens use.
import { html, useLayoutEffect, useRef, useState } from "./preact.js";
import { askText } from "./api.js";
import { number, oneLine, shown, size, words } from "./texts.js";

export const Text = ({ children, mono }) => html`<bdi dir="auto" class=${mono ? "mono" : undefined}>${oneLine(children ?? "")}</bdi>`;
export const Pill = ({ state }) => html`<span class=${`pill ${state}`}>${words(state)}</span>`;

export function Trouble({ error, again }) {
  if (!error) return null;
  return html`<div class="note bad" role="alert"><${Text}>${error.message ?? error}<//>
    ${again && html`${" "}<button onClick=${again}>Try again</button>`}</div>`;
}

export const Empty = ({ children }) => html`<p class="empty">${children}</p>`;

export function Panel({ title, level = 2, extra, children, id, className = "" }) {
  return html`<section class=${`panel ${className}`} aria-labelledby=${id}>
    <div class="bar">${level === 3 ? html`<h3 id=${id}>${title}</h3>` : html`<h2 id=${id}>${title}</h2>`}${extra && html`<span class="grow"></span>${extra}`}</div>
    ${children}
  </section>`;
}

// A table that can be scrolled, also by keyboard, if it is wider than the screen.
export const Wide = ({ label, children }) => html`<div class="wide" tabindex="0" role="group" aria-label=${label}>${children}</div>`;

export function Share({ parts, label }) {
  return html`<span class="share" role="img" aria-label=${label}>
    ${parts.filter((part) => part.share > 0).map((part) => html`<i class=${part.name} style=${{ width: `${part.share * 100}%` }}></i>`)}
  </span>`;
}

const MOST_SHOWN = 200000;

// A text that shows its beginning, and the rest on request. A very long text can only be saved.
export function LongText({ part, run, item, trace }) {
  const [whole, setWhole] = useState(null);
  const [error, setError] = useState(null);
  const path = `runs/${run}/text?${new URLSearchParams({ id: item, part: part.path })}`;
  const all = () => askText(path).then((text) => setWhole(text), setError);
  const text = whole === null ? part.text : whole.slice(0, MOST_SHOWN);
  return html`<div class="long">
    <pre dir="auto" class=${trace ? "trace" : undefined} tabindex="0">${shown(text)}</pre>
    ${part.cut && html`<p class="more">
      <span>${whole === null ? `The beginning of ${size(part.length)}.` : whole.length > MOST_SHOWN ? `The first ${number(MOST_SHOWN)} of ${size(part.length)}.` : size(part.length)}</span>
      ${whole === null && item !== null && html`<button class="link" onClick=${all}>${part.length > MOST_SHOWN ? "Show more" : "Show all"}</button>`}
      ${item !== null && html`<a href=${`api/${path}`} download="text.txt">Save all of it</a>`}
    </p>`}
    <${Trouble} error=${error} />
  </div>`;
}

// Asks the reader to confirm an action. The dialog opens and closes within the click, so that the next key press
// meets the new state even in a busy browser. The dialog's own close event comes later, when another dialog may be open.
export function Confirm({ title, children, label, danger, onDone, onClose }) {
  const dialog = useRef(null);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const left = useRef(false);
  useLayoutEffect(() => { dialog.current.showModal(); }, []);
  const leave = () => {
    if (left.current) return;
    left.current = true;
    dialog.current?.close(); // gives the focus back
    onClose();
  };
  const submit = (event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    onDone().then(leave, (problem) => { setError(problem); setBusy(false); });
  };
  return html`<dialog ref=${dialog} aria-labelledby="ask" onCancel=${leave} onClose=${leave}>
    <form onSubmit=${submit}>
      <h2 id="ask">${title}</h2>
      <div>${children}</div>
      <${Trouble} error=${error} />
      <div class="buttons">
        <button type="button" onClick=${leave}>Cancel</button>
        <button class=${danger ? "main danger" : "main"} disabled=${busy}>${label}</button>
      </div>
    </form>
  </dialog>`;
}

let tell = () => {};
export const toast = (text) => tell(text);

export function Toasts() {
  const [toasts, setToasts] = useState([]);
  tell = (text) => {
    const made = { text, key: Math.random() };
    setToasts((old) => [...old, made]);
    setTimeout(() => setToasts((old) => old.filter((one) => one !== made)), 7000);
  };
  return html`<div class="toasts" role="status" aria-live="polite">${toasts.map((one) => html`<div class="toast" key=${one.key}><${Text}>${one.text}<//></div>`)}</div>`;
}
