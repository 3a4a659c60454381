// The frame, and the choice of the screen.
import { html, render, useLayoutEffect, useRef } from "./preact.js";
import { useAnswer } from "./api.js";
import { useRoute } from "./route.js";
import { Text, Toasts, Trouble } from "./parts.js";
import { Runs } from "./runs.js";
import { Compare } from "./compare.js";
import { Run } from "./run.js";
import { Timeline } from "./timeline.js";
import { Items } from "./items.js";
import { Item } from "./item.js";

const SCREENS = { timeline: Timeline, items: Items, item: Item };

function screen({ parts, values }, about) {
  if (parts[0] === "compare") return html`<${Compare} values=${values} about=${about} />`;
  if (parts[0] === "runs" && /^\d+$/.test(parts[1] ?? "")) {
    const Screen = parts.length === 2 ? Run : SCREENS[parts[2]];
    if (Screen) return html`<${Screen} key=${`${parts[1]} ${parts[2]}`} run=${Number(parts[1])} values=${values} about=${about} />`;
  }
  if (parts.length) return html`<h1 tabindex="-1">There is no such page</h1><p><a href="#/">All runs</a></p>`;
  return html`<${Runs} about=${about} />`;
}

function Page() {
  const route = useRoute();
  const about = useAnswer("about");
  const main = useRef(null);
  const place = route.parts.join("/");
  const first = useRef(true);
  useLayoutEffect(() => {
    // Focus on the heading makes a screen reader announce the new page. The browser announces the first page itself.
    if (!first.current) main.current?.querySelector("h1")?.focus();
    first.current = false;
    scrollTo(0, 0);
  }, [place]);
  return html`
    <a class="skip" href="#content" onClick=${(event) => { event.preventDefault(); main.current.focus(); }}>Skip to the content</a>
    <header class="top"><div class="inner">
      <a class="brand" href="#/"><svg viewBox="0 0 32 32" aria-hidden="true"><rect width="32" height="32" rx="7" fill="var(--accent)"/><path d="M6 11h6l8 10h6M6 21h6l8-10h6" fill="none" stroke="var(--on-accent)" stroke-width="3" stroke-linecap="round" stroke-linejoin="round"/></svg>rxpipe</a>
      <nav aria-label="Main"><a href="#/" aria-current=${route.parts.length ? undefined : "page"}>Runs</a></nav>
      <span class="title">${about.data?.title && html`<${Text} mono>${about.data.title}<//>`}${about.data?.read_only ? " · read-only" : ""}</span>
    </div></header>
    <main id="content" ref=${main} tabindex="-1">
      <${Trouble} error=${about.error} again=${about.again} />
      ${about.data && screen(route, about.data)}
    </main>
    <${Toasts} />`;
}

if (new URLSearchParams(location.search).has("token")) history.replaceState(null, "", location.pathname + location.hash);
render(html`<${Page} />`, document.getElementById("page"));
