import assert from "node:assert/strict";
import { test } from "node:test";
import * as sdk from "@archipelag/sdk";
import { Client } from "@archipelag/sdk";
import { refuse, serve } from "./server.js";

/** What one request rejects with, when the API answers like this. */
async function refusal(t, status, code, more = {}, headers = {}, fields = undefined) {
  const { url } = await serve(t, (_, res) => {
    if (fields === undefined) return refuse(res, status, code, more, headers);
    res.writeHead(status, { "Content-Type": "application/json", ...headers });
    return res.end(JSON.stringify({ error: { code, message: "m", ...more }, errors: fields }));
  });
  const client = new Client({ baseUrl: url, apiKey: "ak_x", retries: 0 });
  return client.getAccount().then(
    () => assert.fail("nothing was thrown"),
    (error) => error,
  );
}

const KINDS = /** @type {const} */ ([
  [400, "bad_request", "BadRequestError"],
  [400, "unsupported", "UnsupportedError"],
  [401, "invalid_api_key", "AuthenticationError"],
  [402, "insufficient_credits", "InsufficientCreditsError"],
  [402, "budget_exceeded", "BudgetExceededError"],
  [403, "not_permitted", "PermissionDeniedError"],
  [404, "not_found", "NotFoundError"],
  [409, "conflict", "ConflictError"],
  [409, "idempotency_mismatch", "IdempotencyMismatchError"],
  [409, "nothing_to_continue", "ConflictError"],
  [410, "cargo_revoked", "GoneError"],
  [413, "too_large", "TooLargeError"],
  [422, "invalid_input", "ValidationError"],
  [429, "rate_limited", "RateLimitError"],
  [500, "internal_error", "ServerError"],
  [502, "cargo_failed", "ServerError"],
  [503, "no_capacity", "ServiceUnavailableError"],
  [504, "deadline", "ServerError"],
  [418, "teapot", "ApiError"],
]);

for (const [status, code, name] of KINDS) {
  test(`${status} ${code} is a ${name}`, async (t) => {
    const error = await refusal(t, status, code);
    assert.equal(error.constructor, new Map(Object.entries(sdk)).get(name));
    assert.equal(error.name, name);
    assert.ok(error instanceof sdk.ArchipelagError);
    assert.ok(error instanceof sdk.ApiError);
    assert.deepEqual([error.status, error.code], [status, code]);
    assert.equal(error.message, `refused: ${code}`);
  });
}

test("too few credits: how many it takes and how many there are, as exact text", async (t) => {
  const more = { required: "0.100001", available: "0.05" };
  const error = await refusal(t, 402, "insufficient_credits", more);
  assert.deepEqual([error.required, error.available], ["0.100001", "0.05"]);
});

test("wrong input: every field and why", async (t) => {
  const fields = { "input.max_tokens": ["must be a whole number"], workload: ["is required"] };
  const error = await refusal(t, 422, "invalid_input", {}, {}, fields);
  assert.deepEqual(error.errors, fields);
});

test("nobody can take it: why, and when to ask again", async (t) => {
  const more = { reasons: ["no Island has the Cargo"] };
  const error = await refusal(t, 503, "no_capacity", more, { "Retry-After": "7" });
  assert.deepEqual([error.reasons, error.retryAfter], [["no Island has the Cargo"], 7]);
});

test("Retry-After as a date, as a proxy may write it; rubbish is none", async (t) => {
  const later = new Date(Date.now() + 3_600_000).toUTCString();
  const dated = await refusal(t, 429, "rate_limited", {}, { "Retry-After": later });
  assert.ok(dated.retryAfter > 3500 && dated.retryAfter <= 3600, String(dated.retryAfter));
  const rubbish = await refusal(t, 429, "rate_limited", {}, { "Retry-After": "soon" });
  assert.equal(rubbish.retryAfter, null);
});

test("the request's id is there to be named to the operator", async (t) => {
  const error = await refusal(t, 500, "internal_error", {}, { "X-Request-Id": "req-9" });
  assert.equal(error.requestId, "req-9");
});

test("a page of a proxy in the place of an error: the status says enough", async (t) => {
  const { url } = await serve(t, (_, res) => {
    res.writeHead(502, { "Content-Type": "text/html" }).end("<h1>Bad gateway</h1>");
  });
  const client = new Client({ baseUrl: url, retries: 0 });
  await assert.rejects(client.getAccount(), (error) => {
    assert.ok(error instanceof sdk.ServerError);
    assert.deepEqual([error.status, error.code], [502, "unknown"]);
    return true;
  });
});

test("hostile bodies do not get in: no code of ours is a property of every object", async (t) => {
  for (const code of ["constructor", "__proto__", "toString"]) {
    const error = await refusal(t, 404, code);
    assert.equal(error.constructor, sdk.NotFoundError);
  }
});

test("an answer that is no JSON, or without what the API promises, is a BadAnswerError", async (t) => {
  const { url } = await serve(t, (_, res, count) => res.end(count === 1 ? "<html>" : "{}"));
  const client = new Client({ baseUrl: url });
  await assert.rejects(client.getAccount(), sdk.BadAnswerError);
  await assert.rejects(client.getAccount(), sdk.BadAnswerError);
});
