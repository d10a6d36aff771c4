// The admin API: calls, the token, and the stream of events.
// The token stays in sessionStorage. EventSource sends no headers, so the stream is read by fetch.

import { askForToken } from "./dialogs.js";

const KEY = "understudy-token";
const LONGEST_PAUSE = 5000;
let asking = null;

export class Problem extends Error {
  constructor(status, problem) {
    super(problem.detail ?? `status ${status}`);
    this.status = status;
    this.line = problem.line ?? null;
    this.column = problem.column ?? null;
  }
}

function headers(more = {}) {
  const token = sessionStorage.getItem(KEY);
  return token ? { ...more, authorization: `Bearer ${token}` } : more;
}

/** One question however many calls wait for its answer. */
function newToken() {
  asking ??= askForToken().then((token) => {
    sessionStorage.setItem(KEY, token);
    asking = null;
  });
  return asking;
}

async function answered(path, options) {
  for (;;) {
    const answer = await fetch(path, { ...options, headers: headers(options.headers) });
    if (answer.status !== 401) return answer;
    await newToken();
  }
}

/** One call; JSON in and out. Throws Problem with the server's words. */
export async function call(method, path, { body, revision, signal } = {}) {
  const more = {};
  if (revision !== undefined && revision !== null) more["if-match"] = `"${revision}"`;
  if (typeof body === "object") more["content-type"] = "application/json";
  const sent = typeof body === "object" ? JSON.stringify(body) : body;
  const answer = await accepted(path, { method, body: sent, headers: more, signal, cache: "no-store" });
  return answer.status === 204 ? null : answer.json();
}

async function accepted(path, options) {
  let answer;
  try {
    answer = await answered(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: "control did not answer; the history says whether it was done" });
  }
  if (!answer.ok) throw new Problem(answer.status, await answer.json().catch(() => ({})));
  return answer;
}

/** Save what a path answers as a file; a link could not send the token. Throws as a call. */
export async function save(path, name) {
  const answer = await accepted(path, { method: "GET", cache: "no-store" });
  const url = URL.createObjectURL(await answer.blob());
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  link.click();
  URL.revokeObjectURL(url);
}

export const rolloutPath = (model, more = "") => `/v1/rollouts/${encodeURIComponent(model)}${more}`;

const SILENCE = 20_000; // longer than any pause between two signs of life, which are 15 seconds apart

/**
 * Follow changes and digests until the signal says so; a stream that breaks is opened again.
 * hear(kind, data, id) is called for each event, state(open) when the stream opens or breaks.
 */
export async function follow(topics, hear, state, signal, silence = SILENCE) {
  const query = new URLSearchParams(topics.map((topic) => ["topic", topic]));
  let pause = 500;
  while (!signal.aborted) {
    try {
      const answer = await answered(`/v1/events?${query}`, { signal, cache: "no-store" });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      state(true);
      pause = 500;
      await read(answer.body.getReader(), hear, silence);
    } catch {
      // broken or refused: told below, tried again
    }
    if (signal.aborted) return;
    state(false);
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(pause * 2, LONGEST_PAUSE);
  }
}

/** What is read next, unless nothing comes for too long: a connection may be gone without an end. */
async function within(reader, limit) {
  let timer;
  const silent = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("silence")), limit);
  });
  try {
    return await Promise.race([reader.read(), silent]);
  } finally {
    clearTimeout(timer);
  }
}

async function read(reader, hear, limit) {
  const decoder = new TextDecoder();
  let buffer = "";
  for (;;) {
    const { value, done } = await within(reader, limit);
    if (done) return;
    const parts = (buffer + decoder.decode(value, { stream: true })).split("\n\n");
    buffer = parts.pop();
    for (const part of parts) {
      const event = {};
      for (const line of part.split("\n")) {
        const colon = line.indexOf(":");
        if (colon > 0) event[line.slice(0, colon)] = line.slice(colon + 1).trimStart();
      }
      if (event.data !== undefined) hear(event.event, JSON.parse(event.data), event.id);
    }
  }
}
