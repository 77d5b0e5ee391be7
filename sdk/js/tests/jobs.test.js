import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import * as sdk from "@archipelag/sdk";
import { Client } from "@archipelag/sdk";
import { atOnce, json, refuse, serve } from "./server.js";

const job = (/** @type {string} */ id, status = "completed", more = {}) => ({
  id,
  status,
  error: null,
  ...more,
});

test("a list is walked page by page, as far as it is read", async (t) => {
  const all = Array.from({ length: 250 }, (_, n) => job(`job_${n}`));
  const { url, requests } = await serve(t, ({ query }, res) => {
    const [offset, limit] = [Number(query.get("offset")), Number(query.get("limit"))];
    json(res, 200, { data: all.slice(offset, offset + limit), meta: { total: 250 } });
  });
  const client = new Client({ baseUrl: url });
  const found = [];
  for await (const one of client.listJobs()) found.push(one.id);
  assert.deepEqual(
    found,
    all.map((one) => one.id),
  );
  assert.deepEqual(
    requests.map((one) => one.query.get("offset")),
    ["0", "100", "200"],
  );

  requests.length = 0;
  for await (const _ of client.listJobs()) break;
  assert.equal(requests.length, 1);
  for await (const _ of client.listJobs({ limit: 0 })) assert.fail("none was wanted");
  assert.equal(requests.length, 1);
  await assert.rejects(client.listJobs({ limit: -1 }).next(), TypeError);
});

test("what is new meanwhile pushes the rest down the list: each comes once, none is lost", async (t) => {
  const all = Array.from({ length: 150 }, (_, n) => job(`job_${n}`));
  const { url } = await serve(t, ({ query }, res, count) => {
    if (count === 2) all.unshift(job("job_new"), job("job_newer"));
    const [offset, limit] = [Number(query.get("offset")), Number(query.get("limit"))];
    json(res, 200, { data: all.slice(offset, offset + limit), meta: { total: all.length } });
  });
  const found = [];
  for await (const one of new Client({ baseUrl: url }).listJobs()) found.push(one.id);
  assert.deepEqual(
    found,
    Array.from({ length: 150 }, (_, n) => `job_${n}`),
  );
});

test("filters: several states, days as dates", async (t) => {
  const { url, requests } = await serve(t, (_, res) =>
    json(res, 200, { data: [], meta: { total: 0 } }),
  );
  const createdAfter = new Date("2026-11-01T10:00:00Z");
  const filter = { status: /** @type {const} */ (["failed", "timeout"]), createdAfter, limit: 7 };
  await new Client({ baseUrl: url }).listJobs(filter).next();
  assert.deepEqual(
    [...requests[0].query],
    [
      ["limit", "7"],
      ["offset", "0"],
      ["status", "failed"],
      ["status", "timeout"],
      ["created_after", "2026-11-01T10:00:00.000Z"],
    ],
  );
});

test("files are walked by the last one of each page", async (t) => {
  const { url, requests } = await serve(t, ({ query }, res) =>
    json(
      res,
      200,
      query.has("after")
        ? { data: [{ id: "file_2" }], has_more: false }
        : { data: [{ id: "file_1" }], has_more: true },
    ),
  );
  const found = [];
  for await (const one of new Client({ baseUrl: url }).listFiles()) found.push(one.id);
  assert.deepEqual(found, ["file_1", "file_2"]);
  assert.equal(requests[1].query.get("after"), "file_1");
});

test("waiting: until it has completed, or failed, or no longer", async (t) => {
  const { url } = await serve(t, ({ path }, res, count) => {
    if (path.endsWith("job_bad"))
      return json(res, 200, { data: job("job_bad", "failed", { error: "no room" }) });
    if (path.endsWith("job_slow")) return json(res, 200, { data: job("job_slow", "queued") });
    return json(res, 200, { data: job("job_1", count < 3 ? "running" : "completed") });
  });
  const client = new Client({ baseUrl: url, sleep: atOnce });
  assert.equal((await client.waitForJob("job_1")).status, "completed");
  await assert.rejects(client.waitForJob("job_bad"), (error) => {
    assert.ok(error instanceof sdk.JobFailedError);
    assert.deepEqual(
      [error.jobId, error.job.status, error.message],
      ["job_bad", "failed", "job job_bad failed: no room"],
    );
    return true;
  });
  await assert.rejects(client.waitForJob("job_slow", { timeoutMs: 0 }), sdk.TimeoutError);
  const ended = await client.waitAll(["job_bad", "job_1"]);
  assert.deepEqual(
    ended.map((one) => one.status),
    ["failed", "completed"],
  );
  await assert.rejects(client.waitAll([ended[0], "job_slow"], { timeoutMs: 0 }), sdk.TimeoutError);
});

test("a batch of jobs: in order, several at once, under one key each", async (t) => {
  let [now, most] = [0, 0];
  const { url, requests } = await serve(t, async ({ body }, res) => {
    most = Math.max(most, ++now);
    await new Promise((done) => setImmediate(done));
    now--;
    json(res, 201, { data: job(`job_${body.input.n}`, "queued") });
  });
  const inputs = Array.from({ length: 30 }, (_, n) => ({ n }));
  const jobs = await new Client({ baseUrl: url }).batch("echo", inputs, { priority: 2 });
  assert.deepEqual(
    jobs.map((one) => one.id),
    inputs.map(({ n }) => `job_${n}`),
  );
  assert.ok(most > 1 && most <= 8, `${most} at once`);
  assert.equal(new Set(requests.map((one) => one.headers["idempotency-key"])).size, 30);
  assert.equal(requests[0].body.priority, 2);
});

test("a batch of jobs is all or none", async (t) => {
  const made = new Set();
  const { url } = await serve(t, ({ method, path, body }, res) => {
    if (method === "DELETE") {
      made.delete(path.split("/").at(-1));
      return json(res, 200, { data: job("x", "cancelled") });
    }
    if (body.input.n === 12) return refuse(res, 402, "insufficient_credits");
    made.add(`job_${body.input.n}`);
    return json(res, 201, { data: job(`job_${body.input.n}`, "queued") });
  });
  const inputs = Array.from({ length: 30 }, (_, n) => ({ n }));
  await assert.rejects(
    new Client({ baseUrl: url }).batch("echo", inputs),
    sdk.InsufficientCreditsError,
  );
  assert.deepEqual([...made], []);
});

test("what people wrote keeps its names, whatever the names are", async (t) => {
  const input = { max_tokens: 3, nested_thing: { some_key: [1] }, __proto__x: 1 };
  const { url, requests } = await serve(t, ({ body }, res) =>
    json(res, 201, { data: { ...job("job_1"), input: body.input, workload_slug: "echo" } }),
  );
  const made = await new Client({ baseUrl: url }).createJob("echo", input);
  assert.deepEqual(requests[0].body, { workload: "echo", input });
  assert.deepEqual(made.input, input);
  assert.equal(made.workloadSlug, "echo");
});

test("a hostile name in an answer is a name and nothing more", async (t) => {
  const { url } = await serve(t, (_, res) => {
    res.end('{"data": {"id": "job_1", "__proto__": {"is_admin": true}, "constructor": 1}}');
  });
  const found = await new Client({ baseUrl: url }).getJob("job_1");
  assert.equal(found["isAdmin"], undefined);
  assert.ok(found instanceof Object);
  assert.equal(Object.getPrototypeOf(found), Object.prototype);
});

test("credits are text: a float for a budget is refused before it is sent", async (t) => {
  const { url, requests } = await serve(t, (_, res) =>
    json(res, 201, { data: { id: "key_1" }, key: "ak_new" }),
  );
  const client = new Client({ baseUrl: url });
  const budget = /** @type {any} */ (0.1);
  await assert.rejects(client.createKey("n", { budget }), /decimal text/);
  assert.equal((await client.createKey("n", { budget: "0.1" })).key, "ak_new");
  assert.deepEqual(
    requests.map((one) => one.body),
    [{ name: "n", scopes: ["read", "write"], budget: "0.1" }],
  );
});

/** A server of one file, which sends as much of it at a time as `sends` says. */
async function fileServer(
  t,
  content,
  sends,
  sha256 = createHash("sha256").update(content).digest("hex"),
  bytes = content.length,
) {
  const about = { id: "file_1", filename: "a.bin", bytes, media_type: "image/png", sha256 };
  return serve(t, ({ path, headers }, res) => {
    if (!path.endsWith("/content")) return json(res, 200, about);
    const from = Number(/bytes=(\d+)-/.exec(String(headers.range ?? ""))?.[1] ?? 0);
    const part = content.subarray(from);
    res.writeHead(from ? 206 : 200, { "Content-Length": part.length });
    const now = part.subarray(0, sends());
    return res.write(now, () => (now.length < part.length ? res.destroy() : res.end()));
  });
}

test("a download goes on where it broke, and is checked", async (t) => {
  const content = Buffer.from(Array.from({ length: 100_000 }, (_, n) => n % 251));
  const { url, requests } = await fileServer(t, content, () => 30_000);
  const seen = [];
  const client = new Client({ baseUrl: url, sleep: atOnce });
  const blob = await client.downloadFile("file_1", { onProgress: (...told) => seen.push(told) });
  assert.ok(Buffer.from(await blob.arrayBuffer()).equals(content));
  assert.equal(blob.type, "image/png");
  assert.deepEqual(seen.at(-1), [100_000, 100_000]);
  const again = requests.slice(2);
  assert.ok(again.length >= 3);
  assert.ok(again.every((one) => one.headers["if-range"]?.length === 66));
});

test("a file that is not what it should be, or more, is refused", async (t) => {
  const content = Buffer.from("not what was promised");
  const other = await fileServer(t, content, () => 1e6, "0".repeat(64));
  await assert.rejects(
    new Client({ baseUrl: other.url }).downloadFile("file_1"),
    /SHA-256 differs/,
  );
  const longer = await fileServer(t, content, () => 1e6, undefined, 5);
  await assert.rejects(
    new Client({ baseUrl: longer.url }).downloadFile("file_1"),
    /longer than it should be/,
  );
});

test("a download that does not get on is given up", async (t) => {
  const { url } = await fileServer(t, Buffer.from("abc"), () => 0);
  const client = new Client({ baseUrl: url, sleep: atOnce, retries: 2 });
  await assert.rejects(client.downloadFile("file_1"), sdk.StreamBrokenError);
});

test("an upload names the file, and is sent whole again when the line breaks", async (t) => {
  const { url, requests } = await serve(t, (_, res, count) =>
    count === 1 ? res.destroy() : json(res, 200, { id: "file_1", filename: "x.txt" }),
  );
  const client = new Client({ baseUrl: url, sleep: atOnce });
  const file = await client.uploadFile(new File(["søen"], "x.txt"), { expiresAfterSeconds: 60 });
  assert.equal(file.filename, "x.txt");
  const form = Buffer.from(requests[1].text, "latin1").toString();
  assert.match(form, /name="file"; filename="x.txt"/);
  assert.match(form, /søen/);
  assert.match(form, /name="expires_after\[seconds\]"\r\n\r\n60\r\n/);
  assert.match(form, /name="purpose"\r\n\r\nuser_data\r\n/);
});

test("deleted, and the answer lost: gone when asked again is done", async (t) => {
  const { url } = await serve(t, (_, res, count) =>
    count === 1 ? res.destroy() : refuse(res, 404, "not_found"),
  );
  await new Client({ baseUrl: url, sleep: atOnce }).deleteFile("file_1");
  const nothing = await serve(t, (_, res) => refuse(res, 404, "not_found"));
  await assert.rejects(
    new Client({ baseUrl: nothing.url }).deleteFile("file_1"),
    sdk.NotFoundError,
  );
});

test("a picture with previews, over a line that breaks, is one job and each preview once", async (t) => {
  const event = (type, more) => `event: ${type}\ndata: ${JSON.stringify({ type, ...more })}\n\n`;
  const partial = (n) =>
    event("image_generation.partial_image", { b64_json: btoa(`p${n}`), partial_image_index: n });
  const { url, requests } = await serve(t, (_, res, count) => {
    res.writeHead(200, { "Content-Type": "text/event-stream", "X-Archipelag-Job": "job_9" });
    if (count === 1) return res.write(partial(0) + partial(1), () => res.destroy());
    const usage = { input_tokens: 1, output_tokens: 2, total_tokens: 3, credits_used: "0.5" };
    return res.end(
      partial(0) +
        partial(1) +
        partial(2) +
        event("image_generation.completed", {
          b64_json: btoa("whole"),
          size: "64x32",
          output_format: "png",
          usage,
        }),
    );
  });
  const seen = [];
  const image = await new Client({ baseUrl: url, sleep: atOnce }).generateImage("a tern", {
    model: "image-gen",
    width: 64,
    height: 32,
    onPartialImage: (data, index) => seen.push([Buffer.from(data).toString(), index]),
  });
  assert.deepEqual(seen, [
    ["p0", 0],
    ["p1", 1],
    ["p2", 2],
  ]);
  assert.equal(Buffer.from(image.data ?? []).toString(), "whole");
  assert.deepEqual(
    [image.width, image.height, image.jobId, image.usage?.creditsUsed],
    [64, 32, "job_9", "0.5"],
  );
  assert.equal(requests[1].headers["idempotency-key"], requests[0].headers["idempotency-key"]);
  assert.deepEqual(requests[0].body, {
    model: "image-gen",
    prompt: "a tern",
    size: "64x32",
    stream: true,
    partial_images: 3,
  });
});

test("no model named: the first of its kind, asked once; none is an error that says so", async (t) => {
  const { url, requests } = await serve(t, ({ path }, res) =>
    path.endsWith("/models")
      ? json(res, 200, {
          data: [
            { id: "e", kind: "embeddings" },
            { id: "c", kind: "chat" },
          ],
        })
      : json(res, 200, { model: "c", choices: [{ message: { content: "yes" } }] }),
  );
  const client = new Client({ baseUrl: url });
  assert.equal((await client.chat("Is it?")).text, "yes");
  await client.chat([{ role: "user", content: "Is it?" }], {
    system: "Be short.",
    maxTokens: 3,
    extra: { top_k: 1 },
  });
  assert.deepEqual(
    requests.map((one) => one.path.split("/").at(-1)),
    ["models", "completions", "completions"],
  );
  assert.deepEqual(requests[2].body, {
    model: "c",
    messages: [
      { role: "system", content: "Be short." },
      { role: "user", content: "Is it?" },
    ],
    max_tokens: 3,
    top_k: 1,
  });
  await assert.rejects(client.generateImage("a tern"), sdk.NothingOfferedError);
});

test("any other route: by its own names, with retries and errors of the client", async (t) => {
  const { url, requests } = await serve(t, ({ path }, res) =>
    path.includes("grants")
      ? refuse(res, 403, "not_permitted")
      : json(res, 200, { data: { ledger_ok: true } }),
  );
  const client = new Client({ baseUrl: url });
  const query = { by: ["a", "b"], none: undefined };
  assert.deepEqual(await client.request("get", "/admin/ledger-check", { query }), {
    data: { ledger_ok: true },
  });
  assert.deepEqual(
    [...requests[0].query],
    [
      ["by", "a"],
      ["by", "b"],
    ],
  );
  await assert.rejects(
    client.request("POST", "/admin/grants", { body: { credits: "1" } }),
    sdk.PermissionDeniedError,
  );
  assert.deepEqual(requests[1].body, { credits: "1" });
});

test("what is of use for some seconds says so", async (t) => {
  const { url, requests } = await serve(t, (asked, res) =>
    asked.path === "/api/v1/jobs"
      ? json(res, 201, { data: { id: "job_1", status: "queued" } })
      : json(res, 200, { model: "m", choices: [{ message: { content: "a" } }] }),
  );
  const client = new Client({ baseUrl: url });
  await client.chat("Tell.", { model: "m", withinMs: 20_000 });
  await client.createJob("llm-chat", {}, { withinMs: 500 });
  await client.createJob("llm-chat", {});
  assert.deepEqual(
    requests.map((one) => one.headers["x-archipelag-within"]),
    ["20", "0.5", undefined],
  );
});
