// Numbers and times as people read them. Pure.

const MISSING = "–";

/** Seconds with a sensible number of digits: 3 ms, 0.42 s, 12.1 s, 2 m 5 s, 3 h 20 m. */
export function seconds(value) {
  if (value == null || !Number.isFinite(value)) return MISSING;
  const v = Math.max(0, value);
  if (v === 0) return "0 s";
  if (v < 0.001) return "<1 ms";
  if (v < 0.1) return `${Math.round(v * 1000)} ms`;
  if (v < 9.95) return `${v.toFixed(2)} s`;
  if (v < 59.95) return `${v.toFixed(1)} s`;
  return long(Math.round(v));
}

/** Whole seconds and more, for ages: now, 4 s, 2 m 5 s, 3 h 20 m, 2 d 4 h. */
export function age(value) {
  if (value == null || !Number.isFinite(value)) return MISSING;
  const v = Math.floor(Math.max(0, value));
  if (v < 1) return "now";
  return v < 60 ? `${v} s` : long(v);
}

function long(v) {
  if (v < 3600) return join(Math.floor(v / 60), "m", v % 60, "s");
  if (v < 86400) return join(Math.floor(v / 3600), "h", Math.floor((v % 3600) / 60), "m");
  return join(Math.floor(v / 86400), "d", Math.floor((v % 86400) / 3600), "h");
}

const join = (a, unitA, b, unitB) => (b ? `${a} ${unitA} ${b} ${unitB}` : `${a} ${unitA}`);

/** A rate: 0, 0.3, 4.2, 128, 1,940. */
export function rate(value) {
  if (value == null) return MISSING;
  if (value === 0) return "0";
  return value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString("en");
}

export const count = (value) => (value == null ? MISSING : value.toLocaleString("en"));

/** Local time of day of an instant in seconds; the date too when it is not today. */
export function clock(at) {
  if (at == null) return MISSING;
  const date = new Date(at * 1000);
  const time = date.toLocaleTimeString(undefined, { hour12: false });
  return date.toDateString() === new Date().toDateString() ? time : `${date.toLocaleDateString()} ${time}`;
}

export const exactTime = (at) => (at == null ? "" : new Date(at * 1000).toISOString());

/** The first signs of an id, enough to tell tasks apart. */
export const shortId = (id) => (id.length > 12 ? id.slice(0, 8) : id);

const TELLING_S = 0.05;

/** Whether a difference means anything: a few milliseconds are noise, whatever the ratio. */
export const isLater = (actual, limit) => actual != null && limit != null && actual - limit > TELLING_S;

/** How far the actual time was from the predicted: "12 % slower", "as predicted", "3.1 times as long". */
export function comparison(actual, predicted) {
  if (actual == null || !predicted) return "";
  if (Math.abs(actual - predicted) < TELLING_S) return "as predicted";
  const ratio = actual / predicted;
  if (ratio > 2) return `${ratio.toFixed(1)} times as long as predicted`;
  const percent = Math.round(Math.abs(ratio - 1) * 100);
  if (percent < 5) return "as predicted";
  return `${percent} % ${ratio > 1 ? "slower" : "faster"} than predicted`;
}

/** What a result or payload looks like: text as it is, anything else as indented JSON. */
export function asText(value) {
  if (typeof value === "string") return value;
  return value == null ? "" : JSON.stringify(value, null, 2);
}

/** The text in a result when it is nothing but text, else null. */
export function onlyText(result) {
  if (typeof result === "string") return result;
  if (result && typeof result === "object" && !Array.isArray(result)) {
    for (const name of ["text", "summary", "label"]) {
      if (typeof result[name] === "string") return result[name];
    }
  }
  return null;
}

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** A size for people. */
export const bytes = (n) => (n < 1024 ? `${n} bytes` : n < 1048576 ? `${Math.round(n / 1024)} KiB` : `${(n / 1048576).toFixed(1)} MiB`);
