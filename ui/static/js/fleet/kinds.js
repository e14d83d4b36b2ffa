// Every kind of the fleet, whether it is paused, and the switch for it.
import { html, useSignal } from "../html.js";
import { pause, resume } from "../api.js";
import { state as linkState } from "../link.js";

export function Kinds({ stats }) {
  const problem = useSignal(null);
  const asked = useSignal("");
  const kinds = stats?.kinds || [];
  const paused = new Set(stats?.paused || []);
  const act = (call, what, name) => async () => {
    asked.value = name;
    problem.value = null;
    try {
      const now = await call(what);
      if (what.kind && call === resume && now.all) {
        problem.value = { message: `All kinds are paused, ${what.kind} with them: Resume all ends that.` };
      }
    } catch (error) {
      problem.value = error;
    }
    asked.value = "";
  };
  const isOff = (name) => asked.value === name || linkState.value !== "live";
  if (kinds.length === 0) return null;
  return html`<section class="card" aria-label="Kinds" data-testid="kinds">
    <header><h2 class="grow">Kinds</h2>
      <button class="button small" disabled=${isOff("*")} onClick=${act(pause, { all: true }, "*")}>Pause all</button>
      <button class="button small" disabled=${isOff("*")} onClick=${act(resume, { all: true }, "*")}>Resume all</button></header>
    ${problem.value && html`<p class="table-foot problem" role="alert">${problem.value.message}</p>`}
    <ul class="kind-list">${kinds.map((kind) => html`<li key=${kind} data-kind=${kind} data-paused=${paused.has(kind)}>
      <b>${kind}</b> ${paused.has(kind) && html`<span class="quiet">paused: its tasks wait, what runs goes on</span>`}
      <button class="button small" disabled=${isOff(kind)} onClick=${act(paused.has(kind) ? resume : pause, { kind }, kind)}>
        ${paused.has(kind) ? "Resume" : "Pause"}</button></li>`)}</ul>
  </section>`;
}
