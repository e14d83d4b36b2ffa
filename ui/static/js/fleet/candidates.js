// Why this agent: what was expected of each candidate when an attempt was given away, drawn on one scale.
import { html } from "../html.js";
import { comparison, seconds } from "../format.js";
import { reasonWords } from "../story.js";
import { Shape } from "../states.js";

export function Candidates({ attempt }) {
  const { candidates, agent, serviceS } = attempt;
  const words = html`<p class="soft">${attempt.agent} was chosen: ${reasonWords(attempt.reason)}${attempt.model && attempt.model !== "rule"
    ? html` <span class="quiet">(model ${attempt.model})</span>` : ""}.</p>`;
  const out = html`<${PassedOver} found=${attempt.passedOver} />`;
  if (!candidates.length) return html`${words}${out}`;
  const end = Math.max(...candidates.map((c) => c.waiting_s + c.p90_s), serviceS || 0, 0.001) * 1.05;
  const share = (value) => `${((100 * value) / end).toFixed(2)}%`;
  const ordered = [...candidates].sort((a, b) => a.finish_s - b.finish_s);
  return html`${words}<div class="table-box"><table class="table candidates"><thead><tr><th>Candidate</th><th>Waits</th><th>Runs</th><th>Finishes after</th>
    <th><span class="hidden-text">Drawn</span></th></tr></thead>
    <tbody>${ordered.map((c) => html`<tr key=${c.agent_id} class=${c.agent_id === agent ? "is-chosen" : ""}>
      <td data-label="Candidate">${c.agent_id === agent && html`<${Shape} name="check" />`} ${c.agent_id}${c.agent_id === agent && html`<span class="hidden-text"> (chosen)</span>`}</td>
      <td data-label="Waits">${seconds(c.waiting_s)}</td>
      <td data-label="Runs">${seconds(c.p50_s)} <span class="quiet">to ${seconds(c.p90_s)}</span></td>
      <td data-label="Finishes after"><b>${seconds(c.finish_s)}</b></td>
      <td class="whisker-cell"><div class="whisker" aria-hidden="true">
        <i class="whisker-wait" style=${{ width: share(c.waiting_s) }}></i>
        <i class="whisker-run" style=${{ left: share(c.waiting_s), width: share(c.p50_s) }}></i>
        <i class="whisker-tail" style=${{ left: share(c.waiting_s + c.p50_s), width: share(Math.max(0, c.p90_s - c.p50_s)) }}></i>
        ${c.agent_id === agent && serviceS != null && html`<i class="whisker-actual" style=${{ left: share(c.waiting_s + serviceS) }}></i>`}
      </div></td></tr>`)}</tbody></table></div>${out}
    ${serviceS != null && attempt.p50 != null && html`<p class="quiet">It took ${seconds(serviceS)}: ${comparison(serviceS, attempt.p50)}. The upright line shows it.</p>`}`;
}

/** Who can do such tasks and was no candidate. */
function PassedOver({ found }) {
  if (!found) return null;
  const more = found.count - found.agents.length;
  return html`<p class="quiet">No candidates: ${found.agents.map((one) => `${one.agent_id} (${one.why.replace("_", " ")})`).join(", ")}${more > 0 ? ` and ${more} more` : ""}.</p>`;
}
