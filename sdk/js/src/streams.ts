/** Streams that reconnect by themselves: every piece once and in order, however often the line breaks. */

import { BadAnswerError, errorInStream, StreamBrokenError } from "./errors.js";
import { type Call, type CallOptions, type Http, newKey } from "./http.js";
import { Broken, type Line } from "./line.js";
import { camel } from "./names.js";
import type { SseEvent } from "./sse.js";
import type { ChatAnswer, ChatPiece, JobEvent, Usage } from "./types.js";

/** What a stream of a chat is doing. */
export interface ChatStatus {
  /** `waiting` for an Island, `running`, `reconnecting` after the line broke, or `completed`. */
  readonly state: "waiting" | "running" | "reconnecting" | "completed";
  readonly jobId: string;
  readonly island: string;
}

/** Who is told, beside whoever iterates. */
export interface ChatListeners {
  /** Each piece of text as it comes. */
  readonly onToken?: ((text: string, piece: ChatPiece) => void) | undefined;
  /** Each change of what the stream is doing. */
  readonly onStatus?: ((status: ChatStatus) => void) | undefined;
}

/**
 * One answer as it is made. Iterate it for the pieces, or await it for the whole answer; one of them, once.
 * Leaving early closes the connection, which ends the job.
 */
export class ChatStream implements AsyncIterable<ChatPiece>, Promise<ChatAnswer> {
  /** With this key and `lastEventId` another process, or this page once reloaded, goes on where this one was. */
  readonly idempotencyKey: string;
  /** The place after the last piece. */
  lastEventId: string;
  jobId = "";
  island = "";
  model = "";
  /** All that has come on this object. */
  text = "";
  finishReason: string | null = null;
  usage: Usage | null = null;
  readonly #http: Http;
  readonly #call: () => Promise<Call>;
  readonly #listeners: ChatListeners;
  #whole: Promise<ChatAnswer> | undefined;
  #begun = false;
  #state = "";

  /** @internal Made by `Client.chatStream`. */
  constructor(
    http: Http,
    call: () => Promise<Call>,
    options: ChatListeners & {
      idempotencyKey?: string | undefined;
      lastEventId?: string | undefined;
    },
  ) {
    this.#http = http;
    this.#call = call;
    this.#listeners = options;
    this.idempotencyKey = options.idempotencyKey ?? newKey();
    this.lastEventId = options.lastEventId ?? "";
  }

  /** The whole answer, once it is there. */
  // biome-ignore lint/suspicious/noThenProperty: `await client.chatStream(…)` is meant to work
  then<T = ChatAnswer, F = never>(
    done?: ((answer: ChatAnswer) => T | PromiseLike<T>) | null,
    failed?: ((error: unknown) => F | PromiseLike<F>) | null,
  ): Promise<T | F> {
    this.#whole ??= this.#drain();
    return this.#whole.then(done, failed);
  }

  catch<F = never>(
    failed?: ((error: unknown) => F | PromiseLike<F>) | null,
  ): Promise<ChatAnswer | F> {
    return this.then(undefined, failed);
  }

  finally(ended?: (() => void) | null): Promise<ChatAnswer> {
    return this.then().finally(ended);
  }

  get [Symbol.toStringTag](): string {
    return "ChatStream";
  }

  /** The pieces. Throws StreamBrokenError when the answer stops before its end and cannot be taken up again. */
  async *[Symbol.asyncIterator](): AsyncGenerator<ChatPiece, void, undefined> {
    if (this.#begun) throw new TypeError("a ChatStream is read once: iterate it or await it");
    this.#begun = true;
    this.#tell("waiting");
    const call = await this.#call();
    for (let breaks = 0, again = false; ; again = true) {
      const before = this.#progress();
      const line = await this.#open(call);
      try {
        for await (const event of line.events()) {
          if (event.data.trim() === "[DONE]") return this.#tell("completed");
          const piece = this.#take(event, again);
          if (piece) yield piece;
        }
      } catch (error) {
        if (!(error instanceof Broken)) throw error;
      } finally {
        line.close();
      }
      // Only the word that this was all is missing.
      if (this.finishReason && this.usage) return this.#tell("completed");
      const after = this.#progress();
      breaks = after === before ? breaks + 1 : 1;
      // What was given and has no place cannot be asked for without saying it twice.
      if (breaks > this.#http.retries || (after && !this.lastEventId))
        throw new StreamBrokenError(
          `the answer of job ${this.jobId || "?"} stopped before its end`,
        );
      this.#tell("reconnecting");
      await this.#http.backOff(breaks, call.signal);
    }
  }

  async #open(call: Call): Promise<Line> {
    const { idempotencyKey, lastEventId } = this;
    const line = await this.#http.open({ ...call, stream: true, idempotencyKey, lastEventId });
    this.jobId = line.response.headers.get("X-Archipelag-Job") ?? this.jobId;
    this.island = line.response.headers.get("X-Archipelag-Island") ?? this.island;
    this.#tell("running");
    return line;
  }

  /** The piece in an event, where a reader has a use for it: not for the role, nor for an end told twice. */
  #take(event: SseEvent, again: boolean): ChatPiece | null {
    const raw = decoded(event);
    if (raw["error"]) throw errorInStream(raw);
    if (typeof raw["model"] === "string") this.model = raw["model"];
    const choice = ((raw["choices"] as unknown[] | undefined)?.[0] ?? {}) as {
      delta?: { content?: unknown };
      finish_reason?: string | null;
    };
    const said = choice.delta?.content;
    const text =
      typeof said === "string" && !(again && isBehind(event.id, this.lastEventId)) ? said : "";
    const finishReason = this.finishReason === null ? (choice.finish_reason ?? null) : null;
    const usage = this.usage === null ? usageOf(raw["usage"]) : null;
    if (event.id) this.lastEventId = event.id;
    if (!text && !finishReason && !usage) return null;
    this.text += text;
    this.finishReason ??= finishReason;
    this.usage ??= usage;
    const piece = { text, jobId: this.jobId, island: this.island, finishReason, usage };
    if (text) this.#listeners.onToken?.(text, piece);
    return piece;
  }

  /** Different after anything new has come. */
  #progress(): string {
    return this.text || this.finishReason
      ? `${this.text.length} ${this.finishReason} ${this.usage !== null}`
      : "";
  }

  #tell(state: ChatStatus["state"]): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#listeners.onStatus?.({ state, jobId: this.jobId, island: this.island });
  }

  async #drain(): Promise<ChatAnswer> {
    for await (const _ of this);
    const { text, jobId, island, model, finishReason, usage } = this;
    return { text, jobId, island, model, finishReason, usage };
  }
}

/** The events of a job to its last one, each once. */
export async function* jobEvents(
  http: Http,
  path: string,
  options: CallOptions & { lastEventId?: string | undefined },
): AsyncGenerator<JobEvent, void, undefined> {
  const { signal } = options;
  let lastEventId = options.lastEventId ?? "";
  const said: Record<string, string> = {};
  for (let breaks = 0, again = false; ; again = true) {
    const line = await http.open({ method: "GET", path, stream: true, lastEventId, signal });
    const kinds = new Set<string>();
    try {
      for await (const event of line.events()) {
        breaks = 0;
        const raw = decoded(event);
        const kind = String(raw["type"] ?? "");
        if (!kind && raw["error"]) throw errorInStream(raw);
        const behind = again && kind === "token" && isBehind(event.id, lastEventId);
        // Whoever comes back is told anew where the job stands.
        const known = again && kind !== "token" && !kinds.has(kind) && said[kind] === event.data;
        kinds.add(kind);
        if (event.id) lastEventId = event.id;
        if (behind || known) continue;
        said[kind] = event.data;
        yield { ...camel<JobEvent>(raw), id: event.id };
        if (kind === "done" || kind === "error") return;
      }
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
    } finally {
      line.close();
    }
    if (++breaks > http.retries)
      throw new StreamBrokenError(`the stream of ${path} broke ${breaks} times in a row`);
    await http.backOff(breaks, signal);
  }
}

/** An event's data as an object. Throws BadAnswerError. */
export function decoded(event: SseEvent): Record<string, unknown> {
  try {
    const raw: unknown = JSON.parse(event.data);
    if (raw !== null && typeof raw === "object" && !Array.isArray(raw))
      return raw as Record<string, unknown>;
  } catch {
    // Said below.
  }
  throw new BadAnswerError(`not an event: ${JSON.stringify(event.data.slice(0, 100))}`);
}

/** Usage in our names, also where the API counts `input_tokens` and `output_tokens`, as OpenAI does for pictures. */
export function usageOf(raw: unknown): Usage | null {
  if (raw === null || typeof raw !== "object") return null;
  const given = raw as Record<string, unknown>;
  const promptTokens = Number(given["prompt_tokens"] ?? given["input_tokens"] ?? 0);
  const completionTokens = Number(given["completion_tokens"] ?? given["output_tokens"] ?? 0);
  const totalTokens = Number(given["total_tokens"] ?? promptTokens + completionTokens);
  const credits = given["credits_used"];
  const creditsUsed = credits === undefined || credits === null ? null : String(credits);
  const details = given["prompt_tokens_details"] as { cached_tokens?: unknown } | null | undefined;
  const cachedTokens = Number(details?.cached_tokens ?? 0);
  return { promptTokens, completionTokens, totalTokens, creditsUsed, cachedTokens };
}

/** Whether an event's place is one that was passed already. */
function isBehind(id: string, last: string): boolean {
  return /^\d+$/.test(id) && /^\d+$/.test(last) && Number(id) <= Number(last);
}
