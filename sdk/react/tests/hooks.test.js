/** The hooks in real React, in a page of happy-dom, against a server on this machine. */

import assert from "node:assert/strict";
import { after, afterEach, test } from "node:test";
import { Client } from "@archipelag/sdk";
import { Window } from "happy-dom";
import { framed, json, openStream, refuse, serve } from "../../js/tests/server.js";

const window = new Window({ url: "http://localhost/" });
Object.assign(globalThis, { window, document: window.document, IS_REACT_ACT_ENVIRONMENT: true });
if (!("navigator" in globalThis)) Object.assign(globalThis, { navigator: window.navigator }); // Node 20
// Only once there is a document.
const { createElement, StrictMode } = await import("react");
const { act, cleanup, renderHook, waitFor } = await import("@testing-library/react");
const { ArchipelagProvider, useChat, useClient, useImage } = await import("@archipelag/react");

afterEach(cleanup);
after(() => window.happyDOM.close());

const chunk = (content, more = {}) => ({ choices: [{ delta: { content }, ...more }] });
const END = framed(
  [9, { choices: [{ delta: {}, finish_reason: "stop" }] }],
  [9, { choices: [], usage: { prompt_tokens: 1, completion_tokens: 2, credits_used: "0.0001" } }],
  [null, "[DONE]"],
);

/** A hook below a provider, as in a page that is being developed: React runs every effect twice. */
function hook(url, use) {
  const client = new Client({ baseUrl: url, apiKey: "ak_x", retries: 2, sleep: async () => {} });
  const wrapper = ({ children }) =>
    createElement(StrictMode, null, createElement(ArchipelagProvider, { client }, children));
  return renderHook(use, { wrapper });
}

/** Something that others wait for. */
function gate() {
  let open = () => {};
  const opened = new Promise((done) => {
    open = () => done(null);
  });
  return { open, opened };
}

const said = (chat) => chat.messages.map((one) => [one.role, one.content]);

test("a conversation: tokens as they come, and what was said before as context", async (t) => {
  const rest = gate();
  const { url, requests } = await serve(t, async (_, res, count) => {
    openStream(res);
    res.write(framed([1, chunk("An ")]));
    if (count === 1) await rest.opened;
    res.end(framed([2, chunk("island.")]) + END);
  });
  const finished = [];
  const options = { model: "m", system: "Be short.", temperature: 0 };
  const { result } = hook(url, () =>
    useChat({ ...options, onFinish: (one) => finished.push(one.content) }),
  );
  assert.equal(result.current.status, "ready");

  let first;
  act(() => {
    first = result.current.send("What is it?");
  });
  assert.equal(result.current.status, "waiting");
  await waitFor(() => assert.equal(result.current.status, "streaming"));
  await waitFor(() =>
    assert.deepEqual(said(result.current), [
      ["user", "What is it?"],
      ["assistant", "An "],
    ]),
  );
  await act(async () => {
    rest.open();
    await first;
  });
  assert.equal(result.current.status, "ready");
  const answer = result.current.messages[1];
  assert.deepEqual(
    [answer.content, answer.jobId, answer.island, answer.finishReason, answer.usage?.creditsUsed],
    ["An island.", "job_1", "Surtsey", "stop", "0.0001"],
  );

  await act(() => result.current.send("And now?"));
  assert.deepEqual(requests[1].body.messages, [
    { role: "system", content: "Be short." },
    { role: "user", content: "What is it?" },
    { role: "assistant", content: "An island." },
    { role: "user", content: "And now?" },
  ]);
  assert.equal(requests[1].body.temperature, 0);
  assert.deepEqual(finished, ["An island.", "An island."]);
  assert.equal(new Set(result.current.messages.map((one) => one.id)).size, 4);
});

test("stop keeps what has come and closes the connection", async (t) => {
  const closed = gate();
  const { url } = await serve(t, (_, res) => {
    res.on("close", closed.open);
    openStream(res);
    res.write(framed([1, chunk("An ")]));
  });
  const { result } = hook(url, () => useChat({ model: "m" }));
  let sent;
  act(() => {
    sent = result.current.send("What is it?");
  });
  await waitFor(() => assert.equal(result.current.messages.length, 2));
  await act(async () => {
    result.current.stop();
    await sent;
  });
  await closed.opened;
  assert.equal(result.current.status, "ready");
  assert.equal(result.current.error, null);
  assert.deepEqual(said(result.current), [
    ["user", "What is it?"],
    ["assistant", "An "],
  ]);
});

test("regenerate asks the last question anew, in the place of its answer", async (t) => {
  const { url, requests } = await serve(t, (_, res, count) => {
    openStream(res);
    res.end(framed([1, chunk(`answer ${count}`)]) + END);
  });
  const { result } = hook(url, () => useChat({ model: "m" }));
  await act(() => result.current.regenerate());
  assert.equal(requests.length, 0);
  await act(() => result.current.send("What is it?"));
  await act(() => result.current.regenerate());
  assert.deepEqual(said(result.current), [
    ["user", "What is it?"],
    ["assistant", "answer 2"],
  ]);
  assert.deepEqual(requests[1].body.messages, [{ role: "user", content: "What is it?" }]);
  const [one, two] = requests.map((asked) => asked.headers["idempotency-key"]);
  assert.notEqual(one, two);
});

test("a refusal is shown as what it is, and the question stays to be asked again", async (t) => {
  const { url } = await serve(t, (_, res, count) => {
    if (count === 1)
      return refuse(res, 402, "insufficient_credits", { required: "2", available: "1" });
    openStream(res);
    return res.end(framed([1, chunk("yes")]) + END);
  });
  const { result } = hook(url, () => useChat({ model: "m" }));
  await act(() => result.current.send("Is it?"));
  assert.equal(result.current.status, "error");
  assert.equal(result.current.error?.name, "InsufficientCreditsError");
  assert.deepEqual(said(result.current), [["user", "Is it?"]]);
  await act(() => result.current.regenerate());
  assert.deepEqual([result.current.status, result.current.error], ["ready", null]);
  assert.deepEqual(said(result.current), [
    ["user", "Is it?"],
    ["assistant", "yes"],
  ]);
});

test("a line that breaks: the answer goes on where it was", async (t) => {
  const { url } = await serve(t, (asked, res) => {
    openStream(res);
    if (asked.headers["last-event-id"] === "1") return res.end(framed([2, chunk("island.")]) + END);
    return res.write(framed([1, chunk("An ")]), () => res.destroy());
  });
  const { result } = hook(url, () => useChat({ model: "m" }));
  await act(() => result.current.send("What is it?"));
  assert.deepEqual(said(result.current), [
    ["user", "What is it?"],
    ["assistant", "An island."],
  ]);
});

test("a new question ends the answer to the last one, whose late words are nowhere", async (t) => {
  const { url } = await serve(t, (_, res, count) => {
    openStream(res);
    res.write(framed([1, chunk(count === 1 ? "old" : "new")]));
    if (count > 1) res.end(END);
  });
  const { result } = hook(url, () => useChat({ model: "m" }));
  let first;
  act(() => {
    first = result.current.send("One?");
  });
  await waitFor(() => assert.equal(result.current.messages.length, 2));
  await act(async () => {
    await Promise.all([first, result.current.send("Two?")]);
  });
  assert.deepEqual(said(result.current), [
    ["user", "One?"],
    ["assistant", "old"],
    ["user", "Two?"],
    ["assistant", "new"],
  ]);
  assert.equal(result.current.status, "ready");
});

test("another conversation takes the place of this one", async (t) => {
  const { url } = await serve(t, (_, res) => openStream(res));
  const kept = /** @type {const} */ ([{ id: "1", role: "user", content: "Before?" }]);
  const { result } = hook(url, () => useChat({ model: "m", initialMessages: kept }));
  assert.deepEqual(said(result.current), [["user", "Before?"]]);
  act(() => void result.current.send("Now?"));
  act(() => result.current.setMessages([]));
  assert.deepEqual(result.current.messages, []);
  assert.equal(result.current.status, "ready");
});

test("whoever leaves the page leaves the stream", async (t) => {
  const closed = gate();
  const { url } = await serve(t, (_, res) => {
    res.on("close", closed.open);
    openStream(res);
    res.write(framed([1, chunk("An ")]));
  });
  const { result, unmount } = hook(url, () => useChat({ model: "m" }));
  act(() => void result.current.send("What is it?"));
  await waitFor(() => assert.equal(result.current.messages.length, 2));
  unmount();
  await closed.opened;
});

test("a picture: its previews, then itself, as an address to show", async (t) => {
  const event = (type, more) => `event: ${type}\ndata: ${JSON.stringify({ type, ...more })}\n\n`;
  const rest = gate();
  const { url, requests } = await serve(t, async (_, res) => {
    openStream(res);
    res.write(
      event("image_generation.partial_image", { b64_json: btoa("half"), partial_image_index: 0 }),
    );
    await rest.opened;
    res.end(
      event("image_generation.completed", {
        b64_json: btoa("whole"),
        size: "8x8",
        output_format: "png",
      }),
    );
  });
  const { result } = hook(url, () => useImage({ model: "image-gen", steps: 2 }));
  const textOf = async () =>
    Buffer.from(await (await fetch(result.current.src ?? "")).arrayBuffer()).toString();
  let drawn;
  act(() => {
    drawn = result.current.generate("a tern", { seed: 7 });
  });
  assert.equal(result.current.status, "drawing");
  await waitFor(() => assert.ok(result.current.src));
  assert.equal(await textOf(), "half");
  const preview = result.current.src;
  await act(async () => {
    rest.open();
    await drawn;
  });
  assert.equal(result.current.status, "ready");
  assert.equal(await textOf(), "whole");
  assert.equal(result.current.image?.width, 8);
  assert.notEqual(result.current.src, preview);
  assert.deepEqual([requests[0].body.steps, requests[0].body.seed], [2, 7]);
});

test("a picture without previews that is refused", async (t) => {
  const { url, requests } = await serve(t, (_, res) => refuse(res, 404, "not_found"));
  const { result } = hook(url, () => useImage({ model: "none", previews: false }));
  await act(async () => assert.equal(await result.current.generate("a tern"), null));
  assert.equal(result.current.status, "error");
  assert.equal(result.current.error?.name, "NotFoundError");
  assert.equal(requests[0].body.stream, undefined);
});

test("a hook without a provider says what is missing", (t) => {
  t.mock.method(console, "error", () => {}); // React tells of it, too.
  assert.throws(() => renderHook(() => useClient()), /ArchipelagProvider/);
});

test("the client of the provider is the one that is used", async (t) => {
  const { url } = await serve(t, (_, res) => json(res, 200, { data: { id: "usr_1" } }));
  const { result } = hook(url, () => useClient());
  assert.equal((await result.current.getAccount()).id, "usr_1");
});
