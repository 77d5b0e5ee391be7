// Builds both packages: modules for `import` and for `require`, types for each, and one small file for pages, which is
// copied to where the Coordinator serves it from with `--page`. `node build.mjs` is `npm run build`.
import { execFileSync } from "node:child_process";
import { cpSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const PAGE_SCRIPT = "../coordinator/src/archipelag_coordinator/apps/web/static/archipelag.js";
const COMMON = {
  bundle: true,
  target: "es2022",
  charset: "utf8",
  logLevel: "warning",
  legalComments: "none",
};

/** The one file for pages: the same bytes from the same sources. */
async function pageScript() {
  const banner = {
    js: "// Archipelag's client for pages, made of sdk/js by `make page-script`. Apache-2.0.",
  };
  const entryPoints = [here("js/src/index.ts")];
  const shape = { format: "esm", minify: true, keepNames: true, write: false };
  const { outputFiles } = await build({ ...COMMON, ...shape, entryPoints, banner });
  return outputFiles[0].contents;
}

if (process.argv.includes("--print-page")) process.stdout.write(await pageScript());
else await buildAll();

async function buildAll() {
  for (const [folder, external] of [
    ["js", []],
    ["react", ["react", "@archipelag/sdk"]],
  ]) {
    const dist = here(`${folder}/dist`);
    const entryPoints = [here(`${folder}/src/index.ts`)];
    rmSync(dist, { recursive: true, force: true });
    for (const format of ["esm", "cjs"])
      await build({
        ...COMMON,
        entryPoints,
        external,
        format,
        outfile: `${dist}/${format}/index.js`,
      });
    const tsc = here("node_modules/typescript/bin/tsc");
    const project = here(`${folder}/tsconfig.build.json`);
    execFileSync(process.execPath, [tsc, "-p", project], { stdio: "inherit" });
    // The same types stand for `require`: what they are is said by the package.json beside them.
    const types = { recursive: true, filter: (from) => !from.endsWith(".js") };
    cpSync(`${dist}/esm`, `${dist}/cjs`, types);
    writeFileSync(`${dist}/cjs/package.json`, '{ "type": "commonjs" }\n');
  }

  const outfile = here("js/dist/archipelag.min.js");
  writeFileSync(outfile, await pageScript());
  if (process.argv.includes("--page")) cpSync(outfile, here(PAGE_SCRIPT));
}
