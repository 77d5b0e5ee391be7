/** The client in other runtimes than this one, against a server that cuts. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { globSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { answerOf, chatAfter, jobAfter, sendCut } from "./cutting.js";
import { chance, json, refuse, serve } from "./server.js";

const SDK = fileURLToPath(new URL("../../", import.meta.url));
const found = (/** @type {string} */ pattern) =>
  globSync(pattern, { cwd: SDK }).map((one) => SDK + one)[0];
const CONTENT = Buffer.from("back again");
const ABOUT = {
  id: "file_1",
  bytes: CONTENT.length,
  media_type: "text/plain",
  sha256: createHash("sha256").update(CONTENT).digest("hex"),
};

const RUNTIMES = /** @type {const} */ ([
  ["Node", process.execPath, []],
  [
    "Deno",
    found("node_modules/@deno/*/deno"),
    [
      "run",
      "--no-prompt",
      "--no-remote",
      "--node-modules-dir=manual",
      "--allow-net=127.0.0.1",
      "--allow-env",
    ],
  ],
  ["Bun", found("node_modules/@oven/*/bin/bun"), ["run"]],
]);

for (const [name, program, options] of RUNTIMES) {
  test(`in ${name}`, async (t) => {
    assert.ok(program, `${name} is not there: make .venv/node.stamp`);
    const random = chance(5);
    const tokens = answerOf(random, 30);
    let cuts = 0;
    const { url, requests } = await serve(t, ({ method, path, headers }, res) => {
      const last = headers["last-event-id"];
      if (path === "/api/v1/files/file_1") return json(res, 200, ABOUT);
      if (path === "/api/v1/files") return json(res, 200, ABOUT);
      if (path.endsWith("/content")) {
        const from = headers.range ? 4 : 0;
        res.writeHead(from ? 206 : 200, { "Content-Length": CONTENT.length - from });
        return from
          ? res.end(CONTENT.subarray(from))
          : res.write(CONTENT.subarray(0, 4), () => setTimeout(() => res.destroy(), 50));
      }
      if (method === "GET" && !path.endsWith("/stream")) return refuse(res, 404, "not_found");
      const after = last === undefined ? null : Number(last);
      const text =
        method === "POST" ? chatAfter(tokens, after ?? 0, random) : jobAfter(tokens, after, random);
      const cut = cuts++ % 4 === 3 ? 1e9 : Math.floor(random() * text.length);
      return sendCut(res, text, cut);
    });
    const env = { ...process.env, ARCHIPELAG_API_URL: url, ARCHIPELAG_API_KEY: "ak_env" };
    const smoke = fileURLToPath(new URL("smoke.mjs", import.meta.url));
    const out = await new Promise((done, failed) =>
      execFile(
        String(program),
        [...options, smoke],
        { env, cwd: SDK, timeout: 60_000 },
        (error, stdout, stderr) =>
          error ? failed(new Error(`${error.message}\n${stderr}`)) : done(stdout),
      ),
    );
    assert.deepEqual(JSON.parse(out), {
      text: tokens.join(""),
      events: ["status", "progress", "token", "done"],
      file: "file_1",
      back: "back again",
      refused: true,
      nobody: true,
      reason: "enough",
    });
    assert.ok(requests.some((one) => one.headers["last-event-id"]) && cuts > 4);
    assert.equal(requests[0].headers.authorization, "Bearer ak_env");
  });
}
