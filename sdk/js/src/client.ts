/** The client: what people ask of models, over all that lies below. */

import { BadAnswerError } from "./errors.js";
import { type Call, newKey, ofUseWithin, type WorkOptions, type WriteOptions } from "./http.js";
import { JobCalls } from "./jobs.js";
import { snake } from "./names.js";
import { draw, type ImageOptions } from "./pictures.js";
import { type ChatListeners, ChatStream, usageOf } from "./streams.js";
import type { ChatAnswer, Embeddings, Image, Message } from "./types.js";

/** How an answer is to be. */
export interface ChatOptions extends WorkOptions {
  /** Default: the first one of the network that chats. */
  readonly model?: string | undefined;
  /** Said before all messages. */
  readonly system?: string | undefined;
  readonly maxTokens?: number | undefined;
  readonly temperature?: number | undefined;
  readonly topP?: number | undefined;
  /** The same seed gives the same answer. */
  readonly seed?: number | undefined;
  readonly stop?: string | readonly string[] | undefined;
  /** `continue`: the job runs to its end though nobody reads it, and waits under its id. */
  readonly onDisconnect?: "cancel" | "continue" | undefined;
  /** Further fields of the OpenAI request, under their own names. */
  readonly extra?: Readonly<Record<string, unknown>> | undefined;
}

/** How an answer is to be, and who is told of it as it is made. */
export interface ChatStreamOptions extends ChatOptions, ChatListeners {
  /** With the same `idempotencyKey`: goes on after this place of an answer that was begun before. */
  readonly lastEventId?: string | undefined;
}

/**
 * Talks to an Archipelag network.
 *
 * ```js
 * const client = new Client({ baseUrl: "http://127.0.0.1:8420", apiKey: "ak_…" });
 * const answer = await client.chat("What is an archipelago?");
 * console.log(answer.text);
 * ```
 */
export class Client extends JobCalls {
  /** The whole answer. */
  async chat(said: string | readonly Message[], options: ChatOptions = {}): Promise<ChatAnswer> {
    const { body, headers } = await this.http.json(await this.#chatCall(said, options, {}));
    const { model, choices, usage } = (body ?? {}) as {
      model?: string;
      choices?: { message?: { content?: string }; finish_reason?: string }[];
      usage?: unknown;
    };
    const choice = choices?.[0];
    if (!choice) throw new BadAnswerError("the answer has no choices");
    return {
      text: choice.message?.content ?? "",
      jobId: headers.get("X-Archipelag-Job") ?? "",
      island: headers.get("X-Archipelag-Island") ?? "",
      model: model ?? "",
      finishReason: choice.finish_reason ?? null,
      usage: usageOf(usage),
    };
  }

  /**
   * The answer as it is made: iterate it for the pieces, or await it for the whole answer with `onToken` told of each
   * piece. Nothing is asked before one of them. A line that breaks is taken up again where it broke.
   *
   * ```js
   * for await (const piece of client.chatStream("Why is the sky blue?")) process.stdout.write(piece.text);
   * const answer = await client.chatStream("Why?", { onToken: (text) => process.stdout.write(text) });
   * ```
   */
  chatStream(said: string | readonly Message[], options: ChatStreamOptions = {}): ChatStream {
    const streamed = { stream: true, stream_options: { include_usage: true } };
    return new ChatStream(this.http, () => this.#chatCall(said, options, streamed), options);
  }

  /** A picture; with `onPartialImage` also what it looks like while it is drawn. */
  async generateImage(prompt: string, options: ImageOptions = {}): Promise<Image> {
    const model = options.model ?? (await this.defaultModel("image", options));
    return draw(this.http, model, prompt, options);
  }

  /** A vector for each text. */
  async embed(
    texts: string | readonly string[],
    options: WriteOptions & { model?: string | undefined; dimensions?: number | undefined } = {},
  ): Promise<Embeddings> {
    const { dimensions, idempotencyKey, signal } = options;
    const model = options.model ?? (await this.defaultModel("embeddings", options));
    const json = { model, input: texts, ...snake({ dimensions }) };
    const call: Call = { method: "POST", path: "/embeddings", json, idempotencyKey, signal };
    const { body, headers } = await this.http.json(call);
    const answer = (body ?? {}) as {
      data?: { index: number; embedding: number[] }[];
      model?: string;
      usage?: unknown;
    };
    if (!Array.isArray(answer.data)) throw new BadAnswerError("the answer has no vectors");
    return {
      vectors: [...answer.data].sort((a, b) => a.index - b.index).map((one) => one.embedding),
      model: answer.model ?? model,
      jobId: headers.get("X-Archipelag-Job") ?? "",
      usage: usageOf(answer.usage),
    };
  }

  async #chatCall(
    said: string | readonly Message[],
    options: ChatOptions,
    delivery: object,
  ): Promise<Call> {
    const { system, maxTokens, temperature, topP, seed, stop, extra, signal } = options;
    const messages = typeof said === "string" ? [{ role: "user", content: said }] : [...said];
    if (system !== undefined) messages.unshift({ role: "system", content: system });
    const model = options.model ?? (await this.defaultModel("chat", options));
    const chosen = snake({ maxTokens, temperature, topP, seed, stop });
    const left = options.onDisconnect;
    return {
      method: "POST",
      path: "/chat/completions",
      json: { model, messages, ...chosen, ...extra, ...delivery },
      headers: {
        ...(left ? { "X-Archipelag-On-Disconnect": left } : {}),
        ...ofUseWithin(options.withinMs),
      },
      idempotencyKey: options.idempotencyKey ?? newKey(),
      signal,
    };
  }
}
