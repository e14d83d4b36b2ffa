// The one socket to the bridge: it comes back by itself and goes on where it was. Knows topics, not pages.
import { batch, signal } from "./html.js";
import { serverNow, setServerTime } from "./clock.js";
import { Rows, TaskTopic } from "./topics.js";

const SILENT_AFTER_MS = 7000;
const FIRST_PAUSE_MS = 400;
const LONGEST_PAUSE_MS = 10000;
const GOOD_AFTER_MS = 20000;

/** connecting, live, behind, reconnecting or nats_down. */
export const state = signal("connecting");
/** When the state began or the last message came, in server time; for "12 s ago". */
export const heardAt = signal(serverNow());
export const about = signal({ fleet: "", version: "" });

const topics = new Map();
let socket = null;
let epoch = "";
let pauseMs = FIRST_PAUSE_MS;
let lastMessageAt = 0;
let openedAt = 0;
let isNatsUp = true;
let behindUntil = 0;
let retry = 0;

/** Follow a topic; returns its store. Each `follow` wants one `leave`. */
export function follow(name) {
  let topic = topics.get(name);
  if (!topic) {
    topic = { store: name.startsWith("task:") ? new TaskTopic() : new Rows(), users: 0 };
    topics.set(name, topic);
    say(order(name, topic));
  }
  topic.users += 1;
  return topic.store;
}

export function leave(name) {
  const topic = topics.get(name);
  if (!topic) return;
  topic.users -= 1;
  if (topic.users > 0) return;
  topics.delete(name);
  say({ op: "unsub", topic: name });
}

const order = (name, topic) => ({ op: "sub", topic: name, since: topic.store.since(epoch) });

function say(message) {
  if (socket?.readyState === WebSocket.OPEN && epoch) socket.send(JSON.stringify(message));
}

/** Open the socket and keep it open. */
export function connect() {
  clearTimeout(retry);
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const opened = new WebSocket(`${scheme}://${location.host}/ws`);
  socket = opened;
  lastMessageAt = openedAt = Date.now();
  opened.onmessage = (event) => opened === socket && hear(JSON.parse(event.data));
  opened.onclose = () => opened === socket && again();
}

function again() {
  socket = null;
  if (Date.now() - openedAt > GOOD_AFTER_MS) pauseMs = FIRST_PAUSE_MS;
  show();
  retry = setTimeout(connect, pauseMs * (0.5 + Math.random()));
  pauseMs = Math.min(pauseMs * 1.8, LONGEST_PAUSE_MS);
  if (pauseMs > 2000) signInIfAsked();
}

async function signInIfAsked() {
  const answer = await fetch("/api/v1/queues").catch(() => null);
  if (answer?.status === 401) location.assign("/login");
}

function hear(message) {
  lastMessageAt = Date.now();
  if (message.now) setServerTime(message.now);
  batch(() => {
    heardAt.value = serverNow();
    if (message.op === "hello") greet(message);
    else if (message.op === "nats") isNatsUp = message.state === "up";
    else if (message.op === "behind") behindUntil = Date.now() + 3000;
    else if (message.topic) take(message);
    show();
  });
}

function greet(message) {
  if (message.epoch !== epoch) {
    // Another run of the bridge: what is shown stays, but places in it mean nothing any more.
    for (const topic of topics.values()) topic.store.losePlace();
  }
  epoch = message.epoch;
  isNatsUp = message.nats === "up";
  pauseMs = FIRST_PAUSE_MS;
  about.value = { fleet: message.fleet, version: message.version };
  for (const [name, topic] of topics) say(order(name, topic));
}

function take(message) {
  const topic = topics.get(message.topic);
  if (!topic || topic.store.take(message)) return;
  topic.store.losePlace();
  say(order(message.topic, topic));
}

function show() {
  if (socket === null || !epoch) state.value = epoch ? "reconnecting" : "connecting";
  else if (!isNatsUp) state.value = "nats_down";
  else state.value = Date.now() < behindUntil ? "behind" : "live";
}

function check() {
  if (socket && Date.now() - lastMessageAt > SILENT_AFTER_MS) {
    // A laptop that slept holds a socket that looks open and is not.
    const dead = socket;
    socket = null;
    dead.onclose = null;
    dead.close();
    again();
  }
  show();
}

setInterval(check, 1000);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  check();
  if (socket === null) connect();
});
