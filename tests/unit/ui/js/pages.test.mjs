// The pages' pure modules: formats, the story of a task, topics that follow each other, forms.
import assert from "node:assert/strict";
import { test } from "node:test";

globalThis.localStorage = { getItem: () => null, setItem: () => {} };
const at = (path) => new URL(`../../../../ui/static/js/${path}`, import.meta.url).href;
const format = await import(at("format.js"));
const { attemptsOf, sentence } = await import(at("story.js"));
const { Rows, TaskTopic } = await import(at("topics.js"));
const { etaWords } = await import(at("portal/estimate.js"));
const { formOf, titleOf } = await import(at("portal/kinds.js"));
const { startsNow, wishes } = await import(at("portal/wishes.js"));

test("times read well at every size", () => {
  const shown = [0, 0.0004, 0.004, 0.42, 9.96, 59.97, 125, 12000].map(format.seconds);
  assert.deepEqual(shown, ["0 s", "<1 ms", "4 ms", "0.42 s", "10.0 s", "1 m", "2 m 5 s", "3 h 20 m"]);
  assert.equal(format.seconds(-3), "0 s", "clocks may differ; a time is never negative");
  assert.equal(format.seconds(null), "–");
});

test("a few milliseconds are no deviation", () => {
  assert.equal(format.comparison(0.004, 0.001), "as predicted");
  assert.equal(format.comparison(1.2, 1.0), "20 % slower than predicted");
  assert.equal(format.comparison(5, 1), "5.0 times as long as predicted");
});

const assigned = (attempt, agent) => ({ type: "assigned", at: attempt, entry: { attempt, agent_id: agent, reason: "model", p50_s: 1 } });

test("a story becomes attempts, and ignored entries count for nothing", () => {
  const events = [
    assigned(1, "a1"),
    { type: "lost", at: 2, entry: { attempt: 1, agent_id: "a1", why: "no beat" } },
    assigned(2, "a2"),
    { type: "succeeded", at: 3, ignored: "a1 may not speak for a2", entry: { attempt: 1, agent_id: "a1" } },
    { type: "succeeded", at: 4, entry: { attempt: 2, agent_id: "a2", service_s: 1.5 } },
  ];
  const attempts = attemptsOf(events);
  assert.deepEqual(attempts.map((a) => [a.attempt, a.agent, a.outcome, a.why]), [[1, "a1", "lost", "no beat"], [2, "a2", "succeeded", ""]]);
  assert.equal(sentence(events[1]), "Attempt 1 on a1 was lost: no beat");
});

test("of two attempts at once each gets its own end, and the one that came too late is stopped", () => {
  const hedged = { ...assigned(2, "a2"), type: "hedged" };
  const lost = { type: "lost", at: 3, entry: { attempt: 1, agent_id: "a1", why: "no beat" } };
  const won = (attempt, agent) => ({ type: "succeeded", at: 4, entry: { attempt, agent_id: agent } });
  const outcomes = (events) => attemptsOf(events).map((a) => [a.agent, a.outcome]);
  assert.deepEqual(outcomes([assigned(1, "a1"), hedged]), [["a1", null], ["a2", null]]);
  assert.deepEqual(outcomes([assigned(1, "a1"), hedged, won(1, "a1")]), [["a1", "succeeded"], ["a2", "cancelled"]]);
  assert.deepEqual(outcomes([assigned(1, "a1"), hedged, lost, won(2, "a2")]), [["a1", "lost"], ["a2", "succeeded"]]);
  const shown = (events) => attemptsOf(events).filter((a) => a.isShown).map((a) => a.agent);
  assert.deepEqual(shown([assigned(1, "a1"), hedged]), ["a2"], "the newest while both run");
  assert.deepEqual(shown([assigned(1, "a1"), hedged, won(1, "a1")]), ["a1"], "the one that succeeded");
  assert.deepEqual(shown([]), []);
  const expired = { type: "expired", at: 5, entry: { reason: "the deadline passed" } };
  assert.deepEqual(outcomes([assigned(1, "a1"), hedged, expired]), [["a1", "expired"], ["a2", "expired"]]);
  assert.equal(sentence(hedged), "Attempt 2 given to a2 as well: the first takes unusually long");
});

test("rows follow each other and notice a gap", () => {
  const topic = new Rows();
  assert.equal(topic.since("e"), undefined);
  topic.take({ op: "snapshot", seq: 5, rows: { a: 1, b: 2 } });
  assert.equal(topic.take({ op: "delta", from: 5, seq: 6, set: { c: 3 }, del: ["a"] }), true);
  assert.deepEqual([...topic.rows.value], [["b", 2], ["c", 3]]);
  assert.equal(topic.take({ op: "delta", from: 9, seq: 10, set: {}, del: [] }), false);
  assert.deepEqual(topic.since("e"), { epoch: "e", seq: 6 });
});

test("after another run of the bridge everything is asked for, and what is shown stays", () => {
  for (const [topic, message] of [[new Rows(), { op: "snapshot", seq: 5, rows: { a: 1 } }],
    [new TaskTopic(), { op: "snapshot", task: { task_id: "t" }, events: [], attempts: [] }]]) {
    topic.take(message);
    assert.ok(topic.since("e"));
    topic.losePlace();
    assert.equal(topic.since("e2"), undefined);
    assert.ok(topic.rows ? topic.rows.value.has("a") : topic.task.value);
  }
});

test("streamed text is appended and counted in code points", () => {
  const topic = new TaskTopic();
  topic.take({ op: "snapshot", task: { task_id: "t" }, events: [{ seq: 1 }], attempts: [{ attempt: 1, agent: "a", text: "h😀" }] });
  topic.take({ op: "delta", attempts: [{ attempt: 1, agent: "a", text: "llo" }] });
  assert.equal(String(topic.attempts.value[0].text), "h😀llo");
  assert.deepEqual(topic.since("e"), { epoch: "e", events: 1, chars: { 1: 5 } });
});

test("forms make the payloads that the agents read", () => {
  assert.deepEqual(formOf("classify").pack({ text: "x", labels: "a, b,," }), { text: "x", labels: ["a", "b"] });
  assert.deepEqual(formOf("sleep").pack({ seconds: "2.5" }), { seconds: 2.5 });
  assert.deepEqual(formOf("chat").pack({ prompt: "hi", system: " " }), { prompt: "hi" });
  assert.deepEqual(formOf("unheard-of").pack({ json: '{"a":1}' }), { a: 1 });
  assert.throws(() => formOf("unheard-of").pack({ json: "{" }), /payload is not JSON/);
  assert.equal(titleOf({ messages: [{ content: "one" }, { content: "two\nlines" }] }), "two lines");
});

test("an estimate is told in words, and bad news as such", () => {
  const found = { p50_s: 2, p90_s: 3, ahead: 4, can_meet: null, warning: null };
  assert.deepEqual(etaWords(found), { isLate: false,
    words: "Submitted now it finishes in about 2.00 s, nine times in ten within 3.00 s, behind 4 tasks." });
  assert.match(etaWords({ ...found, can_meet: "no" }).words, /cannot be met/);
  assert.equal(etaWords({ ...found, can_meet: "unlikely" }).isLate, true);
  assert.match(etaWords({ ...found, p50_s: null, warning: "kind 'echo' is paused" }).words, /cannot be told: kind 'echo' is paused/);
});

test("what is left alone under the options says nothing, the rest becomes fields of the task", () => {
  assert.deepEqual(wishes({ priority: "5" }), {});
  const all = { priority: "0", deadline: "600", delay: "60", timeout: "30", tries: "1", requires: "gpu, eu ", limitKey: " acme ",
    after: "t-1  t-2", policy: "run" };
  assert.deepEqual(wishes(all), { priority: 0, deadline_s: 600, delay_s: 60, timeout_s: 30, max_attempts: 1,
    requires: ["gpu", "eu"], limit_key: "acme", after: ["t-1", "t-2"], on_failure: "run" });
  assert.deepEqual(wishes({ priority: "5", policy: "run" }), {}, "without tasks to wait for there is nothing to fail");
  assert.deepEqual([{}, { delay_s: 60 }, { after: ["t"] }].map(startsNow), [true, false, false]);
});
