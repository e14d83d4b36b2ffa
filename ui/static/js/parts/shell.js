// The frame of every page: name, pages, connection, theme, and what is wrong with the whole of it.
import { html, useSignal } from "../html.js";
import { age } from "../format.js";
import { second } from "../clock.js";
import { about, heardAt, state } from "../link.js";
import { Shape, linkShape } from "../states.js";
import { Command } from "./command.js";

const WORDS = {
  connecting: "Connecting",
  live: "Live",
  behind: "Catching up",
  reconnecting: "Reconnecting",
  nats_down: "NATS down",
};

function Pill() {
  const now = state.value;
  const silent = now === "live" || now === "connecting" ? "" : ` · ${age(second.value - heardAt.value)} old`;
  const isOld = now === "reconnecting";
  return html`<span class="pill" data-state=${now} title=${pillTitle(now)}>
    <${Shape} name=${linkShape(now)} isMoving=${isOld} /><span role="status">${WORDS[now]}</span>${isOld ? silent : ""}</span>`;
}

function pillTitle(now) {
  if (now === "live") return "What you see is what the fleet does now.";
  if (now === "nats_down") return "The bridge answers, but it has lost NATS: what you see is the last it knew.";
  return "The bridge does not answer; what you see is the last it said.";
}

const THEMES = ["auto", "light", "dark"];

function ThemeButton() {
  const theme = useSignal(localStorage.getItem("outrider.theme") || "auto");
  function next() {
    const chosen = THEMES[(THEMES.indexOf(theme.value) + 1) % THEMES.length];
    theme.value = chosen;
    localStorage.setItem("outrider.theme", chosen);
    if (chosen === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = chosen;
    dispatchEvent(new Event("outrider-theme"));
  }
  return html`<button class="icon-button" onClick=${next} aria-label=${`Theme: ${theme.value}`} title=${`Theme: ${theme.value}`}>
    <svg width="16" height="16" viewBox="0 0 16 16" aria-hidden="true">
      <circle cx="8" cy="8" r="6" fill="none" stroke="currentColor" stroke-width="1.5" />
      ${theme.value !== "light" && html`<path d="M8 2a6 6 0 0 1 0 12z" fill="currentColor" />`}
      ${theme.value === "dark" && html`<circle cx="8" cy="8" r="6" fill="currentColor" />`}
    </svg></button>`;
}

function Trouble() {
  if (state.value === "nats_down") {
    return html`<div class="notice" role="alert"><${Shape} name="bang" />
      <p><strong>The bridge has lost NATS.</strong> Tasks go on where they run; this page shows the last it knew and
      comes back by itself.</p></div>`;
  }
  if (state.value === "reconnecting" && second.value - heardAt.value > 3) {
    return html`<div class="notice" role="alert"><${Shape} name="bang" />
      <p><strong>The bridge does not answer.</strong> Shown is what it said ${age(second.value - heardAt.value)} ago.
      This page goes on by itself once it is back: <${Command} text="outrider ui" /></p></div>`;
  }
  return null;
}

const PAGES = [["/", "Tasks"], ["/admin", "Fleet"]];

export function Shell({ title, children }) {
  return html`
    <a class="skip" href="#main">Skip to content</a>
    <header class="shell-top">
      <a class="brand" href="/" aria-label="Outrider"><svg viewBox="0 0 32 32" aria-hidden="true">
        <rect width="32" height="32" rx="8" fill="#1f4fd8" />
        <circle cx="11" cy="16" r="5" fill="none" stroke="#fff" stroke-width="2.6" />
        <path d="M16 16h9m0 0-4-4m4 4-4 4" fill="none" stroke="#fff" stroke-width="2.6" stroke-linecap="round" stroke-linejoin="round" />
      </svg><span>Outrider</span></a>
      <nav class="shell-nav" aria-label="Pages">${PAGES.map(([path, name]) =>
        html`<a href=${path} aria-current=${location.pathname === path ? "page" : undefined}>${name}</a>`)}</nav>
      <span class="grow"></span>
      ${about.value.fleet && html`<span class="fleet-name">fleet ${about.value.fleet}</span>`}
      <${Pill} /><${ThemeButton} />
    </header>
    <main class="shell-main" id="main" tabindex="-1">
      <h1 class="hidden-text">${title}</h1>
      <${Trouble} />
      ${children}
    </main>`;
}
