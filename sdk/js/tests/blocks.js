/** The programs in our pages, as files from which our packages are found. */

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = new URL("../../../", import.meta.url);
const CACHE = fileURLToPath(new URL("sdk/node_modules/.cache/", ROOT));

/** A folder that is gone when the test has ended. @param {import("node:test").TestContext} test */
export function folder(test) {
  mkdirSync(CACHE, { recursive: true });
  const made = mkdtempSync(join(CACHE, "blocks-"));
  test.after(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

/**
 * Writes every block of this language into `to`. @param {string} page from the repository's root
 * @param {"js" | "tsx"} language @param {string} to
 */
export function blocks(page, language, to) {
  const text = readFileSync(new URL(page, ROOT), "utf8");
  const found = [...text.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, "gms"))];
  return found.map(([, code], index) => {
    const suffix = language === "js" ? "mjs" : "tsx";
    const file = join(to, `${page.replaceAll(/\W/g, "-")}-${index}.${suffix}`);
    writeFileSync(file, String(code));
    return file;
  });
}

/** The arguments that have the compiler check these files. @param {string[]} files */
export function typing(files) {
  const tsc = fileURLToPath(new URL("sdk/node_modules/typescript/bin/tsc", ROOT));
  const options =
    "--noEmit --strict --noImplicitAny false --allowJs --checkJs --jsx react-jsx --skipLibCheck --ignoreConfig " +
    "--module nodenext --moduleResolution nodenext --target es2022 --lib es2023,dom,dom.iterable,dom.asynciterable " +
    "--types node,react --typeRoots";
  const types = fileURLToPath(new URL("sdk/node_modules/@types", ROOT));
  return [tsc, ...options.split(" "), types, ...files];
}
