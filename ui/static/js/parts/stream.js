// Text that grows: pieces are appended to text nodes, so nothing that is shown is ever drawn again.
// It is text and nothing else: no markup of an answer is ever interpreted.
import { html, useEffect, useRef, useSignal } from "../html.js";

const NODE_CHARS = 4000;
const NEAR_END_PX = 40;

export function StreamedText({ text, isLive }) {
  const box = useRef(null);
  const shown = useRef(0);
  const source = useRef(null);
  const follows = useRef(true);
  const isAway = useSignal(false);

  useEffect(() => {
    const element = box.current;
    if (source.current !== text.pieces) {
      element.querySelector("pre").textContent = "";
      shown.current = 0;
      source.current = text.pieces;
    }
    append(element.querySelector("pre"), text.pieces, shown);
    if (follows.current) element.scrollTop = element.scrollHeight;
    else isAway.value = isLive;
  }, [text]);

  function onScroll() {
    const element = box.current;
    follows.current = element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_END_PX;
    if (follows.current) isAway.value = false;
  }

  function toEnd() {
    follows.current = true;
    isAway.value = false;
    box.current.scrollTop = box.current.scrollHeight;
  }

  return html`<div class="stream">
    <div class="stream-box" ref=${box} onScroll=${onScroll} tabindex="0" role="region" aria-label="Answer">
      <pre class="stream-text" data-testid="answer"></pre>${isLive && html`<span class="caret" aria-hidden="true"></span>`}
    </div>
    ${isAway.value && html`<button class="button small stream-end" onClick=${toEnd}>Newest text</button>`}
  </div>`;
}

function append(pre, pieces, shown) {
  if (shown.current >= pieces.length) return;
  const fresh = pieces.slice(shown.current).join("");
  shown.current = pieces.length;
  const last = pre.lastChild;
  if (last && last.length < NODE_CHARS) last.appendData(fresh);
  else pre.append(document.createTextNode(fresh));
}
