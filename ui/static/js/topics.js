// What the bridge said of each topic: rows by key, or one task with its text. Pure but for the signals.
import { signal } from "./html.js";

/** Rows by key; `rows.value` is a new Map after each frame that changed something. */
export class Rows {
  constructor() {
    this.rows = signal(new Map());
    this.seq = null;
    this.isLoaded = signal(false);
  }

  since(epoch) {
    return this.seq == null ? undefined : { epoch, seq: this.seq };
  }

  /** Ask for everything next time. */
  losePlace() {
    this.seq = null;
  }

  /** Take a message; false when it does not follow what is here. */
  take(message) {
    if (message.op === "snapshot") {
      this.rows.value = new Map(Object.entries(message.rows));
    } else {
      if (message.from !== this.seq) return false;
      const rows = new Map(this.rows.peek());
      for (const [key, row] of Object.entries(message.set)) rows.set(key, row);
      for (const key of message.del) rows.delete(key);
      this.rows.value = rows;
    }
    this.seq = message.seq;
    this.isLoaded.value = true;
    return true;
  }
}

/** One task: its fields, its story and the text of every attempt, which only ever grows. */
export class TaskTopic {
  constructor() {
    this.task = signal(undefined);
    this.events = signal([]);
    this.attempts = signal([]);
    this.hasPlace = false;
  }

  losePlace() {
    this.hasPlace = false;
  }

  since(epoch) {
    if (!this.hasPlace) return undefined;
    const chars = {};
    for (const a of this.attempts.peek()) chars[a.attempt] = a.text.length;
    return { epoch, events: this.events.peek().length, chars };
  }

  take(message) {
    if (message.op === "snapshot") {
      this.events.value = [];
      this.attempts.value = [];
    }
    this.hasPlace = true;
    if (message.task !== undefined) this.task.value = message.task;
    if (message.events?.length) this.events.value = [...this.events.peek(), ...message.events];
    if (message.attempts?.length) this.attempts.value = grown(this.attempts.peek(), message.attempts);
    return true;
  }
}

/** The attempts with new text appended. Offsets count characters as Python does: code points, not UTF-16 units. */
export function grown(attempts, steps) {
  const byNumber = new Map(attempts.map((a) => [a.attempt, a]));
  for (const step of steps) {
    const before = byNumber.get(step.attempt);
    const text = new Grown(before && before.agent === step.agent ? before.text : null, step.text);
    byNumber.set(step.attempt, { ...step, text });
  }
  return [...byNumber.values()].sort((a, b) => a.attempt - b.attempt);
}

/** Text that grows without being copied: its pieces, and its length in code points. */
export class Grown {
  constructor(before, piece) {
    this.pieces = before ? before.pieces : [];
    if (piece) this.pieces.push(piece);
    this.length = (before ? before.length : 0) + codePoints(piece);
  }

  toString() {
    return this.pieces.join("");
  }
}

function codePoints(text) {
  let n = 0;
  for (const _ of text) n += 1;
  return n;
}
