// Throughput and latency of the last five minutes, drawn by uPlot; the same numbers as text for those who cannot see them.
import uPlot from "../../vendor/uplot.js";
import { html, useEffect, useRef } from "../html.js";
import { rate, seconds } from "../format.js";
import { serverNow } from "../clock.js";

const SPAN_S = 300;
const HEIGHT = 168;

/** The colour that a custom property means now, whatever the theme. */
function colour(name) {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

const faded = (rgb, share) => rgb.replace(/^rgb\((.*)\)$/, `rgb($1 / ${share})`).replaceAll(",", "");

const hoursMinutes = (at) =>
  new Date(at * 1000).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", hour12: false });

function options(width, series, show, least) {
  const ink = colour("--ink-faint");
  const grid = { stroke: colour("--line"), width: 1 };
  const font = "12px system-ui, sans-serif";
  return {
    width, height: HEIGHT, legend: { show: false }, padding: [8, 18, 0, 0],
    cursor: { y: false, points: { size: 7 } },
    scales: {
      x: { time: true, range: () => [serverNow() - SPAN_S, serverNow()] },
      y: { range: (_, low, high) => [0, Math.max(high || 0, least) * 1.15] },
    },
    axes: [
      { stroke: ink, grid: { show: false }, ticks: { show: false }, font, size: 26, space: 48,
        values: (_, splits) => splits.map(hoursMinutes) },
      { stroke: ink, grid, ticks: { show: false }, font, size: 58, space: 34, values: (_, splits) => splits.map(show) },
    ],
    series: [{}, ...series.map(({ name, tone, isFilled, dash }) => ({
      label: name, stroke: colour(tone), width: 1.8, dash, points: { show: false }, spanGaps: true,
      fill: isFilled ? faded(colour(tone), 0.14) : undefined,
    }))],
  };
}

export function Chart({ title, series, data, show, least, testid }) {
  const box = useRef(null);
  const plot = useRef(null);
  const latest = useRef(data);
  latest.current = data;

  useEffect(() => {
    const draw = () => {
      plot.current?.destroy();
      plot.current = new uPlot(options(box.current.clientWidth || 300, series, show, least), latest.current, box.current);
    };
    const resized = new ResizeObserver(() => plot.current?.setSize({ width: box.current.clientWidth, height: HEIGHT }));
    const dark = matchMedia("(prefers-color-scheme: dark)");
    draw();
    resized.observe(box.current);
    dark.addEventListener("change", draw);
    addEventListener("outrider-theme", draw);
    return () => {
      resized.disconnect();
      dark.removeEventListener("change", draw);
      removeEventListener("outrider-theme", draw);
      plot.current.destroy();
    };
  }, []);
  useEffect(() => { plot.current?.setData(data); }, [data]);

  const newest = series.map((s, n) => `${s.name} ${show(lastOf(data[n + 1]))}`).join(", ");
  return html`<figure class="card chart" data-testid=${testid} data-points=${data[0].length}>
    <figcaption><h2 class="grow">${title}</h2>${series.map((s, n) => html`<span class=${`key key-${n}`} data-tone=${s.tone}>
      <i aria-hidden="true"></i>${s.name} <b>${show(lastOf(data[n + 1]))}</b></span>`)}</figcaption>
    <div ref=${box} role="img" aria-label=${`${title}: now ${newest}`}></div></figure>`;
}

const lastOf = (values) => values.findLast((v) => v != null) ?? null;

/** Columns of the points in time order. */
export function columns(rows, names) {
  const points = [...rows.values()].filter((row) => row.finished !== undefined).sort((a, b) => a.at - b.at);
  return [points.map((p) => p.at), ...names.map((name) => points.map((p) => p[name] ?? null))];
}

const THROUGHPUT = [{ name: "finished", tone: "--accent", isFilled: true }];
const LATENCY = [{ name: "p50", tone: "--accent" }, { name: "p95", tone: "--warn", dash: [5, 3] }];

export const Throughput = ({ rows }) =>
  html`<${Chart} title="Throughput" series=${THROUGHPUT} data=${columns(rows, ["finished"])} show=${perSecond} least=${1} testid="chart-throughput" />`;
export const Latency = ({ rows }) =>
  html`<${Chart} title="Latency" series=${LATENCY} data=${columns(rows, ["p50_s", "p95_s"])} show=${seconds} least=${0.1} testid="chart-latency" />`;

const perSecond = (value) => `${rate(value)} /s`;
