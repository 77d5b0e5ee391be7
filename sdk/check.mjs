// Format, lint, types and packaging of the JavaScript packages, and lint of the pages' own scripts; `--write` repairs
// what it can.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL(".", import.meta.url));
const require = createRequire(import.meta.url);
const write = process.argv.includes("--write");

/** The script that a package's command is. */
function command(name) {
  const listed = require.resolve.paths(name).map((path) => join(path, name, "package.json"));
  for (const path of listed) {
    try {
      const { bin } = require(path);
      return join(dirname(path), typeof bin === "string" ? bin : Object.values(bin)[0]);
    } catch {}
  }
  throw new Error(`${name} is not installed: make .venv/node.stamp`);
}

const pages = fileURLToPath(new URL("../coordinator/", import.meta.url));
const scripts = join(pages, "src/archipelag_coordinator/apps/web/static");
/** By hand: one built file of the SDK lies beside them. */
const own = readdirSync(scripts).filter((name) => name.endsWith(".js") && name !== "archipelag.js");

const steps = [
  [
    "@biomejs/biome",
    write ? "check" : "ci",
    ...(write ? ["--write"] : ["--error-on-warnings"]),
    ".",
  ],
  [
    "@biomejs/biome",
    "lint",
    "--error-on-warnings",
    "--config-path=biome.json",
    ...["pages/build.mjs", "pages/parts.mjs"].map((name) => join(pages, name)),
    ...own.map((name) => join(scripts, name)),
  ],
  ...["js", "react", "js/tests", "react/tests"].map((one) => ["typescript", "-p", one]),
  ...["js", "react"].map((one) => ["publint", one, "--strict", "--pack", "false"]),
];
for (const [name, ...rest] of write ? steps.slice(0, 1) : steps) {
  const done = spawnSync(process.execPath, [command(name), ...rest], {
    cwd: folder,
    stdio: "inherit",
  });
  if (done.status !== 0) process.exitCode = 1;
}
