/** The client against a real network, whose address and key stand in the environment. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { test } from "node:test";
import * as sdk from "@archipelag/sdk";
import { Client } from "@archipelag/sdk";
import { blocks, folder } from "../blocks.js";

const client = new Client();
const baseUrl = process.env["ARCHIPELAG_API_URL"] ?? "";

/** @param {AsyncIterable<any>} source */
async function all(source) {
  const found = [];
  for await (const one of source) found.push(one);
  return found;
}

test("who I am, and what there is", async () => {
  const account = await client.getAccount();
  assert.equal(account.email, "javascript-network@example.org");
  assert.match(account.credits, /^\d+(\.\d{1,6})?$/);
  const models = await client.listModels();
  assert.ok(models.some((one) => one.id === "fast-chat" && one.kind === "chat"));
  const slugs = (await client.listWorkloads()).map((one) => one.slug);
  assert.ok(slugs.includes("echo"));
  const echo = await client.getWorkload("echo");
  assert.deepEqual([echo.slug, echo.isEnabled, echo.pricePerJob], ["echo", true, "0"]);
  const [island] = await client.listIslands();
  assert.ok(island?.cargos.some((one) => one.slug === "echo"));
  assert.equal((await client.getIsland(island.id)).name, island.name);
  assert.equal(typeof (await client.getIslandKarma(island.id)).points, "number");
  assert.equal((await client.getStats()).onlineIslands, 1);
  assert.match(await client.getVersion(), /^\d+\.\d+/);
});

test("a chat, whole and streamed, in both kinds of modules", async () => {
  const { Client: Required } = createRequire(import.meta.url)("@archipelag/sdk");
  const asked = { model: "fast-chat", seed: 7, system: '{"seeded": true, "items": 20}' };
  const whole = await client.chat("Tell.", asked);
  assert.ok(whole.text.length > 100);
  assert.deepEqual(
    [whole.model, whole.finishReason, whole.usage?.completionTokens],
    ["fast-chat", "stop", 20],
  );
  assert.match(whole.jobId, /^job_/);
  assert.ok(whole.island);
  for (const one of [client, new Required()]) {
    const tokens = [];
    const answer = await one.chatStream("Tell.", {
      ...asked,
      onToken: (/** @type {string} */ text) => tokens.push(text),
    });
    assert.deepEqual({ ...answer, jobId: "" }, { ...whole, jobId: "" });
    assert.equal(tokens.join(""), whole.text);
  }
});

test("a job: made, followed, waited for, listed; asked twice it is one", async () => {
  const idempotencyKey = `js-${Date.now()}`;
  const input = { text: "five little words in rów", max_tokens: 9 };
  const job = await client.createJob("echo", input, { idempotencyKey, priority: 2 });
  assert.equal((await client.createJob("echo", input, { idempotencyKey, priority: 2 })).id, job.id);
  await assert.rejects(
    client.createJob("echo", { text: "x" }, { idempotencyKey }),
    sdk.IdempotencyMismatchError,
  );
  const events = await all(client.streamJob(job.id));
  const text = events.map((one) => (one.type === "token" ? one.content : "")).join("");
  assert.equal(text, "five little words in rów ");
  assert.equal(events.at(-1).type, "done");
  const rest = await all(client.streamJob(job.id, { lastEventId: "2" }));
  assert.equal(
    rest.map((one) => (one.type === "token" ? one.content : "")).join(""),
    "words in rów ",
  );
  const done = await client.waitForJob(job.id);
  assert.deepEqual([done.output, done.input, done.priority], [text, input, 2]);
  assert.equal(done.attempts?.length, 1);
  assert.equal(done.usage?.creditsUsed, events.at(-1).usage.creditsUsed);
  assert.equal(await client.getJobOutput(job.id), text);
  assert.deepEqual(await client.listJobFiles(job.id), []);
  const newest = await all(client.listJobs({ limit: 1 }));
  assert.equal(newest[0].id, job.id);
});

test("many jobs at once, and what became of each", async () => {
  const inputs = Array.from({ length: 20 }, (_, n) =>
    n === 7 ? { text: "x", fail_at: 0 } : { text: `w${n}` },
  );
  const ended = await client.waitAll(await client.batch("echo", inputs));
  assert.deepEqual(
    ended.map((one) => one.output ?? one.status),
    inputs.map((one, n) => (n === 7 ? "failed" : `${one.text} `)),
  );
  await assert.rejects(
    client.waitForJob(ended[7].id),
    (error) => error instanceof sdk.JobFailedError && error.jobId === ended[7].id,
  );
  const failed = await all(client.listJobs({ status: "failed" }));
  assert.deepEqual(
    failed.map((one) => one.id),
    [ended[7].id],
  );
});

test("a job that takes long is cancelled, by name or by leaving its stream", async () => {
  const long = { text: "x", items: 4000, delay_ms: 50 };
  const job = await client.createJob("echo", long);
  assert.equal((await client.cancelJob(job.id)).status, "cancelled");
  assert.equal((await client.cancelJob(job.id)).status, "cancelled");
  const control = new AbortController();
  const stream = client.chatStream("x", {
    model: "fast-chat",
    system: JSON.stringify({ items: 4000, delay_ms: 50 }),
    signal: control.signal,
    onToken: () => control.abort(),
  });
  await assert.rejects(stream, { name: "AbortError" });
  assert.match(stream.jobId, /^job_/);
  await client.cancelJob(stream.jobId);
});

test("files: sent, listed, fetched, deleted", async () => {
  const content = "søen\n".repeat(50_000);
  const file = await client.uploadFile(content, { name: "sea.txt", expiresAfterSeconds: 3600 });
  assert.deepEqual([file.filename, file.bytes, file.mediaType], ["sea.txt", 300_000, "text/plain"]);
  assert.deepEqual(
    (await all(client.listFiles({ limit: 5 }))).map((one) => one.id),
    [file.id],
  );
  assert.equal((await client.getFile(file.id)).sha256, file.sha256);
  const blob = await client.downloadFile(file.id);
  assert.deepEqual([await blob.text(), blob.type], [content, "text/plain"]);
  assert.equal(new TextDecoder().decode(await client.fileContent(file.id)), content);
  await client.deleteFile(file.id);
  await assert.rejects(client.downloadFile(file.id), sdk.NotFoundError);
});

test("keys: a reader cannot write, a budget holds, a revoked one is none", async () => {
  const reading = await client.createKey("reading", { scopes: ["read"] });
  const reader = new Client({ apiKey: reading.key });
  assert.equal((await reader.getAccount()).email, "javascript-network@example.org");
  await assert.rejects(reader.createJob("echo", { text: "x" }), sdk.PermissionDeniedError);
  await client.revokeKey(reading.id);
  await assert.rejects(reader.getAccount(), sdk.AuthenticationError);
  const small = await client.createKey("small", { budget: "0.000001" });
  assert.equal(small.budget, "0.000001");
  const poor = new Client({ apiKey: small.key });
  await assert.rejects(poor.createJob("echo", { text: "x" }), (error) => {
    assert.ok(error instanceof sdk.BudgetExceededError);
    assert.equal(error.available, "0.000001");
    assert.match(String(error.required), /^\d+(\.\d+)?$/);
    return true;
  });
  const names = (await client.listKeys()).filter((one) => !one.revokedAt).map((one) => one.name);
  assert.ok(names.includes("small") && !names.includes("reading"));
});

test("what is wrong is said by name", async () => {
  await assert.rejects(client.chat("x", { model: "fast-chat", temperature: 9 }), (error) => {
    assert.ok(error instanceof sdk.ValidationError);
    assert.deepEqual(Object.keys(error.errors), ["temperature"]);
    assert.match(String(error.requestId), /\S/);
    return true;
  });
  await assert.rejects(client.chat("x", { model: "none-such" }), sdk.NotFoundError);
  await assert.rejects(client.getJob("job_00000000000000000000000000000000"), sdk.NotFoundError);
  await assert.rejects(
    client.chat("x", { model: "fast-chat", extra: { n: 2 } }),
    sdk.UnsupportedError,
  );
  await assert.rejects(new Client({ apiKey: "ak_wrong" }).getAccount(), sdk.AuthenticationError);
  await assert.rejects(
    client.uploadFile("x", { name: "x", purpose: "nonsense" }),
    sdk.ValidationError,
  );
});

test("vectors and pictures, with previews", async () => {
  const { vectors, usage } = await client.embed(["an island", "a sea"]);
  assert.equal(vectors.length, 2);
  assert.equal(vectors[0].length, vectors[1].length);
  assert.ok(usage && usage.promptTokens > 0);
  // So many that on a busy machine, where several are written as one, some come before the end.
  const options = { width: 64, height: 64, steps: 100, seed: 7 };
  const previews = [];
  const drawn = await client.generateImage("a red square", {
    ...options,
    onPartialImage: (data) => previews.push(data),
  });
  const again = await client.generateImage("a red square", options);
  assert.deepEqual(drawn.data, again.data);
  assert.deepEqual([...(again.data ?? []).slice(1, 4)], [...Buffer.from("PNG")]);
  assert.deepEqual([again.width, again.height, again.seed], [64, 64, 7]);
  assert.ok(previews.length > 0);
  const linked = await client.generateImage("a red square", { ...options, as: "url" });
  const fetched = await fetch(String(linked.url));
  assert.deepEqual(new Uint8Array(await fetched.arrayBuffer()), again.data);
});

test("the first address is dead: the second one answers", async () => {
  const two = new Client({ baseUrl: ["http://127.0.0.1:9", baseUrl] });
  assert.equal((await two.chat("one two", { model: "fast-chat" })).text, "one two ");
});

test("every program in the pages runs", async (t) => {
  const cwd = folder(t);
  writeFileSync(join(cwd, "notes.txt"), "Two lines\nof notes.\n");
  const pages = ["sdk/js/README.md", "docs/how-to/javascript.md"];
  for (const program of pages.flatMap((page) => blocks(page, "js", cwd))) {
    const [error, out, said] = await new Promise((done) =>
      execFile(process.execPath, [program], { cwd, timeout: 60_000 }, (...ended) => done(ended)),
    );
    assert.equal(error, null, `${readFileSync(program, "utf8")}\n${said}`);
    if (!readFileSync(program, "utf8").includes("copy.txt")) assert.ok(out || said, program);
  }
  assert.equal(readFileSync(join(cwd, "copy.txt"), "utf8"), "Two lines\nof notes.\n");
});
