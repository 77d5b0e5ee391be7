/** Batches, reasons, usage and transfers on a real network. */

import assert from "node:assert/strict";
import { test } from "node:test";
import * as sdk from "@archipelag/sdk";
import { Client } from "@archipelag/sdk";

const client = new Client();

/** @param {AsyncIterable<any>} source */
async function all(source) {
  const found = [];
  for await (const one of source) found.push(one);
  return found;
}

test("a batch: merged in the order of its inputs, whatever fails; asked twice it is one", async () => {
  const inputs = [{ text: "first" }, { text: "second", fail_at: 0 }, { text: "third" }];
  const idempotencyKey = `batch-${Date.now()}`;
  const options = {
    maxParallelism: 2,
    mergeStrategy: /** @type {const} */ ("concat"),
    idempotencyKey,
  };
  const batch = await client.submitBatch("echo", inputs, options);
  assert.match(batch.id, /^bat_/);
  assert.deepEqual([batch.total, batch.jobs.length, batch.workloadSlug], [3, 3, "echo"]);
  assert.equal((await client.submitBatch("echo", inputs, options)).id, batch.id);
  const ended = await client.waitForBatch(batch.id);
  assert.equal(ended.status, "completed");
  assert.deepEqual(ended.counts, { queued: 0, running: 0, completed: 2, failed: 1, cancelled: 0 });
  assert.deepEqual(
    ended.items?.map((one) => one.status),
    ["completed", "failed", "completed"],
  );
  assert.match(String(ended.output), /first\s+third/);
  assert.match(String(ended.usage?.creditsUsed), /^0\.\d+$/);
  assert.equal((await client.getJob(batch.jobs[2])).output, "third ");
});

test("a batch that is not wanted any more; one whose input is wrong is not made", async () => {
  const inputs = Array.from({ length: 5 }, () => ({ text: "x", items: 4000, delay_ms: 50 }));
  const batch = await client.submitBatch("echo", inputs, { maxParallelism: 1 });
  assert.ok(["stopping", "cancelled"].includes((await client.cancelBatch(batch.id)).status));
  const ended = await client.waitForBatch(batch.id);
  assert.deepEqual([ended.status, ended.counts.cancelled], ["cancelled", 5]);
  await assert.rejects(client.submitBatch("hash", [{ text: "x" }, { text: 7 }]), (error) => {
    assert.ok(error instanceof sdk.ValidationError);
    assert.match(Object.keys(error.errors).join(), /^inputs\.1/);
    return true;
  });
  await assert.rejects(client.getBatchStatus("bat_00000000000000000000000000"), sdk.NotFoundError);
});

test("why a job went where it went", async () => {
  const job = await client.createJob("echo", { text: "x" });
  await client.waitForJob(job.id);
  const why = await client.whyJob(job.id);
  assert.deepEqual([why.jobId, why.status, why.waiting], [job.id, "completed", null]);
  const [attempt] = why.attempts;
  assert.ok(attempt.island && attempt.fit >= 1 && attempt.asked >= attempt.fit);
  assert.ok(attempt.preferences.every((one) => Number.isFinite(one.gave) && one.name));
});

test("what was used, and every movement of credits, as exact text", async () => {
  const [today] = await client.getUsage();
  assert.match(String(today.day), /^\d{4}-\d\d-\d\d$/);
  assert.ok(today.jobs >= 4);
  assert.match(today.credits, /^\d+\.\d+$/);
  const byWorkload = await client.getUsage({
    by: "workload",
    since: new Date(),
    until: new Date(),
  });
  assert.ok(byWorkload.some((one) => one.workload === "echo"));
  const transfers = await all(client.listTransfers());
  assert.equal(transfers.at(-1).kind, "grant");
  assert.ok(
    transfers.some((one) => one.kind === "charge" && one.amount.startsWith("-") && one.jobId),
  );
  assert.equal((await all(client.listTransfers({ limit: 2 }))).length, 2);
  assert.equal(new Set(transfers.map((one) => one.id)).size, transfers.length);
});

test("jobs by state, workload and day; a key changed", async () => {
  const status = /** @type {const} */ (["failed", "cancelled"]);
  const long = await client.createJob("echo", { text: "x", items: 4000, delay_ms: 50 });
  await client.cancelJob(long.id);
  const found = await all(client.listJobs({ status, workload: "echo" }));
  assert.equal(found[0].id, long.id);
  assert.deepEqual([...new Set(found.map((one) => one.status))].toSorted(), [
    "cancelled",
    "failed",
  ]);
  assert.deepEqual(
    await all(client.listJobs({ createdAfter: new Date(Date.now() + 86_400_000) })),
    [],
  );
  assert.deepEqual(await all(client.listJobs({ createdBefore: "2020-01-01T00:00:00Z" })), []);
  const key = await client.createKey("before", { budget: "5" });
  const changed = await client.updateKey(key.id, { name: "after", budget: "3" });
  assert.deepEqual([changed.name, changed.budget], ["after", "3"]);
});
