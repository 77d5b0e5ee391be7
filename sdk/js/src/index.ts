/** Client of an Archipelag network, for browsers, Node, Deno and Bun. */

export { type ChatOptions, type ChatStreamOptions, Client } from "./client.js";
export * from "./errors.js";
export type { DownloadOptions, Uploadable, UploadOptions } from "./files.js";
export type { CallOptions, ClientOptions, WorkOptions, WriteOptions } from "./http.js";
export type { BatchOptions, JobFilter, WaitOptions } from "./jobs.js";
export type { DaysOptions, KeyOptions, OrderOptions } from "./network.js";
export type { ImageOptions } from "./pictures.js";
export { type SseEvent, SseParser } from "./sse.js";
export { type ChatListeners, type ChatStatus, ChatStream } from "./streams.js";
export type * from "./types.js";
