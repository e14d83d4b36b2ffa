// How each state of tasks and agents is shown: a word, a shape, a tone. Never colour alone.
import { html } from "./html.js";

const SHAPES = {
  ring: html`<circle cx="6" cy="6" r="4.2" fill="none" stroke="currentColor" stroke-width="1.6" />`,
  dotted: html`<circle cx="6" cy="6" r="4.2" fill="none" stroke="currentColor" stroke-width="1.6" stroke-dasharray="2.2 2.2" />`,
  half: html`<circle cx="6" cy="6" r="4.2" fill="none" stroke="currentColor" stroke-width="1.6" /><path d="M6 1.8a4.2 4.2 0 0 1 0 8.4z" fill="currentColor" />`,
  disc: html`<circle cx="6" cy="6" r="4.6" fill="currentColor" />`,
  arc: html`<path d="M6 1.6a4.4 4.4 0 1 1-4.4 4.4" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round" />`,
  check: html`<path d="m2 6.4 2.8 2.8L10 3.4" fill="none" stroke="currentColor" stroke-width="1.9" stroke-linecap="round" stroke-linejoin="round" />`,
  cross: html`<path d="m2.8 2.8 6.4 6.4m0-6.4-6.4 6.4" fill="none" stroke="currentColor" stroke-width="1.9" stroke-linecap="round" />`,
  slash: html`<circle cx="6" cy="6" r="4.2" fill="none" stroke="currentColor" stroke-width="1.6" /><path d="m3.2 8.8 5.6-5.6" stroke="currentColor" stroke-width="1.6" />`,
  back: html`<path d="M2 3v3h3M2.3 5.8A4.2 4.2 0 1 1 3 8.9" fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round" />`,
  clock: html`<circle cx="6" cy="6" r="4.4" fill="none" stroke="currentColor" stroke-width="1.5" /><path d="M6 3.6V6l1.7 1.1" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" />`,
  down: html`<path d="M6 2v7m0 0L3 6.2M6 9l3-2.8" fill="none" stroke="currentColor" stroke-width="1.7" stroke-linecap="round" stroke-linejoin="round" />`,
  bang: html`<path d="M6 1.4 11.2 10.4H.8z" fill="none" stroke="currentColor" stroke-width="1.4" stroke-linejoin="round" /><path d="M6 4.8v2.4m0 1.4v.1" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" />`,
};

const TASK = {
  scheduled: ["Scheduled", "clock", ""],
  blocked: ["Blocked", "slash", ""],
  queued: ["Waiting", "ring", ""],
  assigned: ["Assigned", "half", "busy"],
  running: ["Running", "arc", "busy"],
  backing_off: ["Trying again", "back", "warn"],
  succeeded: ["Succeeded", "check", "good"],
  dead: ["Failed for good", "cross", "bad"],
  cancelled: ["Cancelled", "slash", ""],
  expired: ["Expired", "clock", "warn"],
};

const AGENT = {
  online: ["Online", "disc", "good"],
  suspect: ["Suspect", "bang", "warn"],
  offline: ["Offline", "cross", "bad"],
  draining: ["Draining", "down", ""],
  cooling_down: ["Cooling down", "clock", "warn"],
};

const LINK = {
  connecting: "dotted", live: "disc", behind: "clock", reconnecting: "dotted", nats_down: "bang",
};

/** A small drawing beside a word that says the same. */
export const Shape = ({ name, isMoving }) =>
  html`<svg width="12" height="12" viewBox="0 0 12 12" aria-hidden="true" class=${isMoving ? "spin" : ""}>${SHAPES[name]}</svg>`;

function Badge({ table, state }) {
  const [word, shape, tone] = table[state] || [state, "ring", ""];
  const isMoving = state === "running" || state === "backing_off";
  return html`<span class=${`badge ${tone && `tone-${tone}`}`} data-state=${state}>
    <${Shape} name=${shape} isMoving=${isMoving} />${word}</span>`;
}

export const TaskBadge = ({ state }) => html`<${Badge} table=${TASK} state=${state} />`;
export const AgentBadge = ({ state }) => html`<${Badge} table=${AGENT} state=${state} />`;
export const linkShape = (state) => LINK[state];

const OVER = new Set(["succeeded", "dead", "cancelled", "expired"]);
export const isOver = (state) => OVER.has(state);
export const isLive = (state) => state === "assigned" || state === "running";
