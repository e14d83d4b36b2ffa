// Every agent: how it is, what it can do, how full it is, when it was last heard.
import { html } from "../html.js";
import { second } from "../clock.js";
import { age, exactTime, plural, seconds } from "../format.js";
import { AgentBadge } from "../states.js";
import { Command } from "../parts/command.js";

const MOST_SHOWN = 200;
const MOST_PIPS = 12;
const LATE_AFTER_S = 22;
const WORST_FIRST = ["offline", "suspect", "cooling_down", "draining", "online"];

function Slots({ agent }) {
  const used = Math.min(agent.in_flight, agent.slots);
  const pips = agent.slots <= MOST_PIPS;
  return html`<span class="slots">${pips && html`<span class="pips" aria-hidden="true">${Array.from({ length: agent.slots },
    (_, n) => html`<i class=${n < used ? "is-used" : ""}></i>`)}</span>`}
    <span>${agent.in_flight} of ${agent.slots}</span></span>`;
}

function LastSeen({ agent }) {
  if (agent.last_seen_at == null) return html`<span class="quiet">never</span>`;
  const passed = second.value - agent.last_seen_at;
  const isLate = passed > LATE_AFTER_S && agent.state !== "offline";
  return html`<time class=${isLate ? "is-late" : ""} datetime=${exactTime(agent.last_seen_at)} title=${exactTime(agent.last_seen_at)}>
    ${age(passed)}${passed >= 1 ? " ago" : ""}${isLate ? ", late" : ""}</time>`;
}

function Means({ agent }) {
  const known = Object.entries(agent.mean_s || {});
  if (!known.length) return html`<span class="quiet">not yet</span>`;
  return known.sort().map(([kind, mean]) => html`<span class="mean">${kind} <b>${seconds(mean)}</b></span>`);
}

function Agent({ agent }) {
  const gone = agent.state === "offline" || agent.state === "suspect";
  return html`<tr data-agent=${agent.agent_id} data-state=${agent.state} class=${agent.state === "offline" ? "is-gone" : ""}>
    <td data-label="Agent"><b>${agent.agent_id}</b>${agent.labels.length > 0 && html`<span class="quiet"> ${agent.labels.join(" ")}</span>`}</td>
    <td data-label="State"><${AgentBadge} state=${agent.state} />${gone && agent.why && html`<span class="quiet agent-why">${agent.why}</span>`}</td>
    <td data-label="Slots"><${Slots} agent=${agent} /></td>
    <td data-label="Last heard"><${LastSeen} agent=${agent} /></td>
    <td data-label="Can do">${agent.kinds.join(", ")}</td>
    <td data-label="Mean time">${html`<${Means} agent=${agent} />`}</td>
  </tr>`;
}

export function Agents({ agents, isLoaded }) {
  const ordered = [...agents].sort((a, b) =>
    WORST_FIRST.indexOf(a.state) - WORST_FIRST.indexOf(b.state) || a.agent_id.localeCompare(b.agent_id, "en", { numeric: true }));
  const free = agents.filter((a) => a.state === "online").reduce((n, a) => n + Math.max(0, a.slots - a.in_flight), 0);
  return html`<section class="card" aria-label="Agents" data-testid="agents">
    <header><h2 class="grow">Agents</h2>${agents.length > 0 && html`<span class="quiet">${plural(free, "free slot")}</span>`}</header>
    ${agents.length === 0 && html`<div class="empty">${isLoaded
      ? html`<p>No agent has joined this fleet yet.</p><p><${Command} text="outrider agent --kinds echo,sleep" /></p>`
      : html`<p>Asking who is there</p>`}</div>`}
    ${agents.length > 0 && html`<div class="table-box"><table class="table">
      <thead><tr><th>Agent</th><th>State</th><th>Slots in use</th><th>Last heard</th><th>Can do</th><th>Mean time</th></tr></thead>
      <tbody>${ordered.slice(0, MOST_SHOWN).map((agent) => html`<${Agent} key=${agent.agent_id} agent=${agent} />`)}</tbody></table></div>
      ${ordered.length > MOST_SHOWN && html`<p class="table-foot quiet">${plural(ordered.length - MOST_SHOWN, "more agent")}: outrider agent ls</p>`}`}
  </section>`;
}
