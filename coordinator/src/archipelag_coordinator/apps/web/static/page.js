// What the pages where people ask have in common: the client, the line to the network, small things.
import { Client } from "./archipelag.js";

const line = document.getElementById("line");
const token = document.querySelector('meta[name="csrf"]').content;

const LOST = line?.textContent;

/** Shows or hides that the line is lost, or what else a request waits for. */
export const say = (waits, text = LOST) => {
  if (!line) return;
  if (waits) line.textContent = text;
  line.hidden = !waits;
};

/** What is waited for after this status, 0 for no answer, for so long. */
const waiting = (status, ms) => {
  const soon = `it goes on in ${Math.max(1, Math.ceil(ms / 1000))} s…`;
  if (status === 429) return `Too many requests just now: ${soon}`;
  return status === 503 ? `The network cannot take it just now: ${soon}` : LOST;
};

let answered = 0; // The status of the newest answer.

const pause = (ms, signal) =>
  new Promise((done, fail) => {
    const timer = setTimeout(done, ms);
    const over = () => {
      clearTimeout(timer);
      fail(signal.reason);
    };
    signal?.addEventListener("abort", over, { once: true });
  });

/** The network, as this page's person. While it is out of reach, the page says so and tries again. */
export const client = new Client({
  baseUrl: "",
  csrfToken: token,
  retries: 6,
  fetch: async (...what) => {
    answered = 0;
    const response = await fetch(...what);
    answered = response.status;
    if (response.status === 401) location.assign(`/sign-in?next=${encodeURIComponent(location.pathname)}`);
    if (response.status < 500) say(false);
    return response;
  },
  sleep: (ms, signal) => {
    say(true, waiting(answered, ms));
    return pause(ms, signal);
  },
});

/** An answer's `data`. */
export async function ask(method, path, { json, query, key, signal } = {}) {
  const { body } = await client.http.json({ method, path, json, query, idempotencyKey: key, signal });
  return body;
}

/** The events of a job to its last one, each once, for as long as the page is open: through breaks and restarts. */
export async function* follow(jobId, signal) {
  let lastEventId = "";
  for (;;) {
    try {
      for await (const event of client.streamJob(jobId, { lastEventId, signal })) {
        say(false);
        if (event.id) lastEventId = event.id;
        yield event;
        if (event.type === "done" || event.type === "error") return;
      }
      return;
    } catch (error) {
      const broken = ["ConnectionError", "StreamBrokenError", "ServiceUnavailableError", "TimeoutError", "RateLimitError"];
      if (signal.aborted || !broken.includes(error.name)) throw error;
      const ms = (error.retryAfter ?? 1 + Math.random()) * 1000;
      say(true, waiting(error.status ?? 0, ms));
      await pause(ms, signal);
    }
  }
}

/** An element with its text and classes; never HTML. */
export function make(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

/** Credits to read: four digits that mean something. */
export function credits(text) {
  const value = Number(text);
  if (!value) return "0";
  if (value >= 100) return String(Math.floor(value)).replace(/\B(?=(\d{3})+$)/g, "\u202f");
  return value.toPrecision(3).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
}

/** What went wrong, in words for a person. */
export function words(error) {
  if (error.name === "InsufficientCreditsError")
    return `Not enough credits: up to ${error.required} would be held, and ${error.available} are there. Ask shorter, or get more credits.`;
  if (error.name === "ConnectionError") return "The network cannot be reached just now. Try again in a moment.";
  return error.message || "Something went wrong. Try again.";
}

/** A fresh key, so that a double click asks once. */
export const newKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
