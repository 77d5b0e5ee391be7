import assert from "node:assert/strict";
import { createServer } from "node:net";
import { test } from "node:test";
import * as sdk from "@archipelag/sdk";
import { Client } from "@archipelag/sdk";
import { atOnce, json, refuse, serve } from "./server.js";

const ACCOUNT = { data: { id: "usr_1", credits: "1.000001" } };

/** A port where nobody listens. */
async function deadPort() {
  const server = createServer();
  await new Promise((done) => server.listen(0, "127.0.0.1", () => done(null)));
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  await new Promise((done) => server.close(done));
  return port;
}

/** Sleeps that are told of and take no time. */
function sleeps() {
  const waited = [];
  return { waited, sleep: async (/** @type {number} */ ms) => void waited.push(ms) };
}

test("a write is tried again under the same key, another write has another", async (t) => {
  const { url, requests } = await serve(t, (_, res, count) =>
    count < 3 ? refuse(res, 503, "no_capacity") : json(res, 201, { data: { id: "job_1" } }),
  );
  const client = new Client({ baseUrl: url, apiKey: "ak_x", sleep: atOnce });
  await client.createJob("echo", { prompt: "a" });
  await client.createJob("echo", { prompt: "a" });
  const keys = requests.map((one) => one.headers["idempotency-key"]);
  assert.equal(keys.length, 4);
  assert.match(String(keys[0]), /^[0-9a-f]{32}$/);
  assert.deepEqual([keys[1], keys[2]], [keys[0], keys[0]]);
  assert.notEqual(keys[3], keys[0]);
  assert.deepEqual(requests[2].body, requests[0].body);
});

test("a key of one's own is sent as it is, and a read has none", async (t) => {
  const { url, requests } = await serve(t, (_, res) => json(res, 200, { data: {} }));
  const client = new Client({ baseUrl: url });
  await client.createJob("echo", {}, { idempotencyKey: "mine-1" });
  await client.getJob("job_1");
  await client.cancelJob("job_1");
  assert.equal(requests[0].headers["idempotency-key"], "mine-1");
  assert.equal(requests[1].headers["idempotency-key"], undefined);
  assert.match(String(requests[2].headers["idempotency-key"]), /^[0-9a-f]{32}$/);
});

test("waits grow, spread by chance, and honour Retry-After", async (t) => {
  const { url } = await serve(t, (_, res, count) =>
    refuse(res, 503, "no_capacity", {}, count === 2 ? { "Retry-After": "4" } : {}),
  );
  const { waited, sleep } = sleeps();
  const client = new Client({ baseUrl: url, sleep, random: () => 0.5 });
  await assert.rejects(client.getAccount(), sdk.ServiceUnavailableError);
  assert.deepEqual(waited, [375, 4200, 1500]);
});

test("told to wait for long, it says so instead of hanging", async (t) => {
  const { url, requests } = await serve(t, (_, res) =>
    refuse(res, 429, "rate_limited", {}, { "Retry-After": "31" }),
  );
  const client = new Client({ baseUrl: url, sleep: atOnce });
  await assert.rejects(client.getAccount(), (/** @type {any} */ error) => error.retryAfter === 31);
  assert.equal(requests.length, 1);
});

for (const [status, code] of /** @type {const} */ ([
  [400, "bad_request"],
  [402, "x"],
  [409, "conflict"],
  [422, "invalid_input"],
  [500, "internal_error"],
])) {
  test(`${status} is not asked again`, async (t) => {
    const { url, requests } = await serve(t, (_, res) => refuse(res, status, code));
    await assert.rejects(new Client({ baseUrl: url, sleep: atOnce }).createJob("echo", {}));
    assert.equal(requests.length, 1);
  });
}

test("where one Coordinator does not answer, the next one is asked, and stays", async (t) => {
  const { url, requests } = await serve(t, (_, res) => json(res, 200, ACCOUNT));
  const dead = await deadPort();
  const client = new Client({ baseUrl: [`http://127.0.0.1:${dead}`, url], sleep: atOnce });
  assert.equal((await client.getAccount()).credits, "1.000001");
  await client.getAccount();
  assert.equal(requests.length, 2);
});

test("no network: the error names the address and the reason", async () => {
  const dead = await deadPort();
  const { waited, sleep } = sleeps();
  const client = new Client({ baseUrl: `http://127.0.0.1:${dead}`, sleep });
  await assert.rejects(client.getAccount(), (/** @type {any} */ error) => {
    assert.equal(error.constructor, sdk.ConnectionError);
    assert.match(
      error.message,
      new RegExp(`^no answer from http://127.0.0.1:${dead}: .*ECONNREFUSED`),
    );
    return true;
  });
  assert.equal(waited.length, 3);
});

test("an answer that breaks off is asked for again under the same key", async (t) => {
  const { url, requests } = await serve(t, (_, res, count) => {
    if (count > 1) return json(res, 201, { data: { id: "job_1" } });
    res.writeHead(201, { "Content-Length": "1000" });
    res.write('{"data": {"id"', () => res.destroy());
  });
  const job = await new Client({ baseUrl: url, sleep: atOnce }).createJob("echo", {});
  assert.equal(job.id, "job_1");
  const [first, second] = requests.map((one) => one.headers["idempotency-key"]);
  assert.ok(first && first === second);
});

test("a key whose answer was lost is not made twice", async (t) => {
  const { url, requests } = await serve(t, (_, res, count) => {
    if (count > 1) return refuse(res, count === 2 ? 502 : 503, "bad_gateway");
    res.destroy();
  });
  const client = new Client({ baseUrl: url, sleep: atOnce });
  await assert.rejects(client.createKey("new"), sdk.ConnectionError);
  await assert.rejects(client.createKey("new"), sdk.ServerError);
  await assert.rejects(client.createKey("new"), sdk.ServiceUnavailableError);
  assert.equal(requests.length, 3);
});

test("a key is asked for again where nothing arrived, or it was too soon", async (t) => {
  const { url, requests } = await serve(t, (_, res, count) =>
    count === 1
      ? refuse(res, 429, "rate_limited")
      : json(res, 201, { data: { id: "key_1" }, key: "ak_secret" }),
  );
  const dead = await deadPort();
  const client = new Client({ baseUrl: [`http://127.0.0.1:${dead}`, url], sleep: atOnce });
  assert.equal((await client.createKey("new")).key, "ak_secret");
  assert.equal(requests.length, 2);
});

test("a key that is gone when asked again was revoked by the first try", async (t) => {
  const { url } = await serve(t, (_, res, count) =>
    count % 2 ? res.destroy() : refuse(res, 404, "not_found"),
  );
  const client = new Client({ baseUrl: url, sleep: atOnce });
  await client.revokeKey("key_1");
  await assert.rejects(
    new Client({ baseUrl: url, sleep: atOnce, retries: 0 }).revokeKey("key_1"),
    sdk.ConnectionError,
  );
  await assert.rejects(client.revokeKey("key_2"), sdk.NotFoundError);
});

test("where the server says that it will not help, it is not asked again", async (t) => {
  const { url, requests } = await serve(t, (_, res) =>
    refuse(res, 502, "bad_result", {}, { "X-Should-Retry": "false" }),
  );
  const client = new Client({ baseUrl: url, sleep: atOnce });
  await assert.rejects(client.getAccount(), sdk.ServerError);
  assert.equal(requests.length, 1);
});

test("a transfer between one's own accounts is an entry in each, and met once in each", async (t) => {
  const [spent, earned] = ["spending", "earnings"].map((account) => ({ id: "tra_1", account }));
  const { url } = await serve(t, (asked, res) =>
    asked.query.has("before")
      ? json(res, 200, { data: [earned], meta: { next: null } })
      : json(res, 200, { data: [spent, earned], meta: { next: "tra_1" } }),
  );
  const accounts = [];
  for await (const one of new Client({ baseUrl: url }).listTransfers()) accounts.push(one.account);
  assert.deepEqual(accounts, ["spending", "earnings"]);
});

test("an answer that never comes is a TimeoutError", async (t) => {
  const { url } = await serve(t, () => {});
  const client = new Client({ baseUrl: url, timeoutMs: 50 });
  await assert.rejects(client.getAccount(), sdk.TimeoutError);
});

test("a body that stops coming is a TimeoutError, too", async (t) => {
  const { url } = await serve(t, (_, res) =>
    res.writeHead(200, { "Content-Length": "99" }).write("{"),
  );
  const client = new Client({ baseUrl: url, timeoutMs: 50 });
  await assert.rejects(client.getAccount(), sdk.TimeoutError);
});

test("a signal ends a call before it began, while it waits, and between two tries", async (t) => {
  const reason = new Error("enough");
  const before = new AbortController();
  before.abort(reason);
  const during = new AbortController();
  const between = new AbortController();
  const { url, requests } = await serve(t, (asked, res) =>
    asked.query.has("offset") ? refuse(res, 503, "no_capacity") : during.abort(reason),
  );
  const client = new Client({
    baseUrl: url,
    sleep: async (_, signal) => {
      between.abort(reason);
      signal?.throwIfAborted();
    },
  });
  const isReason = (/** @type {unknown} */ error) => error === reason;
  await assert.rejects(client.getAccount({ signal: before.signal }), isReason);
  assert.equal(requests.length, 0);
  await assert.rejects(client.getAccount({ signal: during.signal }), isReason);
  await assert.rejects(client.listJobs({ signal: between.signal }).next(), isReason);
  assert.equal(requests.length, 2);
});

test("a page with a session sends its token with writes, and no key", async (t) => {
  const { url, requests } = await serve(t, (_, res) => json(res, 200, { data: {} }));
  let token = "csrf-1";
  const client = new Client({ baseUrl: url, csrfToken: () => token });
  await client.getAccount();
  await client.cancelJob("job_1");
  token = "csrf-2";
  await client.createJob("echo", {});
  assert.deepEqual(
    requests.map((one) => one.headers["x-csrf-token"]),
    [undefined, "csrf-1", "csrf-2"],
  );
  assert.equal(requests[0].headers.authorization, undefined);
});

test("cookies go to one's own host only", async () => {
  /** @type {RequestInit[]} */
  const sent = [];
  const fetch = async (_, init) => {
    sent.push(init);
    return Response.json(ACCOUNT);
  };
  await new Client({ baseUrl: "http://a.example", fetch }).getAccount();
  assert.deepEqual([sent[0].credentials, sent[0].cache], ["same-origin", "no-store"]);
});

test("addresses in every form that people have at hand", async () => {
  for (const given of ["", "/", "/v1", "/v1/", "/api/v1", "/api/v1/"]) {
    const seen = [];
    const fetch = async (url) => {
      seen.push(url);
      return Response.json(ACCOUNT);
    };
    await new Client({ baseUrl: `http://a.example:8420${given}`, fetch }).getAccount();
    assert.deepEqual(seen, ["http://a.example:8420/api/v1/account"]);
  }
});

test("settings that cannot be are refused at once, by name", () => {
  const bad = /** @type {[RegExp, object][]} */ ([
    [/baseUrl must begin with http/, { baseUrl: "ftp://a" }],
    [/baseUrl must begin with http/, { baseUrl: "http://" }],
    [/baseUrl names no address/, { baseUrl: " , " }],
    [/no page here/, { baseUrl: "" }],
    [/apiKey must be visible ASCII/, { apiKey: "ak_1\r\nX-Admin: 1" }],
    [/retries must be a whole number/, { retries: -1 }],
    [/timeoutMs must be a whole number/, { timeoutMs: Number.NaN }],
  ]);
  for (const [message, options] of bad) assert.throws(() => new Client(options), message);
});

test("an id with a path in it stays one part of the path", async (t) => {
  const { url, requests } = await serve(t, (_, res) => json(res, 200, { data: {} }));
  const client = new Client({ baseUrl: url });
  await client.getJob("../../admin/islands?x=1#");
  assert.equal(requests[0].path, "/api/v1/jobs/..%2F..%2Fadmin%2Fislands%3Fx%3D1%23");
  assert.throws(() => client.getJob(".."), TypeError);
  assert.throws(() => client.getJob(""), TypeError);
});

test("settings come from the environment where none are given", async (t) => {
  const { url, requests } = await serve(t, (_, res) => json(res, 200, ACCOUNT));
  const program = `import { Client } from "@archipelag/sdk";
    console.log((await new Client().getAccount()).id);`;
  const child = await import("node:child_process");
  const out = await new Promise((done) =>
    child.execFile(
      process.execPath,
      ["--input-type=module", "-e", program],
      {
        cwd: import.meta.dirname,
        env: { ...process.env, ARCHIPELAG_API_URL: url, ARCHIPELAG_API_KEY: "ak_env" },
      },
      (error, stdout, stderr) => done(error ? stderr : stdout),
    ),
  );
  assert.equal(String(out).trim(), "usr_1");
  assert.equal(requests[0].headers.authorization, "Bearer ak_env");
});
