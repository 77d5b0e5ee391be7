/** A server on a free port of this machine, which answers as a test says and remembers what it was asked. */

import { createServer } from "node:http";

/**
 * @typedef {{ method: string, path: string, query: URLSearchParams, headers: import("node:http").IncomingHttpHeaders,
 *   text: string, body: any }} Asked
 * @typedef {import("node:http").ServerResponse} Answer
 */

/**
 * Serves until the test ends. `answer` gets what was asked, where to answer, and the how-manieth request it is.
 * @param {import("node:test").TestContext} test
 * @param {(asked: Asked, res: Answer, count: number) => unknown} answer
 */
export async function serve(test, answer) {
  /** @type {Asked[]} */
  const requests = [];
  const server = createServer(async (req, res) => {
    const parts = [];
    for await (const part of req) parts.push(part);
    const text = Buffer.concat(parts).toString("latin1");
    const url = new URL(req.url ?? "", "http://localhost");
    const json = req.headers["content-type"] === "application/json";
    const asked = {
      method: req.method ?? "",
      path: url.pathname,
      query: url.searchParams,
      headers: req.headers,
      text,
      body: json ? JSON.parse(Buffer.from(text, "latin1").toString()) : null,
    };
    requests.push(asked);
    await answer(asked, res, requests.length);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", () => done(null)));
  test.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  return { url: `http://127.0.0.1:${port}`, port, requests };
}

/** @param {Answer} res @param {number} status @param {unknown} body @param {Record<string, string>} [headers] */
export function json(res, status, body, headers = {}) {
  res.writeHead(status, { "Content-Type": "application/json", ...headers });
  res.end(JSON.stringify(body));
}

/** An error as the API writes it. @param {Answer} res @param {number} status @param {string} code */
export function refuse(res, status, code, more = {}, headers = {}) {
  json(res, status, { error: { code, message: `refused: ${code}`, type: "x", ...more } }, headers);
}

/** The beginning of a stream. @param {Answer} res */
export function openStream(res, headers = {}) {
  res.writeHead(200, {
    "Content-Type": "text/event-stream; charset=utf-8",
    "X-Archipelag-Job": "job_1",
    "X-Archipelag-Island": "Surtsey",
    ...headers,
  });
}

/** Events as text. @param {...[number | null, unknown]} events */
export function framed(...events) {
  return events
    .map(([id, data]) => {
      const text = typeof data === "string" ? data : JSON.stringify(data);
      return `${id === null ? "" : `id: ${id}\n`}data: ${text}\n\n`;
    })
    .join("");
}

/** The same numbers for the same seed, from 0 to 1 (mulberry32). @param {number} seed */
export function chance(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Waits for nothing. */
export const atOnce = async () => {};
