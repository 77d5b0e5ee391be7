/** The package as it is installed: both kinds of modules, one page script, the same names in each. */

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import * as esm from "@archipelag/sdk";
import { blocks, folder, typing } from "./blocks.js";
import { json, serve } from "./server.js";

const PAGE_SCRIPT = new URL(
  "../../../coordinator/src/archipelag_coordinator/apps/web/static/archipelag.js",
  import.meta.url,
);
const PAGE_BYTES_MAX = 12 * 1024;

test("import and require give the same names, and both work", async (t) => {
  const cjs = createRequire(import.meta.url)("@archipelag/sdk");
  assert.deepEqual(Object.keys(cjs).toSorted(), Object.keys(esm).toSorted());
  assert.ok(Object.keys(esm).includes("Client"));
  const { url } = await serve(t, (_, res) => json(res, 200, { data: { id: "usr_1" } }));
  for (const { Client } of [esm, cjs]) {
    assert.equal((await new Client({ baseUrl: url }).getAccount()).id, "usr_1");
  }
});

test("the script for pages is what a build of these sources gives, small, and works", async (t) => {
  const build = new URL("../../build.mjs", import.meta.url).pathname;
  const built = execFileSync(process.execPath, [build, "--print-page"]);
  const kept = readFileSync(PAGE_SCRIPT);
  assert.ok(
    built.equals(kept),
    "the committed script is not what is built: run `make page-script`",
  );
  assert.ok(gzipSync(kept, { level: 9 }).length < PAGE_BYTES_MAX);
  const page = await import(PAGE_SCRIPT.href.replace(".js", ".js?page"));
  assert.deepEqual(Object.keys(page).toSorted(), Object.keys(esm).toSorted());
  const { url } = await serve(t, (_, res) => json(res, 404, { error: { code: "not_found" } }));
  await assert.rejects(new page.Client({ baseUrl: url }).getAccount(), { name: "NotFoundError" });
});

test("nothing is asked of other packages, nor of Node", () => {
  const about = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  assert.equal(about.dependencies, undefined);
  const source = readFileSync(new URL("../dist/esm/index.js", import.meta.url), "utf8");
  assert.doesNotMatch(source, /^import .* from |require\(|import\(/m);
});

test("the programs in the pages are of the right types, and one with a wrong type is seen", (t) => {
  const here = folder(t);
  const files = [
    ...blocks("sdk/js/README.md", "js", here),
    ...blocks("docs/how-to/javascript.md", "js", here),
    ...blocks("sdk/react/README.md", "tsx", here),
  ];
  assert.ok(files.length >= 12, `${files.length} programs`);
  const right = spawnSync(process.execPath, typing(files), { encoding: "utf8" });
  assert.equal(right.stdout, "");

  const wrong = join(here, "wrong.mts");
  writeFileSync(
    wrong,
    `import { Client, type Credits } from "@archipelag/sdk";
     const credits: Credits = 0.1;
     new Client().chat(7);
     for await (const event of new Client().streamJob("x")) if (event.type === "token") event.step;
     export { credits };`,
  );
  const { stdout } = spawnSync(process.execPath, typing([wrong]), { encoding: "utf8" });
  assert.equal(stdout.match(/error TS/g)?.length, 3, stdout);
});
