import type { ChatOptions, ChatPiece, Message, Usage } from "@archipelag/sdk";
import { useCallback, useEffect, useRef, useState } from "react";
import { useClient } from "./provider.js";

/** One message of the conversation, as it is shown. What follows `content` stands on answers only. */
export interface ChatMessage {
  readonly id: string;
  readonly role: "user" | "assistant";
  readonly content: string;
  readonly jobId?: string;
  /** The Island that made it. */
  readonly island?: string;
  readonly finishReason?: string | null;
  readonly usage?: Usage | null;
}

/** `waiting` for an Island, `streaming`, `reconnecting` after the line broke; `error`: see `error`. */
export type ChatState = "ready" | "waiting" | "streaming" | "reconnecting" | "error";

/** What every answer of this conversation takes; and what was said before. */
export interface UseChatOptions
  extends Omit<ChatOptions, "signal" | "idempotencyKey" | "onDisconnect"> {
  readonly initialMessages?: readonly ChatMessage[];
  /** Told of each answer once it is whole. */
  readonly onFinish?: (message: ChatMessage) => void;
}

/** A conversation. */
export interface Chat {
  readonly messages: readonly ChatMessage[];
  readonly status: ChatState;
  /** Why the last answer failed. */
  readonly error: Error | null;
  /** Says something; resolves once the answer is whole, was stopped or failed. What came stays. */
  readonly send: (text: string) => Promise<void>;
  /** Ends the answer that is being made and keeps what has come. */
  readonly stop: () => void;
  /** Asks the last question anew, in the place of its answer. */
  readonly regenerate: () => Promise<void>;
  /** Replaces the conversation: to clear it, or to show another. Stops what is being made. */
  readonly setMessages: (messages: readonly ChatMessage[]) => void;
}

/** A conversation with a model: the messages before are the context of the next one. */
export function useChat(options: UseChatOptions = {}): Chat {
  const client = useClient();
  const [messages, show] = useState<readonly ChatMessage[]>(options.initialMessages ?? []);
  const [status, setStatus] = useState<ChatState>("ready");
  const [error, setError] = useState<Error | null>(null);
  // The truth while an answer is being made: what is rendered follows it.
  const now = useRef(messages);
  const running = useRef<AbortController | null>(null);
  const given = useRef(options);
  given.current = options;

  const put = useCallback((next: readonly ChatMessage[]) => {
    now.current = next;
    show(next);
  }, []);

  const stop = useCallback(() => {
    running.current?.abort();
    running.current = null;
    setStatus((before) => (before === "error" ? before : "ready"));
  }, []);

  // Whoever leaves the page has no use for the answer.
  useEffect(() => () => running.current?.abort(), []);

  const answer = useCallback(
    async (asked: readonly ChatMessage[]): Promise<void> => {
      running.current?.abort();
      const control = new AbortController();
      running.current = control;
      const mine = (): boolean => running.current === control;
      let reply: ChatMessage = { id: newId(), role: "assistant", content: "" };
      put(asked);
      setError(null);
      setStatus("waiting");
      const { initialMessages: _, onFinish, ...chosen } = given.current;
      try {
        const stream = client.chatStream(asked.map(said), {
          ...chosen,
          signal: control.signal,
          onStatus: ({ state }) => {
            if (mine() && state !== "completed")
              setStatus(state === "running" ? "streaming" : state);
          },
        });
        for await (const piece of stream) {
          if (!mine()) return;
          reply = grown(reply, piece);
          put([...asked, reply]);
        }
        if (!mine()) return;
        put([...asked, reply]);
        setStatus("ready");
        onFinish?.(reply);
      } catch (reason) {
        if (!mine() || control.signal.aborted) return;
        setError(reason instanceof Error ? reason : new Error(String(reason)));
        setStatus("error");
      } finally {
        if (mine()) running.current = null;
      }
    },
    [client, put],
  );

  const send = useCallback(
    (text: string) => answer([...now.current, { id: newId(), role: "user", content: text }]),
    [answer],
  );

  const regenerate = useCallback(async () => {
    const last = now.current.findLastIndex((one) => one.role === "user");
    if (last >= 0) await answer(now.current.slice(0, last + 1));
  }, [answer]);

  const setMessages = useCallback(
    (next: readonly ChatMessage[]) => {
      stop();
      setError(null);
      setStatus("ready");
      put(next);
    },
    [put, stop],
  );

  return { messages, status, error, send, stop, regenerate, setMessages };
}

function said({ role, content }: ChatMessage): Message {
  return { role, content };
}

function grown(reply: ChatMessage, piece: ChatPiece): ChatMessage {
  return {
    ...reply,
    content: reply.content + piece.text,
    jobId: piece.jobId,
    island: piece.island,
    finishReason: piece.finishReason ?? reply.finishReason ?? null,
    usage: piece.usage ?? reply.usage ?? null,
  };
}

function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint32Array(3)), (part) => part.toString(36)).join(
    "",
  );
}
