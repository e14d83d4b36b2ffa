// The form that submits: a kind, its fields, a few options. Says beforehand who could do the task.
import { html, useSignal } from "../html.js";
import { submitTask } from "../api.js";
import { plural, seconds } from "../format.js";
import { state as linkState } from "../link.js";
import { Command } from "../parts/command.js";
import { Eta } from "./eta.js";
import { formOf, hasForm, titleOf } from "./kinds.js";
import { remember } from "./mine.js";
import { Options } from "./options.js";
import { startsNow, wishes } from "./wishes.js";

const WELL_KNOWN = ["chat", "summarize", "classify", "extract", "echo", "sleep"];

function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}

const rank = (kind) => (WELL_KNOWN.indexOf(kind) + 1 || 99);

export function kindsOf(agents) {
  const kinds = new Set(agents.flatMap((agent) => agent.kinds));
  return [...kinds].sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
}

/** Who could do a kind now, as a sentence. */
export function outlook(kind, agents) {
  const able = agents.filter((a) => a.kinds.includes(kind) && (a.state === "online" || a.state === "cooling_down"));
  if (!able.length) return { isNobody: true, words: "Nobody is online for this kind: the task waits until an agent joins." };
  const free = able.reduce((sum, a) => sum + Math.max(0, a.slots - a.in_flight), 0);
  const means = able.map((a) => a.mean_s?.[kind]).filter((v) => v != null);
  const usual = means.length ? ` Recently about ${seconds(Math.min(...means))}.` : "";
  return { words: `${plural(able.length, "agent")} can do this, ${plural(free, "free slot")} now.${usual}` };
}

function Field({ field, values }) {
  const value = values.value[field.name] ?? field.start ?? "";
  const onInput = (event) => { values.value = { ...values.value, [field.name]: event.target.value }; };
  const shared = { name: field.name, value, onInput, required: field.required, placeholder: field.placeholder };
  return html`<label class="field"><span>${field.label}</span>
    ${field.rows
      ? html`<textarea ...${shared} rows=${field.rows} class=${field.code ? "code" : ""} spellcheck=${!field.code}></textarea>`
      : html`<input ...${shared} type=${field.type || "text"} min="0" step="any" />`}</label>`;
}

function KindChips({ kinds, chosen, onChoose }) {
  return html`<fieldset class="kinds"><legend>What kind of task?</legend><div class="chips">${kinds.map((name) => html`
    <label class="chip" key=${name}><input type="radio" name="kind" value=${name} checked=${chosen === name}
      onChange=${() => onChoose(name)} /><span>${name}</span></label>`)}</div></fieldset>`;
}

export function TaskForm({ agents, isLoaded, onSubmitted }) {
  const kinds = kindsOf(agents);
  const chosen = useSignal(localStorage.getItem("outrider.kind") || "");
  const name = kinds.includes(chosen.value) ? chosen.value : kinds[0];
  const values = useSignal({});
  const isRaw = useSignal(false);
  const options = useSignal({ priority: "5" });
  const problem = useSignal(null);
  const isBusy = useSignal(false);
  const key = useSignal(newKey());

  if (!kinds.length) return html`<${NoKinds} isLoaded=${isLoaded} />`;
  const form = formOf(name, isRaw.value);
  const asked = () => Object.fromEntries(form.fields.map((f) => [f.name, values.value[f.name] ?? f.start ?? ""]));

  function wanted() {
    return { kind: name, payload: form.pack(asked()), ...wishes(options.value) };
  }

  /** Nothing as long as the form does not make a task yet, or one that starts later. */
  function wantedSoFar() {
    try {
      const task = wanted();
      return startsNow(task) ? task : null;
    } catch {
      return null;
    }
  }

  async function onSubmit(event) {
    event.preventDefault();
    if (isBusy.value) return;
    problem.value = null;
    isBusy.value = true;
    try {
      const task = wanted();
      const accepted = await submitTask(task, key.value);
      key.value = newKey();
      remember(accepted, titleOf(task.payload));
      onSubmitted(accepted.task_id);
    } catch (error) {
      problem.value = error;
      // The key stays after an unsure outcome: the same press again cannot make a second task.
      if (error.code && error.code !== "unreachable" && error.code !== "outcome_unknown") key.value = newKey();
    } finally {
      isBusy.value = false;
    }
  }

  function onChoose(kind) {
    chosen.value = kind;
    localStorage.setItem("outrider.kind", kind);
  }

  function onKeyDown(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) event.currentTarget.requestSubmit();
  }

  const now = outlook(name, agents);
  return html`<form class="card task-form" onSubmit=${onSubmit} onKeyDown=${onKeyDown} aria-label="New task">
    <header><h2 class="grow">New task</h2>
      ${hasForm(name) && html`<label class="check"><input type="checkbox" checked=${isRaw.value}
        onChange=${(e) => { isRaw.value = e.target.checked; }} /> JSON</label>`}</header>
    <div class="card-body form-stack">
      <${KindChips} kinds=${kinds} chosen=${name} onChoose=${onChoose} />
      ${form.fields.map((field) => html`<${Field} key=${`${name}.${field.name}`} field=${field} values=${values} />`)}
      <${Options} values=${options} />
      <p class=${now.isNobody ? "problem" : "quiet"}>${now.words}</p>
      ${!now.isNobody && html`<${Eta} task=${wantedSoFar()} />`}
      ${problem.value && html`<p class="problem" role="alert"><span>${problem.value.message}
        ${problem.value.hint && html` <span class="hint">${problem.value.hint}</span>`}</span></p>`}
      <button class="button primary" type="submit" disabled=${isBusy.value || linkState.value === "nats_down"}>
        ${isBusy.value ? "Submitting" : "Submit task"}</button>
    </div>
  </form>`;
}

function NoKinds({ isLoaded }) {
  if (!isLoaded) return html`<div class="card task-form is-waiting"><div class="empty"><p>Asking the fleet what it can do</p></div></div>`;
  return html`<div class="card task-form"><header><h2>New task</h2></header><div class="empty">
    <p>No agent has joined this fleet yet, so there is nothing it can do.</p>
    <p><${Command} text="outrider agent --kinds echo,sleep" /></p>
  </div></div>`;
}
