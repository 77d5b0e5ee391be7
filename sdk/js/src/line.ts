/** An answer on its way: read piece by piece, watched, and closed whatever happens. */

import { ConnectionError, TimeoutError } from "./errors.js";
import { type SseEvent, SseParser } from "./sse.js";

/** The connection ended before the answer did. Never leaves this package. */
export class Broken extends Error {}

/** An answer that has begun. Closing it tells the other side that nobody reads on. */
export class Line {
  readonly response: Response;
  readonly #watch: Watch;
  readonly #silenceMs: number;
  readonly #mayDie: boolean;

  constructor(response: Response, watch: Watch, silenceMs: number, mayDie: boolean) {
    this.response = response;
    this.#watch = watch;
    this.#silenceMs = silenceMs;
    this.#mayDie = mayDie;
    watch.rest();
  }

  /** Pieces as they come. Throws Broken when the connection fails or is silent for too long. */
  async *bytes(): AsyncGenerator<Uint8Array, void, undefined> {
    const reader = this.response.body?.getReader();
    try {
      while (reader) {
        this.#watch.wait(this.#silenceMs, "the next byte");
        const { done, value } = await reader.read();
        this.#watch.rest();
        if (done) return;
        yield value;
      }
    } catch (error) {
      const { reason } = this.#watch.signal;
      if (this.#watch.signal.aborted && !(this.#mayDie && reason instanceof TimeoutError))
        throw reason;
      throw new Broken(wordsOf(error));
    } finally {
      this.close();
    }
  }

  /** Events as they come. Throws Broken when the connection fails; ends when it ends, wherever that is. */
  async *events(): AsyncGenerator<SseEvent, void, undefined> {
    const parser = new SseParser();
    for await (const bytes of this.bytes()) yield* parser.feed(bytes);
  }

  /** The whole body as bytes. Throws ConnectionError when it breaks off. */
  async whole(): Promise<ArrayBuffer> {
    const parts: Uint8Array<ArrayBuffer>[] = [];
    try {
      for await (const bytes of this.bytes()) parts.push(bytes as Uint8Array<ArrayBuffer>);
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
      throw new ConnectionError(`the answer broke off: ${error.message}`);
    }
    return new Blob(parts).arrayBuffer();
  }

  /** The whole body as text. */
  async text(): Promise<string> {
    const decoder = new TextDecoder();
    let text = "";
    for await (const bytes of this.bytes()) text += decoder.decode(bytes, { stream: true });
    return text + decoder.decode();
  }

  close(): void {
    this.#watch.end();
  }
}

/** Ends a request when its caller says so, or when nothing comes for too long. */
export class Watch {
  readonly #controller = new AbortController();
  readonly #outer: AbortSignal | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(outer: AbortSignal | undefined) {
    this.#outer = outer;
    outer?.addEventListener("abort", this.#stop, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  wait(ms: number, what: string): void {
    this.rest();
    this.#timer = setTimeout(() => {
      this.#controller.abort(new TimeoutError(`${what} did not come within ${ms / 1000} s`));
    }, ms);
  }

  rest(): void {
    clearTimeout(this.#timer);
  }

  end(): void {
    this.rest();
    this.#outer?.removeEventListener("abort", this.#stop);
    this.#controller.abort(new Broken("closed"));
  }

  readonly #stop = (): void => this.#controller.abort(this.#outer?.reason);
}

/** The innermost reason, which says most: `connect ECONNREFUSED 127.0.0.1:8420`. */
export function wordsOf(error: unknown): string {
  const cause = (error as { cause?: unknown } | null)?.cause;
  if (cause instanceof Error && (cause.message || "code" in cause))
    return cause.message || String((cause as { code?: unknown }).code);
  return error instanceof Error ? error.message : String(error);
}
