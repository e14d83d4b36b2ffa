// How many tasks wait, by kind, with the priorities behind it.
import { html } from "../html.js";
import { count } from "../format.js";

export function byKind(queues) {
  const kinds = new Map();
  for (const { kind, priority, waiting } of queues) {
    const name = kind || "not known yet";
    const found = kinds.get(name) || { name, waiting: 0, priorities: [] };
    found.waiting += waiting;
    found.priorities.push([priority, waiting]);
    kinds.set(name, found);
  }
  return [...kinds.values()].sort((a, b) => b.waiting - a.waiting || a.name.localeCompare(b.name));
}

export function Queue({ stats, agents }) {
  const kinds = byKind(stats?.queues || []);
  const most = Math.max(1, ...kinds.map((k) => k.waiting));
  const served = new Set(agents.filter((a) => a.state !== "offline").flatMap((a) => a.kinds));
  return html`<section class="card queue" aria-label="Queue" data-testid="queue">
    <header><h2 class="grow">Waiting by kind</h2><span class="quiet">${stats ? count(stats.waiting) : ""}</span></header>
    ${kinds.length === 0
      ? html`<div class="empty"><p>Nothing waits.</p></div>`
      : html`<ul class="queue-list">${kinds.map((k) => html`<li key=${k.name} data-kind=${k.name}>
          <span class="cut">${k.name}</span><b>${count(k.waiting)}</b>
          <div class="queue-bar" aria-hidden="true"><i style=${{ width: `${(100 * k.waiting) / most}%` }}></i></div>
          <span class="quiet queue-note">${served.has(k.name) ? k.priorities.map(([p, n]) => `priority ${p}: ${count(n)}`).join(", ")
            : "no agent for it is online"}</span></li>`)}</ul>`}
  </section>`;
}
