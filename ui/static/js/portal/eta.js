// When the task in the form would finish if it were submitted now, asked again as the form and the queue change.
import { html, useEffect, useSignal } from "../html.js";
import { estimateTask } from "../api.js";
import { etaWords } from "./estimate.js";

const AFTER_MS = 400; // not at every key
const AGAIN_MS = 10_000;
const MOST_CHARS = 200_000; // a large payload is not sent again and again just to ask

export function Eta({ task }) {
  const found = useSignal(null);
  const text = task === null ? "" : JSON.stringify(task);
  const wanted = text.length > MOST_CHARS ? "" : text;
  useEffect(() => {
    let isOver = false;
    let timer = 0;
    async function ask() {
      const answer = document.hidden ? null : await estimateTask(wanted).catch(() => null);
      if (isOver) return;
      if (!document.hidden) found.value = answer;
      timer = setTimeout(ask, AGAIN_MS);
    }
    if (wanted) timer = setTimeout(ask, AFTER_MS);
    else found.value = null;
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }, [wanted]);
  if (!found.value) return null;
  const told = etaWords(found.value);
  return html`<p class=${told.isLate ? "problem" : "quiet"} data-testid="eta">${told.words}</p>`;
}
