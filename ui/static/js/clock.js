// The server's clock as seen from here, and signals that tick while somebody looks.
import { signal } from "./html.js";

let offset = 0;

/** Take the server's time from a message. */
export function setServerTime(now) {
  offset = now - Date.now() / 1000;
}

/** Seconds since 1970 by the server's clock. */
export const serverNow = () => Date.now() / 1000 + offset;

/** Moves once a second. */
export const second = signal(serverNow());
/** Moves five times a second, for running times. */
export const moment = signal(serverNow());

setInterval(() => {
  if (document.hidden) return;
  const now = serverNow();
  moment.value = now;
  if (Math.floor(now) !== Math.floor(second.peek())) second.value = now;
}, 200);
