/** Server-sent events out of bytes, in whatever pieces the network delivers them. */

import { BadAnswerError } from "./errors.js";

/** A picture travels in one event. */
const EVENT_CHARS_MAX = 32 << 20;

/** One event. `id` is the last id seen so far, as the standard wants it. */
export interface SseEvent {
  readonly data: string;
  readonly event: string;
  readonly id: string;
}

/** Collects bytes into events (WHATWG HTML, "Server-sent events"). Lines end in LF, CR or CRLF. */
export class SseParser {
  /** The id of the last event whose fields were read, whole or not. */
  #lastId = "";
  // The BOM at the very start is dropped by the decoder; a later one is data.
  readonly #decoder = new TextDecoder();
  #pending: string[] = [];
  #afterCr = false;
  #data: string[] = [];
  #event = "";
  #size = 0;

  /** The events that these bytes complete. An event without its empty line is never delivered. */
  feed(bytes: Uint8Array): SseEvent[] {
    let text = this.#decoder.decode(bytes, { stream: true });
    if (this.#afterCr && text) {
      // A CR has ended a line already; an LF right after it belongs to it.
      if (text.startsWith("\n")) text = text.slice(1);
      this.#afterCr = false;
    }
    if (!text) return [];
    this.#afterCr = text.endsWith("\r");
    this.#size += text.length;
    if (this.#size > EVENT_CHARS_MAX)
      throw new BadAnswerError(`one event is larger than ${EVENT_CHARS_MAX} characters`);
    const lines = text.split(/\r\n|\r|\n/);
    const last = lines.pop() as string;
    const events: SseEvent[] = [];
    for (const part of lines) {
      this.#pending.push(part);
      const event = this.#line(this.#pending.join(""));
      this.#pending = [];
      if (event) events.push(event);
    }
    // Joined once the line has ended, so that a long one in small pieces costs no more than its length.
    if (last) this.#pending.push(last);
    return events;
  }

  #line(line: string): SseEvent | null {
    if (!line) return this.#dispatch();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#event = value;
    else if (field === "id" && !value.includes("\0")) this.#lastId = value;
    // Else a comment (no name), `retry`, or a field of the future.
    return null;
  }

  #dispatch(): SseEvent | null {
    const [data, event] = [this.#data, this.#event];
    this.#data = [];
    this.#event = "";
    this.#size = 0;
    return data.length
      ? { data: data.join("\n"), event: event || "message", id: this.#lastId }
      : null;
  }
}
