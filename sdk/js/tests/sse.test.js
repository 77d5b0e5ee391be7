import assert from "node:assert/strict";
import { test } from "node:test";
import { BadAnswerError, SseParser } from "@archipelag/sdk";

const bytes = (/** @type {string} */ text) => new TextEncoder().encode(text);

const CASES = /** @type {const} */ ([
  ["one event", "id: 3\ndata: a\n\n", [["a", "message", "3"]]],
  [
    "lines end in CR, LF or CRLF",
    "data: a\rdata: b\r\ndata: c\n\r\n",
    [["a\nb\nc", "message", ""]],
  ],
  [
    "a name",
    "event: x\ndata: a\n\ndata: b\n\n",
    [
      ["a", "x", ""],
      ["b", "message", ""],
    ],
  ],
  [
    "an id stays",
    "id: 1\ndata: a\n\ndata: b\n\n",
    [
      ["a", "message", "1"],
      ["b", "message", "1"],
    ],
  ],
  ["an id alone is no event", "id: 1\n\ndata: a\n\n", [["a", "message", "1"]]],
  ["an id with NUL is none", "id: 1\nid: 2\0\ndata: a\n\n", [["a", "message", "1"]]],
  [
    "only one space goes",
    "data:  a\n\ndata:b\n\n",
    [
      [" a", "message", ""],
      ["b", "message", ""],
    ],
  ],
  ["comments and strangers", ": alive\nretry: 9\nfuture: x\ndata\n\n", [["", "message", ""]]],
  ["a BOM at the start goes", "\ufeffdata: a\n\n", [["a", "message", ""]]],
  ["letters of several bytes", "data: søen 🏝️\n\n", [["søen 🏝️", "message", ""]]],
  ["half an event is none", "data: a\n\ndata: b\n", [["a", "message", ""]]],
]);

for (const [name, text, expected] of CASES) {
  test(`${name}, in whatever pieces it comes`, () => {
    const whole = bytes(text);
    for (let size = 1; size <= whole.length; size++) {
      const parser = new SseParser();
      const found = [];
      for (let at = 0; at < whole.length; at += size)
        found.push(...parser.feed(whole.subarray(at, at + size)));
      assert.deepEqual(
        found.map((one) => [one.data, one.event, one.id]),
        expected,
        `in pieces of ${size}`,
      );
    }
  });
}

test("an event without end is refused before it fills the memory", () => {
  const parser = new SseParser();
  const block = bytes(`data: ${"x".repeat(1 << 20)}`);
  assert.throws(() => {
    for (let count = 0; count < 40; count++) parser.feed(block);
  }, BadAnswerError);
});
