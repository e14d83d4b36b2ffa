// Dead letters: what died, why, and the two things that can be done with it.
import { html, useEffect, useSignal } from "../html.js";
import { deadLetters, discardLetter, requeueLetter } from "../api.js";
import { second } from "../clock.js";
import { age, count, exactTime, shortId } from "../format.js";
import { state as linkState } from "../link.js";

const MOST_SHOWN = 50;

function Letter({ letter, onOpen, onDone }) {
  const doing = useSignal("");
  const problem = useSignal(null);
  const act = (name, call) => async () => {
    doing.value = name;
    problem.value = null;
    try {
      const done = await call(letter.task_id);
      onDone(letter, done.requeued_as);
    } catch (error) {
      problem.value = error;
    }
    doing.value = "";
  };
  const isOff = doing.value !== "" || linkState.value !== "live";
  return html`<tr data-letter=${letter.task_id}>
    <td data-label="Task"><a href=${`/admin?task=${letter.task_id}`} class="task-link" onClick=${(e) => { e.preventDefault(); onOpen(letter.task_id); }}>
      <code>${shortId(letter.task_id)}</code></a> ${letter.kind}</td>
    <td data-label="Error"><b>${letter.error_class}</b> <span class="quiet letter-reason">${letter.reason}</span></td>
    <td data-label="Attempts">${letter.attempts}</td>
    <td data-label="Died"><time datetime=${exactTime(letter.died_at)} title=${exactTime(letter.died_at)}>${age(second.value - letter.died_at)} ago</time></td>
    <td data-label="What to do" class="letter-acts">
      <button class="button small" disabled=${isOff} onClick=${act("requeue", requeueLetter)}>Requeue</button>
      <button class="button small danger" disabled=${isOff} onClick=${act("discard", discardLetter)}>Discard</button>
      ${problem.value && html`<span class="problem" role="alert">${problem.value.message}</span>`}</td>
  </tr>`;
}

/** `dead` names the dead tasks that the page knows of; a new one among them has the list read anew. */
export function Letters({ dead, onOpen }) {
  const list = useSignal(null);
  const problem = useSignal(null);
  const done = useSignal(null);
  async function load() {
    try {
      list.value = await deadLetters(MOST_SHOWN);
      problem.value = null;
    } catch (error) {
      problem.value = error;
    }
  }
  useEffect(() => { if (dead) load(); }, [dead]);
  function onDone(letter, requeuedAs) {
    done.value = { letter, requeuedAs };
    load();
  }
  const letters = list.value?.letters || [];
  return html`<section class="card" aria-label="Dead letters" data-testid="letters">
    <header><h2 class="grow">Dead letters</h2>${list.value && html`<span class="quiet">${count(list.value.matched)}</span>`}
      <button class="button small plain" disabled=${linkState.value !== "live"} onClick=${load}>${list.value ? "Read again" : "Look for them"}</button></header>
    ${problem.value && html`<p class="table-foot problem" role="alert">${problem.value.message}</p>`}
    ${done.value && html`<p class="table-foot quiet" role="status">${done.value.requeuedAs
      ? html`Requeued as <a href=${`/admin?task=${done.value.requeuedAs}`} onClick=${(e) => { e.preventDefault(); onOpen(done.value.requeuedAs); }}><code>${shortId(done.value.requeuedAs)}</code></a>.`
      : html`Discarded <code>${shortId(done.value.letter.task_id)}</code>.`}</p>`}
    ${letters.length === 0 && html`<div class="empty"><p>${list.value ? "There are none." : "None among the newest tasks."}</p></div>`}
    ${letters.length > 0 && html`<div class="table-box"><table class="table">
      <thead><tr><th>Task</th><th>Error</th><th>Attempts</th><th>Died</th><th>What to do</th></tr></thead>
      <tbody>${letters.map((letter) => html`<${Letter} key=${letter.dead_seq} letter=${letter} onOpen=${onOpen} onDone=${onDone} />`)}</tbody></table></div>
      ${list.value.matched > letters.length && html`<p class="table-foot quiet">${count(list.value.matched - letters.length)} more: outrider dead ls</p>`}`}
  </section>`;
}
