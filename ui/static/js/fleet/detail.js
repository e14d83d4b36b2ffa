// One task beside the fleet: its state, every attempt with its candidates, and the ledger's own story.
import { html, useEffect, useMemo, useRef } from "../html.js";
import { asText, clock, exactTime } from "../format.js";
import { follow, leave } from "../link.js";
import { attemptsOf, outcomeWords, sentence } from "../story.js";
import { Attempts, TaskBullet, TaskError, TaskFacts, TaskHead, TaskPayload, TaskResult } from "../parts/task.js";
import { Candidates } from "./candidates.js";

function Event({ event }) {
  return html`<li class=${`event ${event.ignored ? "is-ignored" : ""}`} data-type=${event.type} data-seq=${event.seq}>
    <details><summary><time datetime=${exactTime(event.at)}>${clock(event.at)}</time>
      <span>${sentence(event)}${event.ignored && html`<span class="quiet"> (ignored: ${event.ignored})</span>`}</span>
      <span class="quiet">#${event.seq}</span></summary>
      <p class="quiet event-subject"><code>${event.subject}</code></p><pre class="block">${asText(event.entry)}</pre></details></li>`;
}

const Why = ({ attempts }) => html`<section aria-label="Why this agent"><h3>Why this agent</h3>
  ${attempts.map((attempt, n) => html`<div class="why" key=${attempt.attempt}>
    ${attempts.length > 1 && html`<p class="why-title">Attempt ${attempt.attempt}${attempt.outcome ? ` ${outcomeWords(attempt.outcome)}` : ""}</p>`}
    <${Candidates} attempt=${attempt} /></div>`)}</section>`;

function Body({ task, store }) {
  const events = store.events.value;
  const texts = store.attempts.value;
  const attempts = attemptsOf(events);
  return html`<${TaskHead} task=${task} />
    <div class="task-stack">
      <${TaskFacts} task=${task} /><${TaskBullet} task=${task} />
      ${attempts.length > 0 && html`<${Why} attempts=${attempts} />`}
      ${attempts.length > 0 && html`<section aria-label="Attempts"><h3>${attempts.length > 1 ? "Attempts" : "Output"}</h3>
        <${Attempts} task=${task} events=${events} texts=${texts} /></section>`}
      <${TaskError} task=${task} /><${TaskResult} task=${task} texts=${texts} />
      <section aria-label="Story"><h3>Story</h3>${events.length
        ? html`<ol class="story">${events.map((event) => html`<${Event} key=${event.seq} event=${event} />`)}</ol>`
        : html`<p class="quiet">Nothing is written yet: the task waits in the queue.</p>`}</section>
      <${TaskPayload} task=${task} />
    </div>`;
}

export function Detail({ taskId, onClose }) {
  const store = useMemo(() => follow(`task:${taskId}`), [taskId]);
  const panel = useRef(null);
  useEffect(() => () => leave(`task:${taskId}`), [store]);
  useEffect(() => {
    const before = document.activeElement;
    panel.current.focus({ preventScroll: true });
    return () => before?.isConnected && before.focus({ preventScroll: true });
  }, []);
  const task = store.task.value;
  return html`<aside class="detail" ref=${panel} tabindex="-1" aria-label="Task detail" data-testid="detail" data-task=${taskId}>
    <div class="detail-top"><span class="quiet grow">Task</span>
      <button class="button small plain" onClick=${onClose}>Close <kbd>Esc</kbd></button></div>
    ${task === undefined && html`<div class="empty"><p>Reading the task</p></div>`}
    ${task === null && html`<div class="empty"><p>No task <code>${taskId}</code> is known to this fleet.</p></div>`}
    ${task && html`<${Body} task=${task} store=${store} />`}
  </aside>`;
}
