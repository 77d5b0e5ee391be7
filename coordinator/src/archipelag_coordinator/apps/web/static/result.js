// What came out of a job, shown by its kind: Markdown, a picture, files, or JSON.
import { copyButton, harmless } from "./markdown.js";
import { client, credits, make } from "./page.js";

const PICTURES = { png: "image/png", jpeg: "image/jpeg", jpg: "image/jpeg", webp: "image/webp", gif: "image/gif" };

/** A picture from base64, of a kind that cannot hold a script; null for others. */
export function picture(base64, format, alt) {
  const type = PICTURES[String(format ?? "png").toLowerCase()];
  if (!type || typeof base64 !== "string") return null;
  let bytes;
  try {
    bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  } catch {
    return null;
  }
  const shown = make("img");
  shown.alt = alt;
  shown.src = URL.createObjectURL(new Blob([bytes], { type }));
  shown.addEventListener("load", () => URL.revokeObjectURL(shown.src), { once: true });
  return shown;
}

/** The nodes that show a finished job. */
export async function resultOf(job, kind) {
  const nodes = [];
  const value = parsed(job.output);
  if (kind === "chat") {
    const prose = make("div", "prose");
    prose.append(harmless(job.output ?? ""));
    nodes.push(prose);
  } else if (value?.image_data) {
    const { image_data, ...rest } = value;
    const drawn = picture(image_data, value.format, "What the Cargo drew");
    if (drawn) nodes.push(drawn);
    nodes.push(code(JSON.stringify(rest, null, 2)));
  } else if (value !== undefined) nodes.push(code(JSON.stringify(value, null, 2)));
  else if (job.output) nodes.push(code(job.output));
  nodes.push(...(await files(job)));
  return nodes;
}

async function files(job) {
  const made = await client.listJobFiles(job.id);
  if (!made.length) return [];
  const list = make("ul", "made");
  for (const file of made) {
    const link = make("a", "", file.filename);
    link.href = `/api/v1/files/${file.id}/content`;
    link.download = file.filename;
    const item = make("li");
    const player = playerOf(file);
    item.append(...player, link, make("span", "soft small", ` ${file.mediaType}, ${sizeOf(file.bytes)}`));
    list.append(item);
  }
  return [make("h3", "", "Files"), list];
}

const HEARD = /^audio\/(wav|mpeg|ogg|flac|mp4|webm)$/;
const SEEN = /^video\/(mp4|webm|ogg)$/;

/** Sound and film are played where they stand; by the kind that their bytes have, not the one that a Cargo says. */
function playerOf({ id, filename, mediaType }) {
  const kind = HEARD.test(mediaType) ? "audio" : SEEN.test(mediaType) ? "video" : "";
  if (!kind) return [];
  const player = make(kind);
  player.controls = true;
  player.preload = "metadata";
  player.setAttribute("aria-label", filename);
  player.src = `/api/v1/files/${id}/content`;
  return [player];
}

/** What it cost and where it ran. */
export function toldOf(job) {
  const line = make("p", "soft small");
  const where = job.attempts?.at(-1)?.island;
  const took = job.durationMs === null ? "" : `in ${(job.durationMs / 1000).toFixed(1)} s`;
  const price = `${credits(job.usage?.creditsUsed)} credits`;
  const link = make("a", "", "the job");
  link.href = `/jobs/${job.id}`;
  line.append([where && `On ${where}`, took, price].filter(Boolean).join(", "), ": ", link);
  return line;
}

function code(text) {
  const box = make("div", "copyable");
  const pre = make("pre", "code tall", text);
  pre.tabIndex = 0;
  pre.setAttribute("role", "region");
  pre.setAttribute("aria-label", "Output");
  box.append(pre, copyButton(() => text));
  return box;
}

function parsed(text) {
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === "object" ? value : undefined;
  } catch {
    return undefined;
  }
}

function sizeOf(bytes) {
  return bytes < 1024 ? `${bytes} B` : bytes < 1048576 ? `${(bytes / 1024).toFixed(1)} KB` : `${(bytes / 1048576).toFixed(1)} MB`;
}
