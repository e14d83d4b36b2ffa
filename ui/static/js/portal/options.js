// What a task may say beside its kind and payload, folded away until somebody wants it.
import { html } from "../html.js";
import { wishes } from "./wishes.js";

const NUMBERS = Array.from({ length: 10 }, (_, n) => [String(n), `${n}${n === 0 ? " (first)" : n === 5 ? " (usual)" : n === 9 ? " (last)" : ""}`]);
const DEADLINES = [["", "none"], ["30", "30 seconds"], ["120", "2 minutes"], ["600", "10 minutes"], ["3600", "1 hour"], ["86400", "1 day"]];
const STARTS = [["", "now"], ["60", "in 1 minute"], ["600", "in 10 minutes"], ["3600", "in 1 hour"], ["86400", "in 1 day"]];
const SECOND = [["", "wait for its agent"], ["yes", "a second agent may run it too"]];
const POLICIES = [["", "cancel this one"], ["run", "run all the same"]];

function Choice({ name, label, of, values }) {
  return html`<label class="field"><span>${label}</span><select name=${name} value=${values.value[name] ?? ""} onChange=${(e) => {
    values.value = { ...values.value, [name]: e.target.value }; }}>
    ${of.map(([value, words]) => html`<option value=${value}>${words}</option>`)}</select></label>`;
}

function Line({ name, label, type, values, placeholder }) {
  return html`<label class="field"><span>${label}</span><input name=${name} type=${type || "text"} min="1" step="any"
    value=${values.value[name] ?? ""} placeholder=${placeholder} spellcheck=${false}
    onInput=${(e) => { values.value = { ...values.value, [name]: e.target.value }; }} /></label>`;
}

export function Options({ values }) {
  const said = Object.keys(wishes(values.value)).length;
  return html`<details class="options"><summary>More options${said > 0 && html` <span class="quiet">${said} set</span>`}</summary><div class="option-grid">
    <${Choice} name="priority" label="Priority" of=${NUMBERS} values=${values} />
    <${Choice} name="deadline" label="Deadline" of=${DEADLINES} values=${values} />
    <${Choice} name="delay" label="Start" of=${STARTS} values=${values} />
    <${Line} name="timeout" label="Longest attempt, in s" type="number" placeholder="600" values=${values} />
    <${Line} name="tries" label="Tries in all" type="number" placeholder="3" values=${values} />
    <${Line} name="requires" label="Labels of the agent" placeholder="gpu, eu" values=${values} />
    <${Choice} name="hedge" label="If it is slow" of=${SECOND} values=${values} />
    <${Line} name="limitKey" label="Counts against the limits of" placeholder="a tenant" values=${values} />
    <${Line} name="after" label="After these tasks" placeholder="task ids" values=${values} />
    ${values.value.after?.trim() && html`<${Choice} name="policy" label="If one of them fails" of=${POLICIES} values=${values} />`}
  </div></details>`;
}
