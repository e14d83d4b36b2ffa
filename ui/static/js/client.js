// The portal: submit a task, watch its answer, find it again. Puts the parts together.
import { html, render, signal, useEffect, useMemo } from "./html.js";
import { connect, follow, leave, state } from "./link.js";
import { Attempts, TaskBullet, TaskError, TaskFacts, TaskHead, TaskPayload, TaskResult } from "./parts/task.js";
import { Command } from "./parts/command.js";
import { Shell } from "./parts/shell.js";
import { TaskForm } from "./portal/form.js";
import { History } from "./portal/history.js";
import { learn, refresh } from "./portal/mine.js";

const openId = signal(new URLSearchParams(location.search).get("task"));

function open(taskId) {
  openId.value = taskId;
  history.pushState(null, "", taskId ? `/?task=${encodeURIComponent(taskId)}` : "/");
  document.querySelector(".open-task")?.scrollIntoView({ block: "nearest", behavior: "smooth" });
}

addEventListener("popstate", () => { openId.value = new URLSearchParams(location.search).get("task"); });

function OpenTask({ taskId }) {
  const store = useMemo(() => follow(`task:${taskId}`), [taskId]);
  useEffect(() => {
    const stop = store.task.subscribe((task) => task && learn(task));
    return () => { stop(); leave(`task:${taskId}`); };
  }, [store]);
  const task = store.task.value;
  if (task === undefined) return html`<section class="card open-task"><div class="empty"><p>Reading the task</p></div></section>`;
  if (task === null) return html`<${Unknown} taskId=${taskId} />`;
  const texts = store.attempts.value;
  return html`<article class="card open-task" data-task=${taskId} aria-label="Task">
    <${TaskHead} task=${task} />
    <div class="task-stack">
      <${TaskFacts} task=${task} />
      <${TaskBullet} task=${task} />
      ${task.state === "queued" && html`<${Waits} kind=${task.kind} />`}
      <${Attempts} task=${task} events=${store.events.value} texts=${texts} />
      <${TaskError} task=${task} />
      <${TaskResult} task=${task} texts=${texts} />
      <${TaskPayload} task=${task} />
      <p class="quiet">Every step of it, and why that agent: <a href=${`/admin?task=${taskId}`}>open in Fleet</a></p>
    </div></article>`;
}

function Waits({ kind }) {
  const agents = [...agentTopic.rows.value.values()];
  const isServed = agents.some((a) => a.kinds.includes(kind) && a.state !== "offline");
  if (isServed) return html`<p class="soft">Accepted and stored. It goes to the next agent with a free slot.</p>`;
  return html`<div class="soft"><p>Accepted and stored. No agent for ${kind} is online; it starts as soon as one joins:</p>
    <p><${Command} text=${`outrider agent --kinds ${kind}`} /></p></div>`;
}

const Unknown = ({ taskId }) => html`<section class="card open-task"><div class="empty">
  <p>No task <code>${taskId}</code> is known to this fleet.</p><p class="quiet">The ledger may have let it go, or it never was.</p>
</div></section>`;

const Nothing = () => html`<section class="card open-task is-blank"><div class="empty">
  <p>Submit a task, or choose one of yours, and its answer appears here as it is written.</p>
  <p>From a terminal: <${Command} text=${"outrider submit echo --data '\"hello\"' --wait"} /></p></div></section>`;

let agentTopic;

function Portal() {
  const agents = [...agentTopic.rows.value.values()];
  return html`<${Shell} title="Tasks"><div class=${`portal ${state.value === "reconnecting" || state.value === "nats_down" ? "is-stale" : ""}`}>
    <div class="portal-side">
      <${TaskForm} agents=${agents} isLoaded=${agentTopic.isLoaded.value} onSubmitted=${open} />
      <${History} openId=${openId.value} onOpen=${open} />
    </div>
    <div class="portal-main">${openId.value ? html`<${OpenTask} key=${openId.value} taskId=${openId.value} />` : html`<${Nothing} />`}</div>
  </div><//>`;
}

agentTopic = follow("agents");
connect();
refresh();
render(html`<${Portal} />`, document.getElementById("app"));
