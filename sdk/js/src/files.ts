/** Files: sent as they lie there, fetched whole and checked, or not at all. */

import { BadAnswerError, StreamBrokenError } from "./errors.js";
import { type CallOptions, type Http, hex, segment, type WriteOptions } from "./http.js";
import { Broken } from "./line.js";
import { camel } from "./names.js";
import type { File as NetworkFile } from "./types.js";

/** What can be sent. Of a large file on disk, Node's `openAsBlob(path)` makes a Blob that is read as it is sent. */
export type Uploadable = Blob | ArrayBuffer | ArrayBufferView<ArrayBuffer> | string;

/** How a file is to be kept. */
export interface UploadOptions extends WriteOptions {
  /** Default: the File's own name, else `file`. */
  readonly name?: string | undefined;
  /** Default `user_data`. */
  readonly purpose?: string | undefined;
  /** Deleted after so many seconds, instead of 30 days. */
  readonly expiresAfterSeconds?: number | undefined;
}

/** What a download takes. */
export interface DownloadOptions extends CallOptions {
  /** Told how many bytes are there, of how many. */
  readonly onProgress?: ((received: number, total: number) => void) | undefined;
}

/** Sends a file. A string is its text. */
export async function upload(
  http: Http,
  file: Uploadable,
  options: UploadOptions,
): Promise<NetworkFile> {
  const content = file instanceof Blob ? file : new Blob([file]);
  const form = new FormData();
  form.append("purpose", options.purpose ?? "user_data");
  if (options.expiresAfterSeconds !== undefined) {
    form.append("expires_after[anchor]", "created_at");
    form.append("expires_after[seconds]", String(options.expiresAfterSeconds));
  }
  const own = "name" in content && typeof content.name === "string" ? content.name : "";
  form.append("file", content, options.name ?? (own || "file"));
  const { idempotencyKey, signal } = options;
  const { body } = await http.json({
    method: "POST",
    path: "/files",
    form,
    idempotencyKey,
    signal,
  });
  return camel(body);
}

/** Fetches a file; goes on where it broke. Its SHA-256 is checked wherever the platform offers one. */
export async function download(
  http: Http,
  fileId: string,
  options: DownloadOptions,
): Promise<Blob> {
  const { signal } = options;
  const path = `/files/${segment(fileId)}`;
  const file = camel<NetworkFile>((await http.json({ method: "GET", path, signal })).body);
  let parts: Uint8Array<ArrayBuffer>[] = [];
  let size = 0;
  for (let stuck = 0; size < file.bytes; ) {
    const before = size;
    const headers: Record<string, string> = size
      ? { Range: `bytes=${size}-`, "If-Range": `"${file.sha256}"` }
      : {};
    const line = await http.open({ method: "GET", path: `${path}/content`, headers, signal });
    if (line.response.status !== 206) [parts, size] = [[], 0]; // From the beginning after all.
    try {
      for await (const bytes of line.bytes()) {
        parts.push(bytes as Uint8Array<ArrayBuffer>);
        size += bytes.length;
        if (size > file.bytes) throw new BadAnswerError(`${fileId} is longer than it should be`);
        options.onProgress?.(size, file.bytes);
      }
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
    }
    stuck = size > before ? 0 : stuck + 1;
    if (stuck > http.retries) throw new StreamBrokenError(`${fileId} stopped at byte ${size}`);
    if (size < file.bytes) await http.backOff(stuck || 1, signal);
  }
  const whole = new Blob(parts, { type: file.mediaType });
  await check(whole, file);
  return whole;
}

async function check(content: Blob, file: NetworkFile): Promise<void> {
  // A page that came by plain HTTP from another host has no `subtle`.
  const { subtle } = globalThis.crypto;
  if (!subtle) return;
  const digest = await subtle.digest("SHA-256", await content.arrayBuffer());
  if (hex(new Uint8Array(digest)) !== file.sha256)
    throw new BadAnswerError(`${file.id} is not what it should be: its SHA-256 differs`);
}
