// What was typed under "More options" as fields of a submission; what was left alone says nothing. Pure.

const words = (text) => (text || "").split(/[\s,]+/).filter(Boolean);
const number = (text) => (String(text ?? "").trim() === "" ? undefined : Number(text));

export function wishes(typed) {
  const after = words(typed.after);
  const requires = words(typed.requires);
  const found = {
    priority: typed.priority === "5" ? undefined : number(typed.priority),
    deadline_s: number(typed.deadline),
    delay_s: number(typed.delay),
    timeout_s: number(typed.timeout),
    max_attempts: number(typed.tries),
    requires: requires.length ? requires : undefined,
    hedge: typed.hedge === "yes" ? true : undefined,
    limit_key: typed.limitKey?.trim() || undefined,
    after: after.length ? after : undefined,
    on_failure: after.length && typed.policy ? typed.policy : undefined,
  };
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined));
}

/** Whether an estimate means something: it is for a task that starts as soon as an agent is free. */
export const startsNow = (task) => task.delay_s === undefined && task.after === undefined;
