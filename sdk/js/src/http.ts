/** Requests with their retries, and connections that are watched. Nothing here knows what is asked. */

import { API, addressesOf, defaultAddress, environment, inPage } from "./addresses.js";
import {
  type ApiError,
  ArchipelagError,
  BadAnswerError,
  ConnectionError,
  errorOf,
  secondsOf,
} from "./errors.js";
import { Line, Watch, wordsOf } from "./line.js";

/** How to reach a network, and how patiently. */
export interface ClientOptions {
  /**
   * Where a Coordinator answers, as `http://127.0.0.1:8420`; several of one network as a list or by comma: where one
   * does not answer, the next one is asked. Default: `ARCHIPELAG_API_URL`, else this page's own host in a browser, else
   * `http://127.0.0.1:8420`. `""` means this page's own host.
   */
  readonly baseUrl?: string | readonly string[] | undefined;
  /** `ak_…`; default: `ARCHIPELAG_API_KEY`. Not needed in a page that has a session cookie. */
  readonly apiKey?: string | undefined;
  /** Sent as `X-CSRF-Token` with every write: what a page with a session cookie needs instead of a key. */
  readonly csrfToken?: string | (() => string) | undefined;
  /** The longest wait for the next byte of an answer, in milliseconds (300,000). */
  readonly timeoutMs?: number | undefined;
  /** Further tries of a request that failed for want of a connection or of capacity (3). */
  readonly retries?: number | undefined;
  /** Another `fetch`. */
  readonly fetch?: typeof fetch | undefined;
  /** How it waits, in milliseconds; for tests. */
  readonly sleep?: ((ms: number, signal?: AbortSignal) => Promise<void>) | undefined;
  /** Chance from 0 to 1, which spreads the retries of many; for tests. */
  readonly random?: (() => number) | undefined;
}

/** What every call takes. */
export interface CallOptions {
  /** Ends the call; it rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** What every write takes. */
export interface WriteOptions extends CallOptions {
  /** Two writes under one key are done once. One is made for each write where none is given. */
  readonly idempotencyKey?: string | undefined;
}

/** What every request for work takes. */
export interface WorkOptions extends WriteOptions {
  /** Where it cannot be done in so many milliseconds it is not begun, and costs nothing. */
  readonly withinMs?: number | undefined;
}

/** One request, before anything is known of where it goes. */
export interface Call extends WriteOptions {
  readonly method: string;
  readonly path: string;
  readonly query?: object | undefined;
  readonly json?: unknown;
  readonly form?: FormData | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** An answer in events. */
  readonly stream?: boolean | undefined;
  readonly lastEventId?: string | undefined;
  /** That it is not there any more when asked again says that the first try did it. */
  readonly goneIsDone?: boolean | undefined;
  /** The network would do it again, or refuse the second: it is tried again only where it surely did nothing. */
  readonly once?: boolean | undefined;
}

const RETRY_STATUSES = new Set([429, 502, 503, 504]);
/** Of errors under `fetch`: no connection came about, so nothing arrived. A browser tells none of them. */
const NOT_ARRIVED = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "UND_ERR_CONNECT_TIMEOUT"]);
const BACKOFF_S = 0.5;
const BACKOFF_MAX_S = 8;
/** Of a stream that has begun: half a minute in all, in which a network that is restarted comes back. */
const RESUMED_RETRIES = 8;
/** Told to wait longer than this, a program does better to hear of it than to hang. */
const RETRY_AFTER_MAX_S = 30;
/** What the network gives with the time to come back, and keeps a place in line for: any Coordinator understands it. */
const PLACE = "X-Archipelag-Place";
/** A stream gives a sign of life every 15 s; after this long without one its line is dead, whatever TCP believes. */
const STREAM_SILENCE_MS = 45_000;

/** Sends requests to the Coordinators of one network. */
export class Http {
  readonly retries: number;
  readonly #addresses: readonly string[];
  readonly #headers: Readonly<Record<string, string>>;
  readonly #csrfToken: string | (() => string) | undefined;
  readonly #timeoutMs: number;
  readonly #fetch: typeof fetch;
  readonly #sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
  readonly #random: () => number;
  /** Which of the addresses is asked. */
  #turn = 0;

  constructor(options: ClientOptions) {
    const key = options.apiKey ?? environment("ARCHIPELAG_API_KEY");
    if (key && !/^[\x21-\x7e]+$/.test(key))
      throw new TypeError("apiKey must be visible ASCII characters, without spaces");
    this.retries = whole("retries", options.retries ?? 3, 0, 10);
    this.#timeoutMs = whole("timeoutMs", options.timeoutMs ?? 300_000, 1, 2 ** 31 - 1);
    this.#addresses = addressesOf(options.baseUrl ?? defaultAddress());
    this.#csrfToken = options.csrfToken;
    this.#headers = key ? { Authorization: `Bearer ${key}` } : {};
    // Called as a method of this object, the browser's own would refuse.
    const given = options.fetch ?? globalThis.fetch;
    this.#fetch = (...what) => given(...what);
    this.#sleep = options.sleep ?? sleep;
    this.#random = options.random ?? Math.random;
  }

  /** The decoded answer to one request and its headers. A body that breaks off is asked for again. */
  async json(call: Call): Promise<{ body: unknown; headers: Headers }> {
    const [text, headers] = await this.#tried(
      call,
      async (line): Promise<[string, Headers]> => [await line.text(), line.response.headers],
    );
    if (!text) return { body: null, headers };
    try {
      return { body: JSON.parse(text), headers };
    } catch {
      throw new BadAnswerError(`${call.path} did not answer in JSON`);
    }
  }

  /** A connection whose status says that all is well, to be read or closed by whoever has it. */
  open(call: Call): Promise<Line> {
    return this.#tried(call, async (line) => line);
  }

  /** Waits before the next try after so many failures in a row. */
  backOff(failures: number, signal?: AbortSignal): Promise<void> {
    return this.#sleep((this.#delayS(failures, null) as number) * 1000, signal);
  }

  /** Waits, for those who look again and again. */
  pause(ms: number, signal?: AbortSignal): Promise<void> {
    return this.#sleep(ms, signal);
  }

  /** Tries again where that may help, always with the same key, so that nothing is done twice. */
  async #tried<T>(call: Call, take: (line: Line) => Promise<T>): Promise<T> {
    const key = call.idempotencyKey ?? newKey();
    const retries = this.#retriesOf(call);
    let place: string | null = null;
    for (let tries = 1; ; tries++) {
      call.signal?.throwIfAborted();
      const request = this.#request(call, key, place);
      const address = this.#addresses[this.#turn % this.#addresses.length] as string;
      const watch = new Watch(call.signal);
      let failure: ArchipelagError;
      let waitS: number | null;
      try {
        const line = await this.#begin(call, address, request, watch);
        if (line.response.ok) return await take(line);
        const refusal = await refusalOf(line);
        place = line.response.headers.get(PLACE) ?? place;
        if (call.goneIsDone && tries > 1 && refusal.status === 404)
          return await take(new Line(new Response(), watch, 1, false));
        failure = refusal;
        const again = mayHelp(call, line.response);
        waitS = again ? this.#delayS(tries, refusal.retryAfter) : null;
      } catch (error) {
        watch.end();
        call.signal?.throwIfAborted();
        this.#turn++;
        if (error instanceof ArchipelagError) throw error;
        failure = unreachable(address, error);
        waitS = call.once && !notArrived(error) ? null : this.#delayS(tries, null);
      }
      if (waitS === null || tries > retries) throw failure;
      await this.#sleep(waitS * 1000, call.signal);
    }
  }

  async #begin(call: Call, address: string, request: RequestInit, watch: Watch): Promise<Line> {
    const url = address + call.path + queryOf(call.query);
    watch.wait(this.#timeoutMs, "the answer");
    try {
      const response = await this.#fetch(url, { ...request, signal: watch.signal });
      const stream = call.stream === true;
      const silence = stream ? Math.min(this.#timeoutMs, STREAM_SILENCE_MS) : this.#timeoutMs;
      return new Line(response, watch, silence, stream);
    } catch (error) {
      throw watch.signal.aborted ? watch.signal.reason : error;
    }
  }

  #request(call: Call, key: string, place: string | null): RequestInit {
    const headers: Record<string, string> = {
      Accept: call.stream ? "text/event-stream, */*" : "application/json",
      ...this.#headers,
      ...call.headers,
    };
    if (call.json !== undefined) headers["Content-Type"] = "application/json";
    if (place) headers[PLACE] = place;
    if (call.lastEventId) headers["Last-Event-ID"] = call.lastEventId;
    if (call.method !== "GET") {
      headers["Idempotency-Key"] = key;
      const token = typeof this.#csrfToken === "function" ? this.#csrfToken() : this.#csrfToken;
      if (token) headers["X-CSRF-Token"] = token;
    }
    const body = call.form ?? (call.json === undefined ? null : JSON.stringify(call.json));
    // Made here, so that a header that cannot be is an error of the caller, not one of the network.
    return {
      method: call.method,
      headers: new Headers(headers),
      body,
      credentials: "same-origin",
      cache: "no-store",
    };
  }

  /** An answer that was begun is being made meanwhile, and is worth more patience, unless none at all is wanted. */
  #retriesOf(call: Call): number {
    const begun = this.retries && call.lastEventId;
    return begun ? Math.max(this.retries, RESUMED_RETRIES) : this.retries;
  }

  /** Seconds to wait after the `tries`-th failure; null when it is longer than one should. */
  #delayS(tries: number, retryAfter: number | null): number | null {
    if (retryAfter !== null) {
      // Spread over a little more than asked, so that all who were refused do not return at once.
      return retryAfter <= RETRY_AFTER_MAX_S ? retryAfter * (1 + this.#random() / 10) : null;
    }
    return Math.min(BACKOFF_MAX_S, BACKOFF_S * 2 ** (tries - 1)) * (0.5 + this.#random() / 2);
  }
}

/** The header by which a job that cannot be done in time is not begun. */
export function ofUseWithin(ms: number | undefined): Record<string, string> {
  return ms === undefined ? {} : { "X-Archipelag-Within": String(ms / 1000) };
}

/** A fresh Idempotency-Key. */
export function newKey(): string {
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16));
  return hex(bytes);
}

/** Bytes in hexadecimal. */
export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A value that stands in a path. */
export function segment(value: string): string {
  if (typeof value !== "string" || !value || value === "." || value === "..")
    throw new TypeError(`not an id: ${JSON.stringify(value)}`);
  return encodeURIComponent(value);
}

function whole(name: string, value: number, least: number, most: number): number {
  if (!Number.isInteger(value) || value < least || value > most)
    throw new TypeError(`${name} must be a whole number from ${least} to ${most}`);
  return value;
}

function queryOf(query: object | undefined): string {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {}))
    for (const one of Array.isArray(value) ? value : [value])
      if (one !== undefined && one !== null) found.append(name, String(one));
  const text = found.toString();
  return text && `?${text}`;
}

async function refusalOf(line: Line): Promise<ApiError> {
  const { status, headers } = line.response;
  let body: unknown = null;
  try {
    body = JSON.parse(await line.text());
  } catch (error) {
    // The body of a proxy, or half of one: the status says enough.
    if (error instanceof ArchipelagError) throw error;
  }
  const after = secondsOf(headers.get("Retry-After"));
  return errorOf(status, body, after, headers.get("X-Request-Id"));
}

/** Whether another try may help. The server knows better where it says so. */
function mayHelp(call: Call, { status, headers }: Response): boolean {
  if (headers.get("X-Should-Retry") === "false") return false;
  return call.once ? status === 429 : RETRY_STATUSES.has(status);
}

function notArrived(error: unknown): boolean {
  const { code, cause } = (error ?? {}) as { code?: unknown; cause?: unknown };
  return NOT_ARRIVED.has(String(code)) || (cause !== undefined && notArrived(cause));
}

function unreachable(address: string, error: unknown): ConnectionError {
  const where = address.slice(0, -API.length) || "this page's host";
  // A browser does not tell why: a host that is down and one that does not allow this page look the same.
  const hint = inPage() ? " (is it up, and does it allow this page?)" : " (is it up?)";
  return new ConnectionError(`no answer from ${where}: ${wordsOf(error)}${hint}`, { cause: error });
}

function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((done, failed) => {
    signal?.throwIfAborted();
    const stop = (): void => {
      clearTimeout(timer);
      failed(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      done();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
