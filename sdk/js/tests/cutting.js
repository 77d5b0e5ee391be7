/** An API whose streams are cut at random bytes, and which goes on after the place that a reader names. */

import { framed, openStream } from "./server.js";

/** Letters of one to four bytes, line breaks of every alphabet, and what looks like the protocol itself. */
const WORDS = [
  "an ",
  "ísland ",
  "🏝️ ",
  "\n\n",
  "\r",
  "data: x\n",
  "id: 9\n\n",
  "[DONE]",
  "\u2028",
  '"',
  "",
  "島",
];

/** The tokens of an answer. @param {() => number} random @param {number} count */
export function answerOf(random, count) {
  return Array.from({ length: count }, () => WORDS[Math.floor(random() * WORDS.length)] || "x");
}

/**
 * What the Coordinator sends of a chat after this place: whatever has piled up comes as one event.
 * @param {string[]} tokens @param {number} after @param {() => number} random
 */
export function chatAfter(tokens, after, random) {
  const chunk = (/** @type {object} */ delta, finish = null) => ({
    model: "m",
    choices: [{ index: 0, delta, finish_reason: finish }],
    usage: null,
  });
  /** @type {[number | null, unknown][]} */
  const events = after ? [] : [[0, chunk({ role: "assistant", content: "" })]];
  for (const [text, position] of piles(tokens, after, random))
    events.push([position, chunk({ content: text })]);
  events.push([tokens.length, chunk({}, "stop")]);
  const counted = { prompt_tokens: 3, completion_tokens: tokens.length };
  const details = { prompt_tokens_details: { cached_tokens: 2 } };
  const usage = { ...counted, ...details, credits_used: "0.000123" };
  events.push([tokens.length, { model: "m", choices: [], usage }]);
  events.push([null, "[DONE]"]);
  return framed(...events);
}

/**
 * What it sends of a job: whoever comes back is told anew how things stand.
 * @param {string[]} tokens @param {number | null} last @param {() => number} random
 */
export function jobAfter(tokens, last, random) {
  const after = last ?? 0;
  /** @type {[number | null, unknown][]} */
  const events =
    last !== null
      ? [[after, { type: "status", content: "running" }]]
      : [
          [0, { type: "status", content: "queued", reasons: ["no Island has the Cargo"] }],
          [0, { type: "status", content: "running" }],
        ];
  events.push([after, { type: "progress", step: 1, total: 2, content: "reading" }]);
  for (const [text, position] of piles(tokens, after, random))
    events.push([position, { type: "token", content: text }]);
  const usage = { prompt_tokens: 3, completion_tokens: tokens.length, credits_used: "0.000123" };
  events.push([tokens.length, { type: "done", usage, finish_reason: "stop" }]);
  return framed(...events);
}

/** @param {string[]} tokens @param {number} after @param {() => number} random */
function* piles(tokens, after, random) {
  for (let at = after; at < tokens.length; ) {
    const next = Math.min(tokens.length, at + 1 + Math.floor(random() * 3));
    yield/** @type {const} */ ([tokens.slice(at, next).join(""), next]);
    at = next;
  }
}

/**
 * Sends `text` up to a byte and cuts the line there, by reset or by an end; whole once `cut` is beyond it.
 * @param {import("node:http").ServerResponse} res @param {string} text @param {number} cut
 */
export function sendCut(res, text, cut) {
  const bytes = Buffer.from(text);
  openStream(res);
  if (cut >= bytes.length) return res.end(bytes);
  // Even an end that looks proper is one in the middle.
  if (cut % 2) return res.end(bytes.subarray(0, cut));
  res.flushHeaders();
  return res.write(bytes.subarray(0, cut), () => setImmediate(() => res.destroy()));
}
