// The fleet page: numbers, charts, queue, agents, tasks, and one task in detail. Puts the parts together.
import { html, render, signal } from "./html.js";
import { second } from "./clock.js";
import { age } from "./format.js";
import { connect, follow, state } from "./link.js";
import { Command } from "./parts/command.js";
import { Shell } from "./parts/shell.js";
import { Shape } from "./states.js";
import { Agents } from "./fleet/agents.js";
import { Latency, Throughput } from "./fleet/charts.js";
import { Detail } from "./fleet/detail.js";
import { Kinds } from "./fleet/kinds.js";
import { Letters } from "./fleet/letters.js";
import { Queue } from "./fleet/queue.js";
import { Tasks } from "./fleet/tasks.js";
import { Tiles } from "./fleet/tiles.js";

const SILENT_AFTER_S = 8;

const openId = signal(taskInAddress());
function taskInAddress() {
  return new URLSearchParams(location.search).get("task");
}

function open(taskId) {
  if (openId.peek() === taskId) return;
  openId.value = taskId;
  history.pushState(null, "", taskId ? `/admin?task=${encodeURIComponent(taskId)}` : "/admin");
}

addEventListener("popstate", () => { openId.value = taskInAddress(); });
addEventListener("keydown", (event) => {
  if (event.target.closest("input, select, textarea") || event.metaKey || event.ctrlKey || event.altKey) return;
  if (event.key === "Escape") open(null);
  if (event.key === "j" || event.key === "k") moveFocus(event.key === "j" ? 1 : -1);
});

function moveFocus(step) {
  const links = [...document.querySelectorAll(".task-link")];
  const at = links.indexOf(document.activeElement);
  links[Math.min(links.length - 1, Math.max(0, at + step))]?.focus();
}

const agentTopic = follow("agents");
const taskTopic = follow("tasks");
const statsTopic = follow("stats");

function NoOrchestrator({ stats }) {
  if (!stats || state.value !== "live") return null;
  const silent = stats.orchestrator_seen_at == null ? Infinity : second.value - stats.orchestrator_seen_at;
  if (silent < SILENT_AFTER_S) return null;
  return html`<div class="notice" role="alert"><${Shape} name="bang" /><div>
    <p><strong>No orchestrator answers${Number.isFinite(silent) ? ` for ${age(silent)}` : ""}.</strong>
    Submitted tasks are stored and wait; nothing new is given to agents.</p>
    <p><${Command} text="outrider orchestrator" /></p></div></div>`;
}

function Dashboard() {
  const stats = statsTopic.rows.value.get("now");
  const points = statsTopic.rows.value;
  const agents = [...agentTopic.rows.value.values()];
  const dead = [...taskTopic.rows.value.values()].filter((t) => t.state === "dead").map((t) => t.task_id).sort().join(" ");
  const isStale = state.value === "reconnecting" || state.value === "nats_down";
  return html`<${Shell} title="Fleet">
    <${NoOrchestrator} stats=${stats} />
    <div class=${`fleet ${openId.value ? "has-detail" : ""}`}>
      <div class=${`fleet-main ${isStale ? "is-stale" : ""}`}>
        <${Tiles} stats=${stats} />
        <div class="charts"><${Throughput} rows=${points} /><${Latency} rows=${points} /><${Queue} stats=${stats} agents=${agents} /></div>
        <${Agents} agents=${agents} isLoaded=${agentTopic.isLoaded.value} />
        <${Kinds} stats=${stats} />
        <${Tasks} rows=${taskTopic.rows.value} isLoaded=${taskTopic.isLoaded.value} openId=${openId.value} onOpen=${open} />
        <${Letters} dead=${dead} onOpen=${open} />
      </div>
      ${openId.value && html`<${Detail} key=${openId.value} taskId=${openId.value} onClose=${() => open(null)} />`}
    </div><//>`;
}

connect();
render(html`<${Dashboard} />`, document.getElementById("app"));
