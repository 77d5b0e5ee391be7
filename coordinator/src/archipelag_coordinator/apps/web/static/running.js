// Runs a job from a page and tells of it: why it waits, how far it is, what it looks like so far.
import { client, follow, newKey } from "./page.js";

/** The job once it has ended. `tell(text)` and `onProgress(event)` hear of it meanwhile; asked with the same `key` it is
 * one job. */
export async function run(slug, input, { key = newKey(), signal, made, tell, onProgress, onToken } = {}) {
  const job = await client.createJob(slug, input, { idempotencyKey: key, signal });
  made?.(job);
  return watch(job.id, { signal, tell, onProgress, onToken });
}

/** As `run`, of a job that was made before. */
export async function watch(jobId, { signal = new AbortController().signal, tell, onProgress, onToken } = {}) {
  tell?.("Asking…");
  for await (const event of follow(jobId, signal)) {
    if (event.type === "status") {
      const reasons = (event.reasons ?? []).join("; ");
      tell?.(event.content === "queued" ? `Waiting for an Island${reasons && `: ${reasons}`}` : "Running");
    }
    if (event.type === "progress") {
      tell?.(event.total ? `Step ${event.step} of ${event.total}` : "Running");
      onProgress?.(event);
    }
    if (event.type === "token") onToken?.(event.content);
  }
  return client.getJob(jobId);
}
