// The tasks submitted from this browser: ids kept here, what became of them asked from the bridge.
import { computed, signal } from "../html.js";
import { getTask } from "../api.js";
import { isOver } from "../states.js";

const KEY = "outrider.tasks";
const MOST = 60;
const KEPT = ["task_id", "kind", "state", "agent", "attempts", "sojourn_s", "service_s", "predicted_s", "submitted_at"];

function stored() {
  try {
    const list = JSON.parse(localStorage.getItem(KEY) || "[]");
    return Array.isArray(list) ? list.filter((item) => typeof item?.task_id === "string") : [];
  } catch {
    return [];
  }
}

/** Newest first. */
export const mine = signal(stored());
export const unfinished = computed(() => mine.value.filter((item) => !isOver(item.state)).map((item) => item.task_id));

function keep(list) {
  mine.value = list.slice(0, MOST);
  localStorage.setItem(KEY, JSON.stringify(mine.value));
}

const brief = (task) => Object.fromEntries(KEPT.map((name) => [name, task[name] ?? null]));

export function remember(task, title) {
  keep([{ ...brief(task), title }, ...mine.peek().filter((item) => item.task_id !== task.task_id)]);
}

export function forget(taskId) {
  keep(mine.peek().filter((item) => item.task_id !== taskId));
}

/** Take news of a task, if it is one of these. */
export function learn(task) {
  if (!task) return;
  const list = mine.peek();
  const at = list.findIndex((item) => item.task_id === task.task_id);
  if (at < 0) return;
  const news = { ...list[at], ...brief(task) };
  if (JSON.stringify(news) === JSON.stringify(list[at])) return;
  keep(list.map((item, n) => (n === at ? news : item)));
}

/** Ask what became of those that were not over when this browser last looked. */
export async function refresh() {
  for (const taskId of unfinished.peek()) {
    try {
      learn(await getTask(taskId));
    } catch (error) {
      if (error.code === "not_found") learn({ ...mine.peek().find((i) => i.task_id === taskId), state: "forgotten" });
    }
  }
}

// Another tab may submit too.
addEventListener("storage", (event) => {
  if (event.key === KEY) mine.value = stored();
});
