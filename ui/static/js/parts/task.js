// One task in full: state, times against the prediction, every attempt with its text, result, payload.
import { html, useEffect, useSignal } from "../html.js";
import { cancelTask } from "../api.js";
import { moment } from "../clock.js";
import { asText, bytes, clock, exactTime, onlyText, seconds, shortId } from "../format.js";
import { state as linkState } from "../link.js";
import { attemptsOf, outcomeWords } from "../story.js";
import { TaskBadge, isLive, isOver } from "../states.js";
import { Bullet } from "./bullet.js";
import { CopyButton } from "./command.js";
import { StreamedText } from "./stream.js";

export function CancelButton({ task }) {
  const asked = useSignal("");
  const problem = useSignal(null);
  useEffect(() => { asked.value = ""; problem.value = null; }, [task.task_id]);
  if (isOver(task.state)) return null;
  async function onClick() {
    asked.value = task.task_id;
    problem.value = null;
    try {
      await cancelTask(task.task_id);
    } catch (error) {
      problem.value = error;
      asked.value = "";
    }
  }
  const isAsked = asked.value === task.task_id;
  return html`<button class="button small danger" onClick=${onClick} disabled=${isAsked || linkState.value !== "live"}>
      ${isAsked ? "Cancelling" : "Cancel"}</button>
    ${problem.value && html`<span class="problem" role="alert">${problem.value.message}</span>`}`;
}

export function TaskHead({ task }) {
  return html`<header class="task-head">
    <div class="grow"><h2>${task.kind}</h2>
      <p class="quiet task-id"><code>${task.task_id}</code><${CopyButton} text=${task.task_id} what="the task id" /></p></div>
    <span role="status"><${TaskBadge} state=${task.state} /></span>
    <${CancelButton} task=${task} />
  </header>`;
}

/** On the page that one is on. */
const TaskLink = ({ id }) => html`<a class="task-link" href=${`?task=${encodeURIComponent(id)}`} title=${id}><code>${shortId(id)}</code></a> `;

const Fact = ({ name, children }) => html`<div class="fact"><dt>${name}</dt><dd>${children}</dd></div>`;

export function TaskFacts({ task }) {
  return html`<dl class="facts">
    <${Fact} name="Agent">${task.agent || "not yet"}<//>
    <${Fact} name="Attempts">${task.attempts || "none yet"}<//>
    <${Fact} name="Waited">${task.state === "queued" ? html`<${Since} at=${task.submitted_at} />` : seconds(task.waiting_s)}<//>
    <${Fact} name="Priority">${task.priority}<//>
    <${Fact} name="Submitted"><time datetime=${exactTime(task.submitted_at)}>${clock(task.submitted_at)}</time><//>
    ${task.deadline_at && html`<${Fact} name="Deadline">${clock(task.deadline_at)}<//>`}
    ${task.run_at != null && task.state === "scheduled" && html`<${Fact} name="Starts"><time datetime=${exactTime(task.run_at)} title=${exactTime(task.run_at)}>${clock(task.run_at)}</time><//>`}
    ${task.after && html`<${Fact} name="After">${task.after.map((id) => html`<${TaskLink} key=${id} id=${id} />`)}<//>`}
    ${task.after_group && html`<${Fact} name="After group">${task.after_group}<//>`}
    ${task.group && html`<${Fact} name="Group">${task.group}<//>`}
    ${task.limit_key && html`<${Fact} name="Limits of">${task.limit_key}<//>`}
    ${task.requeued_from && html`<${Fact} name="Does again"><${TaskLink} id=${task.requeued_from} /><//>`}
    ${task.sojourn_s != null && html`<${Fact} name="In all">${seconds(task.sojourn_s)}<//>`}
  </dl>`;
}

const Since = ({ at }) => html`${seconds(Math.max(0, moment.value - at))}`;

/** The bar of the newest attempt; it grows while the attempt runs. */
export function TaskBullet({ task }) {
  const isRunning = isLive(task.state);
  if (!isRunning && task.service_s == null) return null;
  const actual = isRunning ? Math.max(0, moment.value - (task.assigned_at || moment.value)) : task.service_s;
  return html`<${Bullet} actual=${actual} p50=${task.predicted_s} p90=${task.p90_s} isOver=${!isRunning} />`;
}

function Attempt({ told, text, isOnly }) {
  const isRunning = !told.outcome;
  const words = told.outcome ? outcomeWords(told.outcome) : "is running";
  const title = html`Attempt ${told.attempt} on <b>${told.agent}</b> ${words}${told.why ? `: ${told.why}` : ""}`;
  const body = html`
    ${text?.progress != null && isRunning && html`<progress max="1" value=${text.progress}>${Math.round(text.progress * 100)} %</progress>`}
    ${text?.text.length > 0 && html`<${StreamedText} key=${told.attempt} text=${text.text} isLive=${isRunning} />`}
    ${text?.cut && html`<p class="quiet">The text is longer than this page keeps.</p>`}`;
  if (!told.isShown) {
    return html`<details class="attempt" data-attempt=${told.attempt}><summary>${title}</summary>${body}</details>`;
  }
  return html`<section class="attempt" data-attempt=${told.attempt}>
    ${!isOnly && html`<p class="attempt-title">${title}</p>`}${body}</section>`;
}

export function Attempts({ task, events, texts }) {
  const told = attemptsOf(events);
  const byNumber = new Map(texts.map((t) => [t.attempt, t]));
  return html`<div class="attempts">${told.map((one) => html`<${Attempt} key=${one.attempt} told=${one}
    text=${byNumber.get(one.attempt)} isOnly=${told.length === 1} />`)}</div>`;
}

export function TaskError({ task }) {
  if (!task.error || task.state === "succeeded") return null;
  return html`<div class=${`outcome ${task.state === "dead" ? "is-bad" : ""}`} role=${task.state === "dead" ? "alert" : undefined}>
    <b>${task.error.code}</b> ${task.error.message}</div>`;
}

/** What is too large for a message and lies in the object store. */
const Large = ({ task, what, size }) => html`<p class="quiet" data-testid=${`large-${what}`}>A large ${what}:
  <a href=${`/api/v1/tasks/${task.task_id}/${what}`} download=${`${task.task_id}-${what}.json`}>${bytes(size)} as JSON</a></p>`;

/** The result, unless the streamed text says just the same. */
export function TaskResult({ task, texts }) {
  if (task.result_ref) return html`<${Large} task=${task} what="result" size=${task.result_ref.size} />`;
  if (task.state !== "succeeded" || task.result == null) return null;
  const only = onlyText(task.result);
  const streamed = String(texts.findLast((t) => t.agent === task.agent)?.text || "").trim();
  if (only !== null && !streamed) return html`<pre class="result" data-testid="result">${only}</pre>`;
  const isSame = only !== null && only.trim() === streamed;
  return html`<details class="fold" open=${!streamed}><summary>${isSame ? "Result as returned" : "Result"}</summary>
    <pre class="block" data-testid="result">${asText(task.result)}</pre></details>`;
}

export function TaskPayload({ task }) {
  if (task.payload_ref) return html`<${Large} task=${task} what="payload" size=${task.payload_ref.size} />`;
  return html`<details class="fold"><summary>What was asked</summary>
    <pre class="block">${asText(task.payload)}</pre></details>`;
}
