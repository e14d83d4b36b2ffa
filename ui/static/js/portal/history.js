// The list of tasks submitted from this browser, with what became of each.
import { html, useEffect } from "../html.js";
import { age, seconds } from "../format.js";
import { second } from "../clock.js";
import { follow, leave } from "../link.js";
import { TaskBadge, isOver } from "../states.js";
import { forget, learn, mine, unfinished } from "./mine.js";

const MOST_FOLLOWED = 12;

/** Follows one unfinished task and shows nothing: its news go to the list. */
function Follower({ taskId }) {
  useEffect(() => {
    const store = follow(`task:${taskId}`);
    const stop = store.task.subscribe((task) => task && learn(task));
    return () => { stop(); leave(`task:${taskId}`); };
  }, [taskId]);
  return null;
}

function Item({ item, isOpen, onOpen }) {
  const when = item.submitted_at ? age(second.value - item.submitted_at) : "";
  const took = item.sojourn_s != null ? ` · took ${seconds(item.sojourn_s)}` : "";
  return html`<li class=${`history-item ${isOpen ? "is-open" : ""}`}>
    <a href=${`/?task=${item.task_id}`} aria-current=${isOpen ? "true" : undefined} data-task=${item.task_id}
      onClick=${(event) => { if (event.metaKey || event.ctrlKey || event.shiftKey) return; event.preventDefault(); onOpen(item.task_id); }}>
      <span class="history-title cut">${item.title || item.kind}</span>
      <span class="history-meta quiet">${item.kind}${when && ` · ${when}${when === "now" ? "" : " ago"}`}${took}</span>
      <${TaskBadge} state=${item.state} /></a>
    ${isOver(item.state) || item.state === "forgotten"
      ? html`<button class="icon-button history-forget" aria-label="Remove from this list" title="Remove from this list"
          onClick=${() => forget(item.task_id)}><svg width="12" height="12" viewBox="0 0 12 12" aria-hidden="true">
          <path d="m2.8 2.8 6.4 6.4m0-6.4-6.4 6.4" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" /></svg></button>`
      : null}</li>`;
}

export function History({ openId, onOpen }) {
  const list = mine.value;
  const followed = unfinished.value.filter((id) => id !== openId).slice(0, MOST_FOLLOWED);
  return html`<section class="card history" aria-label="Your tasks">
    <header><h2 class="grow">Your tasks</h2><span class="quiet">${list.length ? "from this browser" : ""}</span></header>
    ${followed.map((id) => html`<${Follower} key=${id} taskId=${id} />`)}
    ${list.length
      ? html`<ul class="history-list">${list.map((item) => html`<${Item} key=${item.task_id} item=${item}
          isOpen=${item.task_id === openId} onOpen=${onOpen} />`)}</ul>`
      : html`<div class="empty"><p>Nothing submitted from this browser yet.</p></div>`}
  </section>`;
}
