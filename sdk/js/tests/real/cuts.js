/** Every stream of a real network, cut at random bytes: each answer is the undisturbed one, and is paid once. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { Client } from "@archipelag/sdk";
import { chance } from "../server.js";
import { cuttingProxy } from "./cutting_proxy.js";

const CUTS = 500;
const READERS = 4;
const ITEMS = 60;
const baseUrl = process.env["ARCHIPELAG_API_URL"] ?? "";
const direct = new Client();

/** Soon, so that a thousand cuts are made in a while. */
const sleep = async (/** @type {number} */ ms) => void (await pause(Math.min(ms, 20)));

/** Credits as whole millionths. @param {string | null | undefined} text */
function millionths(text) {
  const [whole = "0", part = ""] = String(text ?? "0").split(".");
  return BigInt(whole + part.padEnd(6, "0"));
}

/** What is free once nothing is reserved any more. */
async function balance() {
  for (;;) {
    const { credits, held } = await direct.getAccount();
    if (millionths(held) === 0n) return millionths(credits);
    await pause(50);
  }
}

const asked = (/** @type {number} */ seed) => ({
  model: "fast-chat",
  seed,
  system: JSON.stringify({ seeded: true, items: ITEMS, delay_ms: 2 }),
});

/** Several readers through a cutting proxy, until so many cuts were made; gives what each has paid. */
async function readAll(t, seed, read) {
  const random = chance(seed);
  // What has piled up comes as one event: often enough there must be room for the longest, or nobody gets on.
  const limit = () => 800 + Math.floor(random() * 5000);
  const proxy = await cuttingProxy(t, new URL(baseUrl), limit);
  const client = new Client({ baseUrl: proxy.url, retries: 10, sleep });
  const before = await balance();
  let [next, paid] = [0, 0n];
  const reader = async () => {
    while (proxy.cuts < CUTS) {
      const price = await read(client, next++);
      paid += millionths(price);
    }
  };
  await Promise.all(Array.from({ length: READERS }, reader));
  const spent = before - (await balance());
  t.diagnostic(`${proxy.cuts} cuts of ${next} streams; ${spent} millionths of a credit spent`);
  assert.ok(proxy.cuts >= CUTS);
  assert.equal(spent, paid, "each answer is paid once");
  return next;
}

test(`chats, cut ${CUTS} times`, async (t) => {
  const whole = new Map();
  for (let seed = 0; seed < 8; seed++)
    whole.set(seed, await direct.chat("one two three", asked(seed)));
  const streams = await readAll(t, 3, async (client, n) => {
    const jobs = new Set();
    const stream = client.chatStream("one two three", asked(n % 8));
    let text = "";
    for await (const piece of stream) {
      text += piece.text;
      jobs.add(piece.jobId);
    }
    assert.equal(text, whole.get(n % 8).text);
    // How much an Island remembered of the prompt is its own, and what it costs is the same.
    assert.deepEqual(
      { ...stream.usage, cachedTokens: 0 },
      { ...whole.get(n % 8).usage, cachedTokens: 0 },
    );
    assert.equal(jobs.size, 1, "nothing was run again");
    return stream.usage?.creditsUsed;
  });
  assert.ok(streams < CUTS, "most were cut more than once");
});

test(`jobs, cut ${CUTS} times`, async (t) => {
  const text = `${Array.from({ length: 7 }, (_, n) => `wörd${n}`).join(" ")}`;
  const words = text.split(" ");
  const expected = Array.from({ length: ITEMS }, (_, n) => `${words[n % 7]} `).join("");
  await readAll(t, 5, async (client, n) => {
    const job = await client.createJob(
      "echo",
      { text, items: ITEMS, delay_ms: 2 },
      { idempotencyKey: `cut-${n}` },
    );
    let said = "";
    const others = [];
    let last = -1;
    for await (const event of client.streamJob(job.id)) {
      assert.ok(Number(event.id) >= last, "never back");
      last = Number(event.id);
      if (event.type === "token") said += event.content;
      else others.push(event);
    }
    assert.equal(said, expected);
    assert.equal(others.at(-1)?.type, "done");
    const told = others.slice(0, -1).map((one) => JSON.stringify({ ...one, id: "" }));
    assert.deepEqual(
      told,
      told.filter((one, index) => one !== told[index - 1]),
      "nothing twice in a row",
    );
    return (await direct.getJob(job.id)).usage?.creditsUsed;
  });
});

test("the proxy does cut: a client that does not come back gets half an answer", async (t) => {
  const proxy = await cuttingProxy(t, new URL(baseUrl), () => 1500);
  const client = new Client({ baseUrl: proxy.url, retries: 0 });
  const slow = JSON.stringify({ seeded: true, items: ITEMS, delay_ms: 50 });
  const stream = client.chatStream("one two three", { ...asked(1), system: slow });
  await assert.rejects(stream, { name: "StreamBrokenError" });
  assert.ok(stream.text.length > 0 && stream.text.length < 1500);
  assert.equal(proxy.cuts, 1);
});
