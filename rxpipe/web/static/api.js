// Requests to the server. A hidden page makes no requests.
import { useEffect, useRef, useState } from "./preact.js";

export class Refused extends Error {}

export function query(values) {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) if (value !== null && value !== undefined && value !== "") given.set(name, value);
  const text = given.toString();
  return text ? `?${text}` : "";
}

async function answered(response) {
  if (response.ok) return response;
  let text = `the server answered ${response.status}`;
  try { text = (await response.json()).error ?? text; } catch { /* no JSON: the status code must do */ }
  throw new Refused(text);
}

const unreachable = (error) => (error instanceof Refused ? error : new Error("the server cannot be reached: its program may have ended"));

export async function ask(path, signal) {
  try {
    return await (await answered(await fetch(`api/${path}`, { signal }))).json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw unreachable(error);
  }
}

export async function askText(path) {
  return (await answered(await fetch(`api/${path}`))).text();
}

export async function act(path, body) {
  const headers = { "content-type": "application/json", "x-rxpipe-action": "1" };
  try {
    return await (await answered(await fetch(`api/${path}`, { method: "POST", headers, body: JSON.stringify(body) }))).json();
  } catch (error) {
    throw unreachable(error);
  }
}

function whenVisible(action) {
  if (!document.hidden) { action(); return () => {}; }
  const look = () => { if (!document.hidden) { document.removeEventListener("visibilitychange", look); action(); } };
  document.addEventListener("visibilitychange", look);
  return () => document.removeEventListener("visibilitychange", look);
}

// Returns an answer, and a function that asks again. The old answer stays until the new one arrives; a new path drops it.
export function useAnswer(path) {
  const [state, setState] = useState({ path: null, data: null, error: null, loading: true });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    if (path === null) return undefined;
    const controller = new AbortController();
    setState((old) => (old.path === path ? { ...old, loading: true } : { path, data: null, error: null, loading: true }));
    const forget = whenVisible(() => {
      ask(path, controller.signal).then(
        (data) => setState({ path, data, error: null, loading: false }),
        (error) => { if (error.name !== "AbortError") setState((old) => ({ ...old, error, loading: false })); },
      );
    });
    return () => { forget(); controller.abort(); };
  }, [path, turn]);
  const current = state.path === path ? state : { data: null, error: null, loading: true };
  return { ...current, again: () => setTurn((old) => old + 1) };
}

// Receives events of a stream and passes each one to `on`. While the page is hidden, the stream is closed.
export function useStream(path, name, on) {
  const [trouble, setTrouble] = useState(null);
  const latest = useRef(on);
  latest.current = on;
  useEffect(() => {
    let source = null;
    let lost = null;
    const open = () => {
      source = new EventSource(`api/${path}`);
      source.addEventListener(name, (event) => { clearTimeout(lost); lost = null; setTrouble(null); latest.current(JSON.parse(event.data)); });
      source.addEventListener("trouble", (event) => setTrouble(JSON.parse(event.data).error));
      source.addEventListener("open", () => { clearTimeout(lost); lost = null; setTrouble(null); });
      source.addEventListener("error", () => {
        lost ??= setTimeout(() => setTrouble("The server cannot be reached: its program may have ended. What is shown is what was last seen."), 1500);
        if (source.readyState === EventSource.CLOSED) { const closed = source; setTimeout(() => { if (source === closed) { closed.close(); open(); } }, 5000); }
      });
    };
    const close = () => { clearTimeout(lost); lost = null; source?.close(); source = null; };
    const look = () => (document.hidden ? close() : source ?? open());
    look();
    document.addEventListener("visibilitychange", look);
    return () => { document.removeEventListener("visibilitychange", look); close(); };
  }, [path, name]);
  return trouble;
}
