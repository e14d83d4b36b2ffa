// The newest tasks. Rows never move under the pointer: while it is over the list, new ones are counted, not shown.
import { html, useRef, useSignal } from "../html.js";
import { listTasks } from "../api.js";
import { moment, second } from "../clock.js";
import { age, exactTime, isLater, plural, seconds, shortId } from "../format.js";
import { TaskBadge, isLive, isOver } from "../states.js";
import { Command } from "../parts/command.js";

const TABS = [
  ["all", "All", () => true],
  ["live", "Live", (t) => !isOver(t.state)],
  ["done", "Succeeded", (t) => t.state === "succeeded"],
  ["failed", "Not succeeded", (t) => isOver(t.state) && t.state !== "succeeded"],
];
const FIRST_SHOWN = 25;

const Running = ({ since }) => html`<span class="soft">${seconds(Math.max(0, moment.value - since))}</span>`;

function Actual({ task }) {
  if (isLive(task.state)) return html`<${Running} since=${task.assigned_at} />`;
  if (task.service_s == null) return "–";
  const isLate = isLater(task.service_s, task.p90_s);
  return html`<span class=${isLate ? "is-late" : ""} title=${isLate ? "longer than nine in ten were predicted" : ""}>${seconds(task.service_s)}</span>`;
}

function Row({ task, isOpen, onOpen }) {
  const at = task.finished_at || task.assigned_at || task.submitted_at;
  return html`<tr data-task=${task.task_id} data-state=${task.state} class=${`is-link ${isOpen ? "is-open" : ""}`} onClick=${() => onOpen(task.task_id)}>
    <td data-label="State"><${TaskBadge} state=${task.state} /></td>
    <td data-label="Task"><a href=${`/admin?task=${task.task_id}`} class="task-link" onClick=${(e) => e.preventDefault()}><code>${shortId(task.task_id)}</code></a> ${task.kind}</td>
    <td data-label="Agent">${task.agent || "–"}</td>
    <td data-label="Attempts">${task.attempts}${task.attempts > 1 ? html`<span class="quiet"> tries</span>` : ""}</td>
    <td data-label="Waited">${seconds(task.waiting_s)}</td>
    <td data-label="Predicted">${seconds(task.predicted_s)}</td>
    <td data-label="Actual"><${Actual} task=${task} /></td>
    <td data-label="Chosen by">${(task.reason || "–").replaceAll("_", " ")}</td>
    <td data-label="Age"><time datetime=${exactTime(at)} title=${exactTime(at)}>${age(second.value - at)}</time></td>
  </tr>`;
}

const newestFirst = (a, b) => b.first_seq - a.first_seq || b.submitted_at - a.submitted_at;

export function Tasks({ rows, isLoaded, openId, onOpen }) {
  const tab = useSignal("all");
  const kind = useSignal("");
  const isHeld = useSignal(false);
  const older = useSignal([]);
  const most = useSignal(FIRST_SHOWN);
  const cursor = useSignal(undefined);
  const shown = useRef([]);

  const known = new Map([...older.value.map((t) => [t.task_id, t]), ...rows]);
  const fits = TABS.find(([id]) => id === tab.value)[2];
  const wanted = [...known.values()].filter((t) => fits(t) && (!kind.value || t.kind === kind.value)).sort(newestFirst);
  const fresh = wanted.map((t) => t.task_id);
  if (!isHeld.value) shown.current = fresh;
  const hidden = isHeld.value ? fresh.filter((id) => !shown.current.includes(id)).length : 0;
  const list = shown.current.map((id) => known.get(id)).filter(Boolean).slice(0, most.value);
  const kinds = [...new Set([...known.values()].map((t) => t.kind))].sort();

  async function more() {
    most.value += 4 * FIRST_SHOWN;
    if (shown.current.length >= most.value) return;
    const query = { limit: 100, ...(kind.value && { kind: kind.value }) };
    const oldest = list.at(-1)?.first_seq;
    query.cursor = cursor.value || (oldest ? `k${oldest}` : "");
    if (!query.cursor) return;
    const page = await listTasks(query).catch(() => null);
    if (!page) return;
    older.value = [...older.value, ...page.tasks.map((t) => ({ first_seq: 0, ...t }))];
    cursor.value = page.next;
  }
  const show = (change) => () => { change(); isHeld.value = false; };

  return html`<section class="card" aria-label="Tasks" data-testid="tasks">
    <header><h2>Tasks</h2>
      <div class="tabs" role="group" aria-label="Which tasks">${TABS.map(([id, name]) => html`<button class="tab" aria-pressed=${tab.value === id}
        onClick=${show(() => { tab.value = id; })}>${name}</button>`)}</div>
      <span class="grow"></span>
      ${hidden > 0 && html`<button class="button small" onClick=${show(() => {})}>${hidden} new</button>`}
      <label><span class="hidden-text">Kind</span><select class="small-select" value=${kind.value} onChange=${(e) => { kind.value = e.target.value; cursor.value = undefined; older.value = []; }}>
        <option value="">all kinds</option>${kinds.map((name) => html`<option value=${name}>${name}</option>`)}</select></label></header>
    ${list.length === 0 && html`<div class="empty">${!isLoaded ? html`<p>Reading the ledger</p>`
      : known.size ? html`<p>None of the newest ${plural(known.size, "task")} match.</p>`
        : html`<p>No task has run yet.</p><p><${Command} text=${"outrider submit echo --data '\"hello\"'"} /></p>`}</div>`}
    ${list.length > 0 && html`<div class="table-box" onMouseEnter=${() => { isHeld.value = true; }} onMouseLeave=${() => { isHeld.value = false; }}
      onFocusIn=${(e) => { isHeld.value = e.target.matches(":focus-visible"); }} onFocusOut=${() => { isHeld.value = false; }}><table class="table tasks">
      <thead><tr><th>State</th><th>Task</th><th>Agent</th><th>Attempts</th><th>Waited</th><th>Predicted</th><th>Actual</th><th>Chosen by</th><th>Age</th></tr></thead>
      <tbody>${list.map((task) => html`<${Row} key=${task.task_id} task=${task} isOpen=${task.task_id === openId} onOpen=${onOpen} />`)}</tbody></table></div>
      <div class="table-foot">${(cursor.value !== null || shown.current.length > most.value) && html`<button class="button small" onClick=${more}>Older tasks</button>`}</div>`}
  </section>`;
}
