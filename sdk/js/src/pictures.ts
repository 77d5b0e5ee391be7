/** Pictures: asked for whole, or with previews while they are drawn. */

import { BadAnswerError, errorInStream, StreamBrokenError } from "./errors.js";
import { type Call, type Http, newKey, type WriteOptions } from "./http.js";
import { Broken } from "./line.js";
import { snake } from "./names.js";
import { decoded, usageOf } from "./streams.js";
import type { Image } from "./types.js";

/** How a picture is to be. */
export interface ImageOptions extends WriteOptions {
  /** Default: the first one of the network that draws. */
  readonly model?: string | undefined;
  /** In pixels; both, or neither. */
  readonly width?: number | undefined;
  readonly height?: number | undefined;
  readonly negativePrompt?: string | undefined;
  readonly steps?: number | undefined;
  readonly guidanceScale?: number | undefined;
  readonly seed?: number | undefined;
  /** `url`: a link that is good for an hour, instead of the data. */
  readonly as?: "data" | "url" | undefined;
  /** Up to three previews while it is drawn; asks for them by being there. */
  readonly onPartialImage?: ((data: Uint8Array, index: number) => void) | undefined;
}

/** Draws. Asked with the same key again after a break, it is one job and one price. */
export async function draw(
  http: Http,
  model: string,
  prompt: string,
  options: ImageOptions,
): Promise<Image> {
  const { width, height, negativePrompt, steps, guidanceScale, seed } = options;
  const { onPartialImage, signal } = options;
  if ((width === undefined) !== (height === undefined))
    throw new TypeError("width and height: give both, or neither");
  if (onPartialImage && options.as === "url")
    throw new TypeError("previews come with the picture's data only: leave out `as`");
  const size = width === undefined ? undefined : `${width}x${height}`;
  const wanted = snake({ size, negativePrompt, steps, guidanceScale, seed });
  const call: Call = {
    method: "POST",
    path: "/images/generations",
    json: { model, prompt, ...wanted, ...shapeOf(options) },
    idempotencyKey: options.idempotencyKey ?? newKey(),
    signal,
  };
  if (onPartialImage) return drawWithPreviews(http, call, onPartialImage);
  const { body, headers } = await http.json(call);
  const answer = body as { data?: unknown[] } | null;
  const shown = answer?.data?.[0];
  if (!shown) throw new BadAnswerError("the answer has no picture");
  return imageOf(answer as Raw, shown as Raw, headers.get("X-Archipelag-Job") ?? "");
}

type Raw = Record<string, unknown>;

function shapeOf({ as, onPartialImage }: ImageOptions): Raw {
  return onPartialImage
    ? { stream: true, partial_images: 3 }
    : { response_format: as === "url" ? "url" : "b64_json" };
}

async function drawWithPreviews(
  http: Http,
  call: Call,
  onPartialImage: (data: Uint8Array, index: number) => void,
): Promise<Image> {
  let shown = -1;
  for (let breaks = 1; ; breaks++) {
    const line = await http.open({ ...call, stream: true });
    const jobId = line.response.headers.get("X-Archipelag-Job") ?? "";
    try {
      for await (const event of line.events()) {
        const raw = decoded(event);
        if (raw["error"]) throw errorInStream(raw);
        if (raw["type"] === "image_generation.completed") return imageOf(raw, raw, jobId);
        const index = Number(raw["partial_image_index"]);
        if (raw["type"] !== "image_generation.partial_image" || !(index > shown)) continue;
        shown = index;
        onPartialImage(bytesOf(String(raw["b64_json"])), index);
      }
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
    } finally {
      line.close();
    }
    if (breaks > http.retries)
      throw new StreamBrokenError(`the picture of job ${jobId || "?"} stopped before its end`);
    await http.backOff(breaks, call.signal);
  }
}

function imageOf(answer: Raw, shown: Raw, jobId: string): Image {
  const { b64_json: encoded, url, seed } = shown;
  const size = String(answer["size"] ?? "")
    .split("x")
    .map(Number);
  return {
    data: typeof encoded === "string" ? bytesOf(encoded) : null,
    url: typeof url === "string" ? url : null,
    mediaType: `image/${String(answer["output_format"] ?? "png")}`,
    width: size[0] || 0,
    height: size[1] || 0,
    seed: typeof seed === "number" ? seed : null,
    jobId,
    usage: usageOf(answer["usage"]),
  };
}

function bytesOf(base64: string): Uint8Array {
  try {
    return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  } catch {
    throw new BadAnswerError("a picture is not in base64");
  }
}
