/**
 * Errors of the client: one tree, so that a caller can catch exactly what it can do something about.
 *
 * ```
 * ArchipelagError
 * ├── ConnectionError               no answer from the network: it is down, or the address is wrong
 * │   └── StreamBrokenError         a stream ended in the middle and could not be continued
 * ├── TimeoutError                  it took longer than the caller would wait; the job may still run
 * ├── JobFailedError                a job that was waited for failed or was cancelled: `jobId`, `job`
 * ├── NothingOfferedError           no model was named and the network offers none
 * ├── BadAnswerError                an answer that is not what the API promises
 * └── ApiError                      the API said no: `status`, `code`, `param`, `retryAfter`, `requestId`
 *     ├── BadRequestError           400
 *     │   └── UnsupportedError      this model cannot do that: `param`
 *     ├── AuthenticationError       401
 *     ├── InsufficientCreditsError  402: `required`, `available`
 *     │   └── BudgetExceededError   the same, of the key's own budget
 *     ├── PermissionDeniedError     403
 *     ├── NotFoundError             404
 *     ├── ConflictError             409
 *     │   └── IdempotencyMismatchError
 *     ├── GoneError                 410: the Cargo was withdrawn or revoked, the file's bytes are lost
 *     ├── TooLargeError             413
 *     ├── ValidationError           422: `errors`, field → reasons
 *     ├── RateLimitError            429: `retryAfter`
 *     └── ServerError               any other 5xx
 *         └── ServiceUnavailableError  503: `reasons`, `retryAfter`
 * ```
 */

import type { Credits, Job } from "./types.js";

/** Anything that this package throws on purpose. */
export class ArchipelagError extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** No answer from the network: it is down, or the address is wrong. */
export class ConnectionError extends ArchipelagError {}

/** A stream ended before its last event and could not be continued. */
export class StreamBrokenError extends ConnectionError {}

/** It took longer than the caller would wait. What was asked for may still be done. */
export class TimeoutError extends ArchipelagError {}

/** No model was named, and there is none to choose. */
export class NothingOfferedError extends ArchipelagError {}

/** The other side answered with something that is not the API: a proxy, another server, a wrong path. */
export class BadAnswerError extends ArchipelagError {}

/** The job that was waited for did not complete. */
export class JobFailedError extends ArchipelagError {
  /** The job's id. */
  readonly jobId: string;
  /** The job as it ended. */
  readonly job: Job;

  constructor(job: Job) {
    super(`job ${job.id} ${job.status}: ${job.error || "no reason given"}`);
    this.job = job;
    this.jobId = job.id;
  }
}

/** What an error's body may hold, as the API sends it. */
interface Problem {
  code?: unknown;
  message?: unknown;
  type?: unknown;
  param?: unknown;
  required?: unknown;
  available?: unknown;
  reasons?: unknown;
}

/** The API refused. `code` is stable; the message is for people. */
export class ApiError extends ArchipelagError {
  /** The HTTP status. */
  readonly status: number;
  /** The stable word for what went wrong, as `insufficient_credits`. */
  readonly code: string;
  /** The field that is meant, where one is. */
  readonly param: string | null;
  /** Seconds after which another try may help, where the API said so. */
  readonly retryAfter: number | null;
  /** Name this to the operator. */
  readonly requestId: string | null;
  constructor(
    status: number,
    body: unknown,
    retryAfter: number | null = null,
    requestId: string | null = null,
  ) {
    const told = problemOf(body);
    super(text(told.message) ?? `HTTP status ${status}`);
    this.status = status;
    this.code = text(told.code) ?? "unknown";
    this.param = text(told.param);
    this.retryAfter = retryAfter;
    this.requestId = requestId;
  }
}

/** The request cannot be read, or not be done so. */
export class BadRequestError extends ApiError {}
/** This model cannot do that; `param` names the field. */
export class UnsupportedError extends BadRequestError {}
/** No key, or one that does not hold. */
export class AuthenticationError extends ApiError {}

/** The account has too little. Credits are decimal text. */
export class InsufficientCreditsError extends ApiError {
  /** What it would take at most. */
  readonly required: Credits | null;
  /** What there is. */
  readonly available: Credits | null;

  constructor(...given: ApiErrorGiven) {
    super(...given);
    const told = problemOf(given[1]);
    this.required = text(told.required);
    this.available = text(told.available);
  }
}

/** The key's own budget does not reach. */
export class BudgetExceededError extends InsufficientCreditsError {}
/** The key lacks a scope, the person a role, or is suspended. */
export class PermissionDeniedError extends ApiError {}
/** No such thing, or not yours. */
export class NotFoundError extends ApiError {}
/** In conflict with what stands. */
export class ConflictError extends ApiError {}
/** This Idempotency-Key was used for another request. */
export class IdempotencyMismatchError extends ConflictError {}
/** It was there and is not any more: `code` says why. Nothing was charged. */
export class GoneError extends ApiError {}
/** More than the network takes. */
export class TooLargeError extends ApiError {}

/** The input is wrong. */
export class ValidationError extends ApiError {
  /** Every field that is wrong, and why. */
  readonly errors: Readonly<Record<string, readonly string[]>>;

  constructor(...given: ApiErrorGiven) {
    super(...given);
    this.errors = fieldsOf(given[1]);
  }
}

/** Too many requests; `retryAfter` says for how many seconds. */
export class RateLimitError extends ApiError {}
/** The other side's mistake. */
export class ServerError extends ApiError {}

/** Nobody can take it now. */
export class ServiceUnavailableError extends ServerError {
  /** What kept each Island out. */
  readonly reasons: readonly string[];

  constructor(...given: ApiErrorGiven) {
    super(...given);
    const { reasons } = problemOf(given[1]);
    this.reasons = Array.isArray(reasons) ? reasons.map(String) : [];
  }
}

type ApiErrorGiven = ConstructorParameters<typeof ApiError>;
type Kind = new (...given: ApiErrorGiven) => ApiError;

const BY_STATUS: Readonly<Record<number, Kind>> = {
  400: BadRequestError,
  401: AuthenticationError,
  402: InsufficientCreditsError,
  403: PermissionDeniedError,
  404: NotFoundError,
  409: ConflictError,
  410: GoneError,
  413: TooLargeError,
  422: ValidationError,
  429: RateLimitError,
  503: ServiceUnavailableError,
};

/** Where the code says more than the status does, or comes inside a stream whose status was sent before. */
const BY_CODE: Readonly<Record<string, Kind>> = {
  unsupported: UnsupportedError,
  budget_exceeded: BudgetExceededError,
  idempotency_mismatch: IdempotencyMismatchError,
  insufficient_credits: InsufficientCreditsError,
  rate_limited: RateLimitError,
  no_capacity: ServiceUnavailableError,
  unavailable: ServiceUnavailableError,
  invalid_input: ValidationError,
  cancelled: ConflictError,
  cargo_withdrawn: GoneError,
  cargo_revoked: GoneError,
};

/** The error that an answer of `status` stands for, also when a proxy wrote the body. */
export function errorOf(...given: ApiErrorGiven): ApiError {
  const [status, body] = given;
  const code = text(problemOf(body).code) ?? "";
  const byCode = Object.hasOwn(BY_CODE, code) ? BY_CODE[code] : undefined;
  const kind = byCode ?? BY_STATUS[status] ?? (status >= 500 ? ServerError : ApiError);
  return new kind(...given);
}

/** The error that an event of a stream tells of, after status 200 had been sent. */
export function errorInStream(body: { error?: unknown }): ApiError {
  return errorOf(500, typeof body.error === "string" ? { error: { message: body.error } } : body);
}

/** The `Retry-After` header in seconds, also where a proxy wrote it as a date. */
export function secondsOf(retryAfter: string | null): number | null {
  if (!retryAfter) return null;
  if (/^\s*\d+(\.\d+)?\s*$/.test(retryAfter)) return Number(retryAfter);
  const seconds = (Date.parse(retryAfter) - Date.now()) / 1000;
  return Number.isNaN(seconds) ? null : Math.max(0, seconds);
}

function problemOf(body: unknown): Problem {
  const error = (body as { error?: unknown } | null)?.error;
  return error !== null && typeof error === "object" ? error : {};
}

function fieldsOf(body: unknown): Record<string, string[]> {
  const raw = (body as { errors?: unknown } | null)?.errors;
  const found: Record<string, string[]> = {};
  if (raw !== null && typeof raw === "object")
    for (const [field, why] of Object.entries(raw))
      found[field] = Array.isArray(why) ? why.map(String) : [String(why)];
  return found;
}

function text(value: unknown): string | null {
  return value === null || value === undefined ? null : String(value);
}
