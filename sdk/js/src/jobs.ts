/** What the client does with work that is asked for now and read later: jobs, many at once, files. */

import { JobFailedError, TimeoutError } from "./errors.js";
import {
  type DownloadOptions,
  download,
  type Uploadable,
  type UploadOptions,
  upload,
} from "./files.js";
import {
  type CallOptions,
  ofUseWithin,
  segment,
  type WorkOptions,
  type WriteOptions,
} from "./http.js";
import { walk } from "./listing.js";
import { camel, snake } from "./names.js";
import { NetworkCalls, rowsOf } from "./network.js";
import { jobEvents } from "./streams.js";
import type { Batch, File, Job, JobEvent, JobStatus, JobWhy } from "./types.js";

const POLL_MS = 500;
const AT_ONCE_MAX = 8;
const JOB_ENDS: readonly string[] = ["completed", "failed", "cancelled", "timeout"];
const BATCH_ENDS: readonly string[] = ["completed", "failed", "cancelled"];

/** How long to wait. */
export interface WaitOptions extends CallOptions {
  /** In milliseconds (300,000). */
  readonly timeoutMs?: number | undefined;
}

/** Which jobs to list. */
export interface JobFilter extends CallOptions {
  readonly status?: JobStatus | readonly JobStatus[] | undefined;
  readonly workload?: string | undefined;
  readonly createdAfter?: string | Date | undefined;
  readonly createdBefore?: string | Date | undefined;
  /** So many at most. */
  readonly limit?: number | undefined;
}

/** How a batch is worked on. */
export interface BatchOptions extends WriteOptions {
  /** `concat`: texts one after another; `flatten`: one list of all that is in their lists. */
  readonly mergeStrategy?: "concat" | "flatten" | undefined;
  /** `best_effort`: the jobs do not mind each other; `fail_fast`: the first that fails ends the batch. */
  readonly failMode?: "best_effort" | "fail_fast" | undefined;
  readonly maxParallelism?: number | undefined;
  readonly priority?: number | undefined;
}

/** The middle of the client. */
export class JobCalls extends NetworkCalls {
  /** Submits a job: `workload` is a slug or a model's name. */
  createJob(
    workload: string,
    input: Readonly<Record<string, unknown>>,
    options: WorkOptions & { priority?: number | undefined } = {},
  ): Promise<Job> {
    const json = { workload, input, ...snake({ priority: options.priority }) };
    return this.write("POST", "/jobs", options, json, ofUseWithin(options.withinMs));
  }

  /** A job with its attempts. */
  getJob(jobId: string, options: CallOptions = {}): Promise<Job> {
    return this.read(`/jobs/${segment(jobId)}`, options);
  }

  /** One's jobs, newest first, each once; pages are fetched as they are needed. */
  listJobs(filter: JobFilter = {}): AsyncGenerator<Job, void, undefined> {
    const { status, workload, signal } = filter;
    const createdAfter = momentOf(filter.createdAfter);
    const createdBefore = momentOf(filter.createdBefore);
    const wanted = snake({ status, workload, createdAfter, createdBefore });
    return walk(filter.limit, (place) => this.page("/jobs", wanted, place, signal));
  }

  /** The whole output, or null while there is none. */
  async getJobOutput(jobId: string, options: CallOptions = {}): Promise<string | null> {
    const path = `/jobs/${segment(jobId)}/output`;
    return (await this.read<{ output: string | null }>(path, options)).output;
  }

  /** What the job has made, once it has completed. */
  listJobFiles(jobId: string, options: CallOptions = {}): Promise<readonly File[]> {
    return this.read(`/jobs/${segment(jobId)}/files`, options);
  }

  /** Why it went to this Island, or why it still waits and what would help. */
  whyJob(jobId: string, options: CallOptions = {}): Promise<JobWhy> {
    return this.read(`/jobs/${segment(jobId)}/why`, options);
  }

  /** Cancels the job; one that has ended already is given back as it is. */
  cancelJob(jobId: string, options: WriteOptions = {}): Promise<Job> {
    return this.write("DELETE", `/jobs/${segment(jobId)}`, options);
  }

  /**
   * Events to the last one, each once; a broken connection is taken up again where it broke. The last one is `done` or
   * `error`. `lastEventId`: go on after it.
   */
  streamJob(
    jobId: string,
    options: CallOptions & { lastEventId?: string | undefined } = {},
  ): AsyncGenerator<JobEvent, void, undefined> {
    return jobEvents(this.http, `/jobs/${segment(jobId)}/stream`, options);
  }

  /** The job once it has completed. Throws JobFailedError, or TimeoutError: it then goes on. */
  async waitForJob(jobId: string, options: WaitOptions = {}): Promise<Job> {
    const job = await this.#ended(jobId, deadlineOf(options), options);
    if (job.status !== "completed") throw new JobFailedError(job);
    return job;
  }

  /** A job for each input, in their order, submitted several at once; `waitAll` waits for them. All or none: where one
   * is refused, those made already are cancelled and its error is thrown. */
  async batch(
    workload: string,
    inputs: readonly Readonly<Record<string, unknown>>[],
    options: CallOptions & { priority?: number | undefined } = {},
  ): Promise<readonly Job[]> {
    const jobs: Job[] = [];
    const failures: unknown[] = [];
    let next = 0;
    const submit = async (): Promise<void> => {
      while (next < inputs.length && !failures.length) {
        const index = next++;
        try {
          jobs[index] = await this.createJob(workload, inputs[index] ?? {}, options);
        } catch (error) {
          failures.push(error);
        }
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE_MAX }, submit));
    if (!failures.length) return jobs;
    await Promise.allSettled(jobs.filter(Boolean).map((job) => this.cancelJob(job.id)));
    throw failures[0];
  }

  /** Jobs, or their ids, once each has ended, however it ended: `status` says so. Throws TimeoutError. */
  async waitAll(jobs: Iterable<Job | string>, options: WaitOptions = {}): Promise<readonly Job[]> {
    const deadline = deadlineOf(options);
    const ended: Job[] = [];
    for (const job of jobs)
      ended.push(await this.#ended(typeof job === "string" ? job : job.id, deadline, options));
    return ended;
  }

  /** Hands 1 to 100 inputs to the network, which sees to their order. */
  submitBatch(
    workload: string,
    inputs: readonly Readonly<Record<string, unknown>>[],
    options: BatchOptions = {},
  ): Promise<Batch> {
    const { mergeStrategy, failMode, maxParallelism, priority } = options;
    const chosen = snake({ mergeStrategy, failMode, maxParallelism, priority });
    return this.write("POST", "/jobs/batch", options, { workload, inputs, ...chosen });
  }

  /** Where a batch stands, with each of its jobs. */
  getBatchStatus(batchId: string, options: CallOptions = {}): Promise<Batch> {
    return this.read(`/jobs/${segment(batchId)}/batch-status`, options);
  }

  /** One's batches, newest first, each once and without its items; pages are fetched as they are needed. */
  listBatches(
    options: CallOptions & {
      status?: Batch["status"] | readonly Batch["status"][] | undefined;
      limit?: number | undefined;
    } = {},
  ): AsyncGenerator<Batch, void, undefined> {
    const { status, limit, signal } = options;
    return walk(limit, (place) => this.page("/jobs/batches", { status }, place, signal));
  }

  /** Cancels what has not ended yet; what has completed stays. */
  cancelBatch(batchId: string, options: WriteOptions = {}): Promise<Batch> {
    return this.write("DELETE", `/jobs/${segment(batchId)}`, options);
  }

  /** The batch once it has ended, however it ended: `items` say so. Throws TimeoutError: it then goes on. */
  async waitForBatch(batchId: string, options: WaitOptions = {}): Promise<Batch> {
    const deadline = deadlineOf({ timeoutMs: 600_000, ...options });
    for (;;) {
      const batch = await this.getBatchStatus(batchId, options);
      if (BATCH_ENDS.includes(batch.status)) return batch;
      await this.#look(`batch ${batchId}`, batch.status, deadline, options);
    }
  }

  /** Sends a file. A string is its text; of a file on disk, Node's `openAsBlob(path)` makes a Blob. */
  uploadFile(file: Uploadable, options: UploadOptions = {}): Promise<File> {
    return upload(this.http, file, options);
  }

  /** The content of a file, whole and checked; goes on where it broke. Throws StreamBrokenError. */
  downloadFile(fileId: string, options: DownloadOptions = {}): Promise<Blob> {
    return download(this.http, fileId, options);
  }

  /** One's files, newest first; pages are fetched as they are needed. */
  listFiles(
    options: CallOptions & { purpose?: string | undefined; limit?: number | undefined } = {},
  ): AsyncGenerator<File, void, undefined> {
    const { purpose, signal } = options;
    return walk<File>(options.limit, async ({ limit, last }) => {
      const query = { limit, after: last?.id, purpose };
      const { body } = await this.http.json({ method: "GET", path: "/files", query, signal });
      const more = (body as { has_more?: unknown } | null)?.has_more === true;
      return { rows: rowsOf<File>(body), more };
    });
  }

  /** What is known of a file, without its content. */
  async getFile(fileId: string, options: CallOptions = {}): Promise<File> {
    const call = { method: "GET", path: `/files/${segment(fileId)}`, signal: options.signal };
    return camel((await this.http.json(call)).body);
  }

  /** The content of a file as it is sent, unchecked and at one go; `downloadFile` goes on where it broke. */
  async fileContent(fileId: string, { signal }: CallOptions = {}): Promise<Uint8Array> {
    const path = `/files/${segment(fileId)}/content`;
    return new Uint8Array(await (await this.http.open({ method: "GET", path, signal })).whole());
  }

  /** Deletes a file. A job that reads it meanwhile reads it to its end. */
  async deleteFile(fileId: string, options: WriteOptions = {}): Promise<void> {
    const { idempotencyKey, signal } = options;
    const path = `/files/${segment(fileId)}`;
    await this.http.json({ method: "DELETE", path, idempotencyKey, signal, goneIsDone: true });
  }

  async #ended(jobId: string, deadline: number, options: CallOptions): Promise<Job> {
    for (;;) {
      const job = await this.getJob(jobId, options);
      if (JOB_ENDS.includes(job.status)) return job;
      await this.#look(`job ${jobId}`, job.status, deadline, options);
    }
  }

  /** Waits before the next look. */
  async #look(
    what: string,
    status: string,
    deadline: number,
    { signal }: CallOptions,
  ): Promise<void> {
    if (performance.now() >= deadline)
      throw new TimeoutError(
        `${what} is still ${status}, and it was not to be waited for any longer`,
      );
    await this.http.pause(POLL_MS, signal);
  }
}

function deadlineOf({ timeoutMs }: WaitOptions): number {
  return performance.now() + (timeoutMs ?? 300_000);
}

function momentOf(at: string | Date | undefined): string | undefined {
  return at instanceof Date ? at.toISOString() : at;
}
