// REST calls. A failure is an Error with the bridge's own words: message, hint, code.

export class Problem extends Error {
  constructor(body) {
    super(body.detail || body.title || "the request failed");
    this.code = body.code || "error";
    this.hint = body.hint || "";
  }
}

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(`/api/v1${path}`, options);
  } catch {
    throw new Problem({ code: "unreachable", detail: "the bridge does not answer", hint: "is `outrider ui` running?" });
  }
  if (response.status === 401) location.assign("/login");
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Problem(body);
  return body;
}

const json = { "Content-Type": "application/json" };

export const submitTask = (task, key) =>
  call("/tasks", { method: "POST", body: JSON.stringify(task), headers: { ...json, "Idempotency-Key": key } });

export const estimateTask = (body) => call("/estimate", { method: "POST", body, headers: json });

export const cancelTask = (taskId) => call(`/tasks/${taskId}/cancel`, { method: "POST" });

const post = (path, body) => call(path, { method: "POST", body: JSON.stringify(body), headers: json });

export const deadLetters = (limit) => call(`/dead?${new URLSearchParams({ limit })}`);

export const requeueLetter = (taskId) => post(`/dead/${taskId}/requeue`, {});

export const discardLetter = (taskId) => post(`/dead/${taskId}/discard`, {});

/** `what` is `{kind}` or `{all: true}`. */
export const pause = (what) => post("/pause", what);

export const resume = (what) => post("/resume", what);

export const getTask = (taskId) => call(`/tasks/${taskId}`);

export const listTasks = (query) => call(`/tasks?${new URLSearchParams(query)}`);
