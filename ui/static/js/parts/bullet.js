// Predicted against actual as one bar: the fill is the actual time, the marks are what was predicted.
import { html } from "../html.js";
import { comparison, isLater, seconds } from "../format.js";

/** `actual` may still grow; without a prediction only the time is told. */
export function Bullet({ actual, p50, p90, isOver }) {
  if (p50 == null) return null;
  const end = Math.max(p90 || p50, actual || 0, 0.001) * 1.12;
  const share = (value) => `${Math.min(100, (100 * value) / end).toFixed(2)}%`;
  const isLate = isLater(actual, p90 || p50);
  const said = `predicted ${seconds(p50)}, at most ${seconds(p90)} nine times in ten; ${isOver ? "took" : "so far"} ${seconds(actual)}`;
  return html`<div class="bullet" role="img" aria-label=${said}>
    <div class="bullet-track">
      <div class="bullet-range" style=${{ left: share(p50), width: `calc(${share(p90 || p50)} - ${share(p50)})` }}></div>
      <div class=${`bullet-fill ${isLate ? "is-late" : ""}`} style=${{ width: share(actual || 0) }}></div>
      <div class="bullet-mark" style=${{ left: share(p50) }}></div>
    </div>
    <p class="bullet-words"><span>predicted <b>${seconds(p50)}</b>${p90 != null && html` <span class="quiet">(9 in 10 within ${seconds(p90)})</span>`}</span>
      <span>${isOver ? "took" : "running"} <b>${seconds(actual)}</b>${isOver && html` <span class="quiet">${comparison(actual, p50)}</span>`}</span></p>
  </div>`;
}
