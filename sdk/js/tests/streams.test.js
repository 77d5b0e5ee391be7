import assert from "node:assert/strict";
import { test } from "node:test";
import * as sdk from "@archipelag/sdk";
import { Client } from "@archipelag/sdk";
import { answerOf, chatAfter, jobAfter, sendCut } from "./cutting.js";
import { atOnce, chance, framed, openStream, refuse, serve } from "./server.js";

const CUTS = 1000;
const MODEL = { model: "m" };

/** A client of a server that cuts each stream at a random byte, until so many cuts were made. */
async function cut(t, random, streamAfter) {
  const state = { tokens: /** @type {string[]} */ ([]), cuts: 0 };
  const server = await serve(t, (asked, res) => {
    const last = asked.headers["last-event-id"];
    const text = streamAfter(state.tokens, last === undefined ? null : Number(last), random);
    const length = Buffer.byteLength(text);
    const whole = random() < (length < 500 ? 0.7 : 0.15);
    state.cuts += whole ? 0 : 1;
    return sendCut(res, text, whole ? length : Math.floor(random() * length));
  });
  const client = new Client({ baseUrl: server.url, retries: 10, sleep: atOnce });
  return { state, client, server };
}

test(`a chat that is cut ${CUTS} times is the undisturbed one, each piece once`, async (t) => {
  const random = chance(7);
  const { state, client, server } = await cut(t, random, chatAfter);
  let streams = 0;
  while (state.cuts < CUTS) {
    state.tokens = answerOf(random, 40);
    const pieces = [];
    const first = server.requests.length;
    for await (const piece of client.chatStream("Tell.", MODEL)) pieces.push(piece);
    assert.equal(pieces.map((one) => one.text).join(""), state.tokens.join(""));
    assert.deepEqual(pieces.map((one) => one.finishReason).filter(Boolean), ["stop"]);
    assert.deepEqual(pieces.map((one) => one.usage?.creditsUsed).filter(Boolean), ["0.000123"]);
    const asked = server.requests.slice(first);
    assert.equal(new Set(asked.map((one) => one.headers["idempotency-key"])).size, 1);
    assert.equal(new Set(asked.map((one) => one.text)).size, 1);
    streams++;
  }
  assert.ok(streams > 20 && streams < CUTS / 2, `${streams} streams`);
});

test(`a job's stream that is cut ${CUTS} times tells every event once`, async (t) => {
  const random = chance(11);
  const { state, client } = await cut(t, random, jobAfter);
  while (state.cuts < CUTS) {
    state.tokens = answerOf(random, 40);
    /** @type {sdk.JobEvent[]} */
    const events = [];
    for await (const event of client.streamJob("job_1")) events.push(event);
    const texts = events.map((one) => (one.type === "token" ? one.content : ""));
    assert.equal(texts.join(""), state.tokens.join(""));
    assert.deepEqual(
      events.flatMap((one) => (one.type === "token" ? [] : [one.type])),
      ["status", "status", "progress", "done"],
    );
    const ids = events.map((one) => Number(one.id));
    assert.deepEqual(
      ids,
      ids.toSorted((a, b) => a - b),
    );
  }
});

test("awaiting gives the whole answer and tells the listeners", async (t) => {
  const random = chance(1);
  const tokens = answerOf(random, 12);
  const { url } = await serve(t, (asked, res) =>
    sendCut(
      res,
      chatAfter(tokens, Number(asked.headers["last-event-id"] ?? 0), random),
      asked.headers["last-event-id"] ? 1e9 : 700,
    ),
  );
  const client = new Client({ baseUrl: url, sleep: atOnce });
  const told = [];
  let heard = "";
  const answer = await client.chatStream("Tell.", {
    ...MODEL,
    onToken: (text) => {
      heard += text;
    },
    onStatus: ({ state, jobId, island }) => told.push([state, jobId, island]),
  });
  assert.equal(answer.text, tokens.join(""));
  assert.equal(heard, tokens.join(""));
  assert.deepEqual(answer, {
    text: tokens.join(""),
    jobId: "job_1",
    island: "Surtsey",
    model: "m",
    finishReason: "stop",
    usage: {
      promptTokens: 3,
      completionTokens: 12,
      totalTokens: 15,
      creditsUsed: "0.000123",
      cachedTokens: 2,
    },
  });
  assert.deepEqual(told, [
    ["waiting", "", ""],
    ["running", "job_1", "Surtsey"],
    ["reconnecting", "job_1", "Surtsey"],
    ["running", "job_1", "Surtsey"],
    ["completed", "job_1", "Surtsey"],
  ]);
});

test("another process goes on with the key and the place of the first", async (t) => {
  const random = chance(2);
  const tokens = answerOf(random, 30);
  const { url, requests } = await serve(t, (asked, res) =>
    sendCut(res, chatAfter(tokens, Number(asked.headers["last-event-id"] ?? 0), random), 1e9),
  );
  const first = new Client({ baseUrl: url }).chatStream("Tell.", MODEL);
  for await (const piece of first) if (piece.text && Number(first.lastEventId) > 10) break;
  const { idempotencyKey, lastEventId, text } = first;
  const rest = await new Client({ baseUrl: url }).chatStream("Tell.", {
    ...MODEL,
    idempotencyKey,
    lastEventId,
  });
  assert.equal(text + rest.text, tokens.join(""));
  assert.ok(text && rest.text);
  assert.equal(requests[1].headers["idempotency-key"], requests[0].headers["idempotency-key"]);
});

test("whoever leaves early, or by a signal, closes the connection", async (t) => {
  let closed = () => {};
  const { url } = await serve(t, (_, res) => {
    res.on("close", () => closed());
    openStream(res);
    res.write(framed([1, { choices: [{ delta: { content: "a" } }] }]));
  });
  const client = new Client({ baseUrl: url });
  let gone = new Promise((done) => {
    closed = () => done(null);
  });
  for await (const piece of client.chatStream("Tell.", MODEL)) {
    assert.equal(piece.text, "a");
    break;
  }
  await gone;

  gone = new Promise((done) => {
    closed = () => done(null);
  });
  const control = new AbortController();
  const reason = new Error("enough");
  const reading = (async () => {
    for await (const _ of client.chatStream("Tell.", { ...MODEL, signal: control.signal }))
      control.abort(reason);
  })();
  await assert.rejects(reading, (error) => error === reason);
  await gone;
});

test("an error inside a stream is thrown as what it is, and not asked again", async (t) => {
  const told = { error: { code: "no_capacity", message: "gone", reasons: ["all left"] } };
  const { url, requests } = await serve(t, (_, res) => {
    openStream(res);
    res.end(framed([1, { choices: [{ delta: { content: "a" } }] }], [1, told], [null, "[DONE]"]));
  });
  const stream = new Client({ baseUrl: url, sleep: atOnce }).chatStream("Tell.", MODEL);
  await assert.rejects(stream, (error) => {
    assert.ok(error instanceof sdk.ServiceUnavailableError);
    assert.deepEqual(error.reasons, ["all left"]);
    return true;
  });
  assert.equal(stream.text, "a");
  assert.equal(requests.length, 1);
});

test("a server that names no places is not asked to say everything twice", async (t) => {
  const { url, requests } = await serve(t, (_, res) => {
    openStream(res);
    res.end(framed([null, { choices: [{ delta: { content: "a" } }] }]));
  });
  const stream = new Client({ baseUrl: url, sleep: atOnce }).chatStream("Tell.", MODEL);
  await assert.rejects(stream, sdk.StreamBrokenError);
  assert.equal(requests.length, 1);
});

test("a stream that has begun waits for a network that is restarted", async (t) => {
  const away = { first: 1, last: 9 };
  const { url, requests } = await serve(t, (_, res, count) => {
    if (count > away.first && count < away.last) return refuse(res, 502, "bad_gateway");
    const last = count > away.first;
    const [id, content] = last ? [2, "b"] : [1, "a"];
    const piece = framed([id, { choices: [{ delta: { content } }] }]);
    openStream(res);
    res.end(last ? piece + framed([3, "[DONE]"]) : piece);
  });
  const patient = new Client({ baseUrl: url, sleep: atOnce });
  assert.equal((await patient.chatStream("Tell.", MODEL)).text, "ab");
  assert.equal(requests.length, away.last);

  Object.assign(away, { first: requests.length + 1, last: Infinity });
  await assert.rejects(patient.chatStream("Tell.", MODEL), sdk.ServerError);
  assert.equal(requests.length, away.first + 9);

  away.first = requests.length + 1;
  const hasty = new Client({ baseUrl: url, sleep: atOnce, retries: 0 });
  await assert.rejects(hasty.chatStream("Tell.", MODEL), sdk.StreamBrokenError);
  assert.equal(requests.length, away.first);
});

test("a stream that does not get on is given up, one that does is not", async (t) => {
  const { url, requests } = await serve(t, (_, res) =>
    sendCut(res, framed([0, { choices: [] }]), 3),
  );
  const client = new Client({ baseUrl: url, sleep: atOnce, retries: 2 });
  await assert.rejects(client.chatStream("Tell.", MODEL), sdk.StreamBrokenError);
  assert.equal(requests.length, 3);
  await assert.rejects(client.streamJob("job_1").next(), sdk.StreamBrokenError);
  assert.equal(requests.length, 6);
});

test("as long as something new comes, it may break any number of times", async (t) => {
  const count = 20;
  const { url, requests } = await serve(t, (asked, res) => {
    const after = Number(asked.headers["last-event-id"] ?? 0);
    openStream(res);
    if (after === count) return res.end(framed([null, "[DONE]"]));
    return res.end(framed([after + 1, { choices: [{ delta: { content: "a" } }] }]));
  });
  const client = new Client({ baseUrl: url, sleep: atOnce, retries: 1 });
  assert.equal((await client.chatStream("Tell.", MODEL)).text, "a".repeat(count));
  assert.equal(requests.length, count + 1);
});

test("an answer that failed meanwhile cannot be continued: the reader is told so", async (t) => {
  const { url } = await serve(t, (asked, res) => {
    if (asked.headers["last-event-id"]) return refuse(res, 409, "nothing_to_continue");
    openStream(res);
    return res.end(framed([1, { choices: [{ delta: { content: "a" } }] }]));
  });
  const stream = new Client({ baseUrl: url, sleep: atOnce }).chatStream("Tell.", MODEL);
  await assert.rejects(
    stream,
    (error) => error instanceof sdk.ConflictError && error.code === "nothing_to_continue",
  );
});

test("a line without a sign of life is taken for dead, and gone on with", async (t) => {
  const { url, requests } = await serve(t, (asked, res) => {
    openStream(res);
    if (asked.headers["last-event-id"])
      return res.end(framed([2, { choices: [{ delta: { content: "b" } }] }], [null, "[DONE]"]));
    return res.write(framed([1, { choices: [{ delta: { content: "a" } }] }]));
  });
  const answer = await new Client({ baseUrl: url, sleep: atOnce, timeoutMs: 100 }).chatStream(
    "Tell.",
    MODEL,
  );
  assert.equal(answer.text, "ab");
  assert.equal(requests.length, 2);
});

test("a stream is read once", async (t) => {
  const { url } = await serve(t, (_, res) => sendCut(res, chatAfter(["a"], 0, chance(1)), 1e9));
  const stream = new Client({ baseUrl: url }).chatStream("Tell.", MODEL);
  assert.equal((await stream).text, "a");
  assert.equal((await stream).text, "a");
  await assert.rejects(stream[Symbol.asyncIterator]().next(), TypeError);
});

test("a job that fails ends its stream with the error and its code", async (t) => {
  const { url } = await serve(t, (_, res) => {
    openStream(res);
    res.end(
      framed(
        [0, { type: "status", content: "running" }],
        [
          0,
          { type: "error", error: "no room", code: "cargo_failed", usage: { credits_used: "0" } },
        ],
      ),
    );
  });
  const events = [];
  for await (const event of new Client({ baseUrl: url }).streamJob("job_1")) events.push(event);
  assert.deepEqual(events.at(-1), {
    type: "error",
    id: "0",
    error: "no room",
    code: "cargo_failed",
    usage: { creditsUsed: "0" },
  });
});

for (const rubbish of ["{", "[]", "null", "7"]) {
  test(`an event that is ${rubbish} is a BadAnswerError`, async (t) => {
    const { url } = await serve(t, (_, res) => {
      openStream(res);
      res.end(`data: ${rubbish}\n\n`);
    });
    const client = new Client({ baseUrl: url, sleep: atOnce });
    await assert.rejects(client.chatStream("Tell.", MODEL), sdk.BadAnswerError);
    await assert.rejects(client.streamJob("job_1").next(), sdk.BadAnswerError);
  });
}
