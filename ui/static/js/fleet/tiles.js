// The numbers at the top of the fleet page.
import { html } from "../html.js";
import { count, rate, seconds } from "../format.js";

const Tile = ({ name, value, note, testid }) => html`<div class="tile" data-testid=${testid}>
  <dt>${name}</dt><dd>${value}</dd>${note && html`<dd class="tile-note quiet">${note}</dd>`}</div>`;

export function ratioWords(ratio) {
  if (ratio == null) return ["–", "no predicted task ended in the last minute"];
  const percent = Math.round((ratio - 1) * 100);
  if (Math.abs(percent) < 3) return ["±0 %", "actual over predicted, median of a minute"];
  const words = ratio >= 2 ? `${ratio.toFixed(1)}×` : `${percent > 0 ? "+" : "−"}${Math.abs(percent)} %`;
  return [words, "actual over predicted, median of a minute"];
}

/** How many attempts stayed under their predicted p90: nine in ten should. */
export function coverageWords(calibration) {
  if (!calibration || calibration.p90_coverage == null) return "";
  return `; ${Math.round(calibration.p90_coverage * 100)} % of ${count(calibration.attempts)} within p90`;
}

export function Tiles({ stats }) {
  const s = stats || {};
  const [ratio, ratioNote] = ratioWords(s.ratio_p50);
  return html`<dl class="tiles" aria-label="Now">
    <${Tile} name="Finished" value=${stats ? html`${rate(s.finished_per_s)}<small> /s</small>` : "–"} note="mean of ten seconds" testid="tile-finished" />
    <${Tile} name="Waiting" value=${count(s.waiting)} note="in the queue, all kinds" testid="tile-waiting" />
    <${Tile} name="In flight" value=${html`${count(s.in_flight)}<small> of ${count(s.slots)}</small>`} note="slots in use" testid="tile-in-flight" />
    <${Tile} name="Latency" value=${seconds(s.p50_s)} note=${s.p95_s == null ? "no task ended in the last minute" : `p95 ${seconds(s.p95_s)}, submit to end`} testid="tile-latency" />
    <${Tile} name="Prediction" value=${ratio} note=${ratioNote + coverageWords(s.calibration)} testid="tile-prediction" />
    <${Tile} name="Agents" value=${html`${count(s.agents_online)}<small> of ${count(s.agents)}</small>`} note="online" testid="tile-agents" />
  </dl>`;
}
