// The fields that each well-known kind asks for, and the payload they make. Pure.

const prompt = { name: "prompt", label: "Message", rows: 4, required: true, placeholder: "Ask anything" };
const text = { name: "text", label: "Text", rows: 6, required: true, placeholder: "Paste the text here" };

/** A field without `rows` is one line; `pack` turns what was typed into the payload. */
const FORMS = {
  chat: {
    fields: [prompt, { name: "system", label: "Instructions (optional)", rows: 2 }],
    pack: ({ prompt, system }) => (system?.trim() ? { prompt, system } : { prompt }),
  },
  summarize: { fields: [text], pack: ({ text }) => ({ text }) },
  classify: {
    fields: [text, { name: "labels", label: "Labels, separated by commas", required: true, start: "praise, complaint, question" }],
    pack: ({ text, labels }) => ({ text, labels: labels.split(",").map((l) => l.trim()).filter(Boolean) }),
  },
  extract: {
    fields: [text, { name: "schema", label: "JSON schema of what to extract", rows: 5, code: true, required: true,
      start: '{\n  "type": "object",\n  "properties": {"name": {"type": "string"}}\n}' }],
    pack: ({ text, schema }) => ({ text, schema: parseJson(schema, "the schema") }),
  },
  echo: {
    fields: [{ name: "text", label: "Text to give back", rows: 2, required: true, start: "hello" }],
    pack: ({ text }) => ({ text }),
  },
  sleep: {
    fields: [{ name: "seconds", label: "Seconds", type: "number", required: true, start: "3" }],
    pack: ({ seconds }) => ({ seconds: Number(seconds) }),
  },
};

const RAW = {
  fields: [{ name: "json", label: "Payload as JSON", rows: 6, code: true, start: "{}" }],
  pack: ({ json }) => (json.trim() ? parseJson(json, "the payload") : null),
};

/** The form of a kind; kinds that the page does not know take raw JSON. */
export const formOf = (kind, isRaw) => (isRaw ? RAW : FORMS[kind] || RAW);
export const hasForm = (kind) => kind in FORMS;

function parseJson(text, what) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`${what} is not JSON: ${error.message}`);
  }
}

/** A line that tells own tasks apart in the history. */
export function titleOf(payload) {
  const said = typeof payload === "string" ? payload
    : payload?.prompt ?? payload?.text ?? payload?.messages?.at?.(-1)?.content ?? (payload == null ? "" : JSON.stringify(payload));
  return String(said).replace(/\s+/g, " ").slice(0, 120);
}
