// Builds `static/vendor/parts.js` and the licences beside it, from the locked packages: `npm ci && npm run build`.
// What was built from what is written to `vendor/parts.json`, which a test holds against the files.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const folder = process.argv[2] ?? here("../src/archipelag_coordinator/apps/web/static/vendor");
const LICENCES = { marked: "LICENSE", dompurify: "LICENSE", "highlight.js": "LICENSE" };
const sha256 = (path) => createHash("sha256").update(readFileSync(path)).digest("hex");

mkdirSync(folder, { recursive: true });
await build({
  entryPoints: [here("parts.mjs")],
  bundle: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  minify: true,
  legalComments: "none",
  banner: { js: "// marked, DOMPurify and highlight.js; their licences stand in parts.LICENSES.txt." },
  outfile: `${folder}/parts.js`,
});
const licences = Object.entries(LICENCES).map(([name, file]) => {
  const version = JSON.parse(readFileSync(here(`node_modules/${name}/package.json`))).version;
  return `${name} ${version}\n\n${readFileSync(here(`node_modules/${name}/${file}`), "utf8").trim()}\n`;
});
writeFileSync(`${folder}/parts.LICENSES.txt`, licences.join(`\n${"-".repeat(80)}\n\n`));
const made = { "parts.js": sha256(`${folder}/parts.js`), "parts.LICENSES.txt": sha256(`${folder}/parts.LICENSES.txt`) };
const from = Object.fromEntries(
  ["package-lock.json", "parts.mjs", "build.mjs"].map((name) => [name, sha256(here(name))]),
);
if (!process.argv[2]) writeFileSync(here("parts.json"), `${JSON.stringify({ from, made }, null, 2)}\n`);
