import type { Image, ImageOptions } from "@archipelag/sdk";
import { useCallback, useEffect, useRef, useState } from "react";
import { useClient } from "./provider.js";

/** How pictures are to be; `previews` shows them while they are drawn (by default it does). */
export interface UseImageOptions
  extends Omit<ImageOptions, "signal" | "idempotencyKey" | "onPartialImage" | "as"> {
  readonly previews?: boolean;
}

/** A picture in the making. */
export interface ImageState {
  /** What to show: an address for `<img src>`, of the preview or of the picture; null before there is any. */
  readonly src: string | null;
  /** The picture, once it is whole. */
  readonly image: Image | null;
  readonly status: "ready" | "drawing" | "error";
  /** Why the last one failed. */
  readonly error: Error | null;
  /** Draws; resolves to the picture, or to null where it was stopped or failed. */
  readonly generate: (prompt: string, options?: UseImageOptions) => Promise<Image | null>;
  /** Ends the drawing. */
  readonly stop: () => void;
}

/** Draws pictures. */
export function useImage(options: UseImageOptions = {}): ImageState {
  const client = useClient();
  const [src, setSrc] = useState<string | null>(null);
  const [image, setImage] = useState<Image | null>(null);
  const [status, setStatus] = useState<ImageState["status"]>("ready");
  const [error, setError] = useState<Error | null>(null);
  const running = useRef<AbortController | null>(null);
  const shown = useRef<string | null>(null);
  const given = useRef(options);
  given.current = options;

  const show = useCallback((data: Uint8Array | null, mediaType: string) => {
    if (shown.current) URL.revokeObjectURL(shown.current);
    const part = data && new Blob([data as Uint8Array<ArrayBuffer>], { type: mediaType });
    shown.current = part && URL.createObjectURL(part);
    setSrc(shown.current);
  }, []);

  const stop = useCallback(() => {
    running.current?.abort();
    running.current = null;
    setStatus((before) => (before === "error" ? before : "ready"));
  }, []);

  useEffect(
    () => () => {
      running.current?.abort();
      if (shown.current) URL.revokeObjectURL(shown.current);
      shown.current = null;
    },
    [],
  );

  const generate = useCallback(
    async (prompt: string, more: UseImageOptions = {}): Promise<Image | null> => {
      running.current?.abort();
      const control = new AbortController();
      running.current = control;
      const mine = (): boolean => running.current === control;
      const { previews = true, ...chosen } = { ...given.current, ...more };
      setError(null);
      setImage(null);
      show(null, "");
      setStatus("drawing");
      try {
        const drawn = await client.generateImage(prompt, {
          ...chosen,
          signal: control.signal,
          ...(previews && { onPartialImage: (data) => mine() && show(data, "image/png") }),
        });
        if (!mine()) return null;
        show(drawn.data, drawn.mediaType);
        setImage(drawn);
        setStatus("ready");
        return drawn;
      } catch (reason) {
        if (!mine() || control.signal.aborted) return null;
        setError(reason instanceof Error ? reason : new Error(String(reason)));
        setStatus("error");
        return null;
      } finally {
        if (mine()) running.current = null;
      }
    },
    [client, show],
  );

  return { src, image, status, error, generate, stop };
}
