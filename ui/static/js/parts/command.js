// A command to type, with a button that copies it; copying works on plain HTTP too.
import { html, useSignal } from "../html.js";

function copy(text) {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
  return Promise.resolve();
}

export function CopyButton({ text, what }) {
  const isCopied = useSignal(false);
  function onClick() {
    copy(text).then(() => {
      isCopied.value = true;
      setTimeout(() => { isCopied.value = false; }, 1500);
    });
  }
  return html`<button type="button" class="button small plain" onClick=${onClick} aria-label=${`Copy ${what}`}>
    ${isCopied.value ? "Copied" : "Copy"}</button>`;
}

export const Command = ({ text }) =>
  html`<span class="command"><code>${text}</code><${CopyButton} text=${text} what="the command" /></span>`;
