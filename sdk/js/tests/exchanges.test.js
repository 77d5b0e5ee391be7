/** This client sends what was recorded of the real server, and makes of the answers what is written there. The Python
 * client is held to the same file, so that the two cannot drift apart; its format is told in `tests/sdk/exchange.py`. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { ArchipelagError, ChatStream, Client } from "@archipelag/sdk";
import { atOnce, framed } from "./server.js";

const FILE = new URL("../../../tests/sdk/exchanges.json", import.meta.url);
const EXCHANGES = JSON.parse(readFileSync(FILE, "utf8"));

const camel = (/** @type {string} */ name) =>
  name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase());
const bytes = (/** @type {string} */ base64) => Buffer.from(base64, "base64");
const isBytes = (/** @type {any} */ value) =>
  typeof value?.base64 === "string" && Object.keys(value).length === 1;

/** The arguments that stand by themselves, in their order; all others are options. */
const POSITIONAL = ["messages", "prompt", "texts", "workload", "input", "inputs", "file"];
const BY_NAME = /^(job|batch|island|file|key|session|user)_id$/;

/** How Python calls what stands in our values under another name: ours → its. */
const RENAMED = {
  workloadSlug: "workload",
  filename: "name",
  bytes: "size_bytes",
};

/** A call by its Python name and arguments, made here. @param {Client} client @param {any} call */
function made(client, { method, args }) {
  const positional = [];
  /** @type {Record<string, unknown>} */
  const options = {};
  for (const [name, value] of Object.entries(args)) {
    const given = isBytes(value) ? new Uint8Array(bytes(value.base64)) : value;
    const list = method.startsWith("list_");
    const first = (POSITIONAL.includes(name) && !list) || BY_NAME.test(name) || name === "slug";
    const named =
      (method === "create_key" && name === "name") ||
      (method === "grant_credits" && (name === "amount" || name === "cause"));
    if (first || named) positional.push(given);
    else if (name === "within_s") options.withinMs = given * 1000;
    else options[camel(name)] = given;
  }
  return client[camel(method)](...positional, options);
}

/** Everything that a call gives, also where it gives it bit by bit. @param {any} found */
async function collected(found) {
  if (!(Symbol.asyncIterator in Object(found))) return found;
  const all = [];
  for await (const one of found) all.push(one);
  if (!(found instanceof ChatStream)) return all;
  const { jobId, island, finishReason, usage } = found;
  return { pieces: all, jobId, island, finishReason, usage };
}

/** A time of ours, seconds or text, as it stands in the file. @param {any} value */
const moment = (value) =>
  typeof value === "number" ? new Date(value * 1000).toISOString() : value;

/** What Python's value says, said by ours: only the names that stand in `wanted`.
 * @param {any} value @param {any} wanted @param {string} [under] @returns {any} */
function projected(value, wanted, under = "") {
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  if (Array.isArray(wanted) && Array.isArray(value))
    return value.map((one, index) => projected(one, wanted[index], under));
  if (wanted === null || typeof wanted !== "object" || under === "input") {
    // Where the API has nothing, Python has its empty value.
    if (value === undefined || value === null)
      return EMPTY.has(JSON.stringify(wanted)) ? wanted : null;
    return /_at$/.test(under) ? moment(value) : value;
  }
  if (value === undefined && Array.isArray(wanted) && !wanted.length) return [];
  if (value === null || value === undefined) return null;
  return Object.fromEntries(
    Object.keys(wanted).map((name) => [name, projected(ofOurs(value, name), wanted[name], name)]),
  );
}

const EMPTY = new Set(['""', "[]", "false", "0"]);

/** @param {any} value @param {string} name */
function ofOurs(value, name) {
  const ours = Object.entries(RENAMED).find(([from, to]) => to === name && from in value)?.[0];
  if (ours) return value[ours];
  // An event's words: a token's or a status's content, or an error's.
  if (name === "text" && "type" in value) return value.content ?? value.error;
  if (name === "format" && "mediaType" in value) return value.mediaType.replace("image/", "");
  if (name === "credits_used" && "usage" in value) return value.usage.creditsUsed;
  return value[camel(name)];
}

/** @param {any} error @param {any} wanted */
function projectedError(error, wanted) {
  return { error: { ...projected(error, { ...wanted.error, type: "" }), type: error.name } };
}

/** One step, answered as it was recorded once it is what was asked then. */
async function replayed(/** @type {any} */ step, /** @type {any} */ sent) {
  const { request, response } = step;
  const url = new URL(sent.url);
  /** @type {Record<string, string | string[]>} */
  const query = {};
  for (const name of url.searchParams.keys()) {
    const all = url.searchParams.getAll(name);
    query[name] = all.length === 1 ? all[0] : all;
  }
  assert.equal(sent.init.method, request.method);
  assert.equal(decodeURIComponent(url.pathname), `/api/v1${request.path}`);
  assert.deepEqual(query, request.query);
  assert.deepEqual(await bodyOf(sent.init.body), request.body);
  for (const [name, value] of Object.entries(request.headers)) {
    const header = sent.init.headers.get(name);
    assert.ok(header && (value === "*" || value === header), `${name}: ${header}, not ${value}`);
  }
  return answered(response);
}

async function bodyOf(/** @type {any} */ body) {
  if (body === null) return null;
  if (typeof body === "string") return JSON.parse(body);
  const { file, ...form } = Object.fromEntries(body);
  const base64 = Buffer.from(await file.arrayBuffer()).toString("base64");
  return { form, file: { name: file.name, base64 } };
}

function answered(/** @type {any} */ { status, headers, body, events, cut }) {
  let content = isBytes(body) ? bytes(body.base64) : Buffer.from(JSON.stringify(body) ?? "");
  if (events) content = Buffer.from(framed(...events.map((one) => [one.id ?? null, one.data])));
  const stream = new ReadableStream({
    pull(control) {
      if (content.length) control.enqueue(new Uint8Array(content));
      else if (cut) return control.error(new TypeError("cut"));
      else return control.close();
      content = Buffer.alloc(0);
    },
  });
  return new Response(stream, { status, headers });
}

for (const told of EXCHANGES) {
  test(`as recorded: ${told.name}`, async () => {
    const steps = [told, ...(told.then ?? [])];
    /** @type {unknown} */
    let differs = null;
    const client = new Client({
      baseUrl: "http://recorded.test",
      apiKey: "ak_recorded",
      retries: told.then ? 3 : 0,
      sleep: atOnce,
      fetch: async (url, init) => {
        const step = steps.shift();
        assert.ok(step, `asked once more: ${url}`);
        try {
          return await replayed(step, { url, init });
        } catch (error) {
          differs ??= error; // The client would take it for a broken line, and ask again.
          throw error;
        }
      },
    });
    let shown;
    try {
      shown = projected((await lifted(made(client, told.call))).value, told.result);
    } catch (error) {
      if (!(error instanceof ArchipelagError)) throw error;
      shown = projectedError(error, told.result);
    }
    if (differs) throw differs;
    assert.deepEqual(shown, told.result);
    assert.equal(steps.length, 0);
  });
}

/** What a call gives, in a box: a ChatStream that was awaited would be read. @param {any} found */
async function lifted(found) {
  if (Symbol.asyncIterator in Object(found)) return { value: await collected(found) };
  return { value: await found };
}

test("the exchanges are there", () => {
  assert.ok(EXCHANGES.length > 60, `only ${EXCHANGES.length}`);
});
