// A task's ledger entries as attempts and sentences. Pure: what it is given is what the ledger holds.

const ENDS = new Set(["succeeded", "failed", "rejected", "lost", "timed_out", "cancelled", "expired", "dead"]);

const ENDS_TASK = new Set(["succeeded", "cancelled", "expired", "dead"]);

const REASONS = {
  model: "the model predicted the earliest finish",
  explore: "tried on purpose, to learn how fast this agent is",
  cold: "too little is known of this kind yet",
  only_candidate: "the only agent that could take it",
  fallback_no_router: "no router answered, so the built-in rule chose",
  fallback_timeout: "the router was late, so the built-in rule chose",
  fallback_bad_answer: "the router's answer made no sense, so the built-in rule chose",
};

export const reasonWords = (reason) => REASONS[reason] || reason || "";

/** The attempts in order: who, when, how predicted, how it ended. Ignored entries count for nothing. */
export function attemptsOf(events) {
  const attempts = [];
  for (const event of events.filter((e) => !e.ignored)) {
    const { entry, type } = event;
    if (type === "assigned" || type === "hedged") attempts.push(begun(event));
    else if (ENDS.has(type)) endOf(attempts, event, entry);
  }
  const shown = attempts.find((one) => one.outcome === "succeeded") || attempts.at(-1);
  if (shown) shown.isShown = true;
  return attempts;
}

/** An entry ends the attempt it names; one that ends the task ends whatever still ran beside. */
function endOf(attempts, event, entry) {
  const open = attempts.filter((attempt) => !attempt.outcome);
  const named = open.find((attempt) => attempt.attempt === entry.attempt);
  if (named) end(named, event, entry);
  if (!ENDS_TASK.has(event.type)) return;
  const beside = event.type === "succeeded" ? { ...event, type: "cancelled" } : event;
  const why = event.type === "succeeded" ? { why: `${entry.agent_id} was first` } : entry;
  for (const attempt of open.filter((one) => !one.outcome)) end(attempt, beside, why);
}

const begun = ({ at, entry }) => ({
  attempt: entry.attempt,
  agent: entry.agent_id,
  startedAt: at,
  endedAt: null,
  outcome: null,
  why: "",
  serviceS: null,
  waitingS: entry.waiting_s ?? null,
  p50: entry.p50_s ?? null,
  p90: entry.p90_s ?? null,
  reason: entry.reason,
  model: entry.model || "",
  candidates: entry.candidates || [],
  passedOver: entry.passed_over,
});

function end(attempt, event, entry) {
  if (attempt.outcome) return;
  attempt.outcome = event.type;
  attempt.endedAt = event.at;
  attempt.serviceS = entry.service_s ?? null;
  attempt.why = entry.error?.message || entry.why || entry.reason || "";
}

const OUTCOMES = {
  succeeded: "succeeded",
  failed: "failed",
  rejected: "was not taken",
  lost: "was lost",
  timed_out: "took too long",
  cancelled: "was cancelled",
  expired: "ran past its deadline",
  dead: "was given up",
};

export const outcomeWords = (outcome) => OUTCOMES[outcome] || outcome;

/** One entry as a sentence. */
export function sentence({ type, entry }) {
  switch (type) {
    case "assigned":
      return `Attempt ${entry.attempt} given to ${entry.agent_id}: ${reasonWords(entry.reason)}`;
    case "hedged":
      return `Attempt ${entry.attempt} given to ${entry.agent_id} as well: the first takes unusually long`;
    case "succeeded":
      return `${entry.agent_id} finished attempt ${entry.attempt}`;
    case "failed":
      return `Attempt ${entry.attempt} failed on ${entry.agent_id}: ${entry.error?.message || entry.error?.error_class || ""}`;
    case "rejected":
    case "lost":
    case "timed_out":
      return `Attempt ${entry.attempt} on ${entry.agent_id} ${outcomeWords(type)}${entry.why ? `: ${entry.why}` : ""}`;
    default:
      return `Task ${type}${entry.reason ? `: ${entry.reason}` : ""}`;
  }
}
