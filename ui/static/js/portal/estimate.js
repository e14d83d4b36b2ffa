// An estimate in words. Pure.
import { plural, seconds } from "../format.js";

/** What to say of an estimate, and whether it is bad news. */
export function etaWords(found) {
  if (found.p50_s == null) return { isLate: true, words: `When it would finish cannot be told: ${found.warning}.` };
  const ahead = found.ahead ? `, behind ${plural(found.ahead, "task")}` : "";
  const words = `Submitted now it finishes in about ${seconds(found.p50_s)}, nine times in ten within ${seconds(found.p90_s)}${ahead}.`;
  if (found.can_meet === "no") return { isLate: true, words: `${words} The deadline cannot be met.` };
  if (found.can_meet === "unlikely") return { isLate: true, words: `${words} The deadline will hardly be met.` };
  return { isLate: false, words: found.warning ? `${words} It waits longer: ${found.warning}.` : words };
}
