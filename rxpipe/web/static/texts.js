// Formats numbers, times and texts for people.

const grouped = new Intl.NumberFormat("en");
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

export const known = (value) => value !== null && value !== undefined && !Number.isNaN(value);
export const number = (value) => (known(value) ? grouped.format(value) : "–");
export const short = (value) => (known(value) ? (Math.abs(value) < 10 ? String(Number(value.toPrecision(2))) : Math.abs(value) < 10000 ? grouped.format(Math.round(value)) : compact.format(value)) : "–");
export const percent = (share) => (known(share) ? `${Math.round(share * 100)}%` : "–");
export const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;

function significant(value, digits = 3) {
  if (value === 0) return "0";
  if (Math.abs(value) >= 1000) return compact.format(value);
  return Number(value.toPrecision(digits)).toString();
}

export const rate = (value) => (known(value) ? `${significant(value)}/s` : "–");

// Two digits and no exponent, as in the terminal.
const small = (value) => value.toFixed(Math.min(100, 1 - Math.floor(Math.log10(value))));

export function cost(value) {
  if (!known(value)) return "–";
  return value === 0 ? "0" : value < 0.1 ? small(value) : value < 1000 ? value.toFixed(2) : grouped.format(Math.round(value));
}

export function seconds(value) {
  if (!known(value)) return "–";
  if (value < 0.0995) return `${significant(value * 1000)} ms`;
  if (value < 99.5) return `${significant(value)} s`;
  return clock(value);
}

export function clock(value) {
  if (!known(value)) return "–";
  const whole = Math.max(0, Math.round(value));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (part) => String(part).padStart(2, "0");
  if (hours >= 48) return `${Math.floor(hours / 24)} d ${hours % 24} h`;
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

// An estimated time, as in the terminal: about 3 min (2 to 4).
export function about(time) {
  const { whole, range } = inOneUnit(time);
  return `about ${whole}${range === null ? "" : ` (${range})`}`;
}

// The two parts of an estimated time: 3 min, and 2 to 4.
export function inOneUnit({ low, middle, high }) {
  const [unit, name] = middle < 90 ? [1, "s"] : middle < 5400 ? [60, "min"] : middle < 172800 ? [3600, "h"] : [86400, "days"];
  const [from, most, to] = [low, middle, high].map((value) => { const part = value / unit; return part < 9.95 ? part.toFixed(1).replace(/\.0$/, "") : part.toFixed(0); });
  return { whole: `${most} ${name}`, range: from === to ? null : `${from} to ${to}` };
}

export function date(value) {
  if (!known(value)) return "–";
  const at = new Date(value * 1000);
  const two = (part) => String(part).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

export function ago(value, now = Date.now() / 1000) {
  if (!known(value)) return "–";
  const past = now - value;
  if (past < 60) return "just now";
  if (past < 3600) return `${Math.floor(past / 60)} min ago`;
  return past < 86400 ? `${Math.floor(past / 3600)} h ago` : `${Math.floor(past / 86400)} d ago`;
}

export const size = (length) => (length < 10000 ? `${number(length)} characters` : `${compact.format(length)} characters`);

const BIDI = { 0x202a: "LRE", 0x202b: "RLE", 0x202c: "PDF", 0x202d: "LRO", 0x202e: "RLO", 0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI" };
const HARMFUL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069\u2028\u2029]|\r\n/g;

// Makes characters visible that a terminal or a browser would act on. Marks that only set the direction of a text stay:
// each text has its own element, and a mark has no effect beyond it.
export function shown(text) {
  const whole = String(text).replace(HARMFUL, (found) => {
    if (found === "\r\n") return "\n";
    const code = found.charCodeAt(0);
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    if (code === 0x7f) return "\u2421";
    if (code === 0x2028 || code === 0x2029) return "\u21b5";
    return BIDI[code] ? `\u2039${BIDI[code]}\u203a` : `\u2039${code.toString(16).toUpperCase()}\u203a`;
  });
  return whole.toWellFormed ? whole.toWellFormed() : whole;
}

export const oneLine = (text) => shown(text).replace(/\s+/g, " ");
const WORDS = { pushed_back: "refused for now", sent_back: "sent back" };
export const words = (name) => WORDS[name] ?? String(name).replace(/_/g, " ");
