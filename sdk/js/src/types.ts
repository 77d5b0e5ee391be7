/** What the API gives back. Names are the API's in camelCase; credits are decimal text, times ISO 8601 in UTC. */

/** Credits as decimal text with at most six decimals: never a float. */
export type Credits = string;

/** Where a job stands. */
export type JobStatus =
  | "pending"
  | "queued"
  | "running"
  | "completed"
  | "failed"
  | "cancelled"
  | "timeout";

/** What a request used. */
export interface Usage {
  readonly promptTokens: number;
  readonly completionTokens: number;
  readonly totalTokens: number;
  /** The price. */
  readonly creditsUsed: Credits | null;
  /** Of a chat's prompt, what its Island did not have to read again; 0 or left out where it is not known. */
  readonly cachedTokens?: number;
}

/** One try of a job on one Island. */
export interface Attempt {
  readonly epoch: number;
  readonly islandId: string | null;
  readonly island: string | null;
  readonly status: string;
  readonly cause: string | null;
  readonly reason: string | null;
  readonly assignedAt: string | null;
  readonly endedAt: string | null;
  readonly [more: string]: unknown;
}

/** Work that was asked for. */
export interface Job {
  readonly id: string;
  readonly workloadId: number;
  readonly workloadSlug: string;
  readonly status: JobStatus;
  readonly input: Readonly<Record<string, unknown>>;
  /** The whole output, JSON text where it is not plain text; null until the job has ended. */
  readonly output: string | null;
  readonly error: string | null;
  readonly cause: string | null;
  readonly finishReason: string | null;
  readonly priority: number;
  readonly createdAt: string;
  readonly startedAt: string | null;
  readonly completedAt: string | null;
  readonly durationMs: number | null;
  /** The upper bound of its price. */
  readonly reserved: Credits;
  /** Why no Island has taken it yet. */
  readonly waitingFor: readonly string[];
  readonly usage: Usage | null;
  /** Only where one job is read. */
  readonly attempts?: readonly Attempt[];
  /** Only where one job is read that waits for an Island. */
  readonly wait?: { readonly ahead: number; readonly expectedWaitS: number | null };
  readonly [more: string]: unknown;
}

/** One event of a job's stream. `id` is the place after it: hand it to `lastEventId` to go on there. */
export type JobEvent = { readonly id: string } & (
  | {
      readonly type: "status";
      readonly content: string;
      readonly reasons?: readonly string[];
      /** Jobs before it, and how long they take; of one that waits, and again when that has changed. */
      readonly ahead?: number;
      readonly expectedWaitS?: number | null;
    }
  | { readonly type: "token"; readonly content: string }
  | {
      readonly type: "progress";
      readonly step: number;
      readonly total: number;
      readonly content?: string;
      /** A preview, in base64. */
      readonly imageData?: string;
      readonly format?: string;
    }
  | { readonly type: "image"; readonly imageData: string; readonly format: string }
  | { readonly type: "done"; readonly usage: Usage; readonly finishReason: string }
  | {
      readonly type: "error";
      readonly error: string;
      readonly code: string;
      readonly usage?: Usage;
    }
);

/** What somebody said. Further fields go to the API as they are. */
export interface Message {
  readonly role: "system" | "developer" | "user" | "assistant" | "tool";
  readonly content: unknown;
  readonly [more: string]: unknown;
}

/** A piece of an answer as it is made. `finishReason` and `usage` stand on the last ones. */
export interface ChatPiece {
  readonly text: string;
  readonly jobId: string;
  readonly island: string;
  readonly finishReason: string | null;
  readonly usage: Usage | null;
}

/** A whole answer. */
export interface ChatAnswer {
  readonly text: string;
  readonly jobId: string;
  /** The name of the Island that made it. */
  readonly island: string;
  readonly model: string;
  readonly finishReason: string | null;
  readonly usage: Usage | null;
}

/** A picture. Either `data` or `url` is there, as was asked. */
export interface Image {
  readonly data: Uint8Array | null;
  /** A link that is good for an hour. */
  readonly url: string | null;
  /** As `image/png`. */
  readonly mediaType: string;
  /** In pixels; 0 where the network does not say. */
  readonly width: number;
  readonly height: number;
  /** Asking with it again gives the same picture. */
  readonly seed: number | null;
  readonly jobId: string;
  readonly usage: Usage | null;
}

/** Texts as vectors, in the order of the texts. */
export interface Embeddings {
  readonly vectors: readonly number[][];
  readonly model: string;
  readonly jobId: string;
  readonly usage: Usage | null;
}

/** A file that the network keeps: uploaded, or made by a job. Times are seconds since 1970, as OpenAI has them. */
export interface File {
  readonly id: string;
  readonly filename: string;
  readonly bytes: number;
  readonly mediaType: string;
  readonly sha256: string;
  readonly purpose: string;
  readonly createdAt: number;
  readonly expiresAt: number | null;
  /** The job that made it. */
  readonly jobId: string | null;
  readonly [more: string]: unknown;
}

/** A Cargo of the catalogue. */
export interface Workload {
  readonly id: number;
  readonly slug: string;
  readonly name: string;
  readonly description: string;
  readonly kind: string;
  readonly model: string | null;
  readonly runtime: string;
  readonly version: string;
  readonly price: {
    readonly perJob: Credits;
    readonly perPromptToken: Credits;
    readonly perOutputItem: Credits;
  };
  readonly pricePerJob: Credits;
  readonly isEnabled: boolean;
  /** JSON Schema of its input. */
  readonly inputSchema: Readonly<Record<string, unknown>> | null;
  readonly example: Readonly<Record<string, unknown>> | null;
  readonly [more: string]: unknown;
}

/** A model by its name. `kind` is chat, embeddings, image, transcription or speech. */
export interface Model {
  readonly id: string;
  readonly kind: string;
  readonly created: number;
  readonly ownedBy: string;
}

/** A machine that runs jobs. */
export interface Island {
  readonly id: string;
  readonly name: string;
  readonly status: string;
  readonly approved: boolean;
  readonly region: string | null;
  readonly slots: number;
  readonly load: number;
  readonly seenAt: string | null;
  readonly cargos: readonly {
    readonly slug: string;
    readonly state: string;
    readonly [more: string]: unknown;
  }[];
  readonly [more: string]: unknown;
}

/** What is held for and against an Island. One point is an hour of good work. */
export interface Karma {
  readonly points: number;
  readonly tier: string;
  readonly payoutOpen: boolean;
  readonly goodHours: number;
  /** Kind of fault → how often. */
  readonly faults: Readonly<Record<string, number>>;
  readonly [more: string]: unknown;
}

/** Who one is, and what one has. */
export interface Account {
  readonly id: string;
  readonly email: string;
  readonly role: string;
  readonly credits: Credits;
  /** Reserved for unfinished jobs. */
  readonly held: Credits;
  readonly available: Credits;
  readonly createdAt: string;
  readonly [more: string]: unknown;
}

/** A credential of a program, without its secret. */
export interface ApiKey {
  readonly id: string;
  readonly name: string;
  readonly prefix: string;
  readonly scopes: readonly string[];
  readonly createdAt: string;
  readonly lastUsedAt: string | null;
  readonly expiresAt: string | null;
  readonly revokedAt: string | null;
  readonly budget: Credits | null;
  readonly used: Credits;
  readonly ratePerMinute: number | null;
  readonly [more: string]: unknown;
}

/** A new key. `key` is the secret, shown this once. */
export interface NewApiKey extends ApiKey {
  readonly key: string;
}

/** A browser that somebody is signed in with. `current` is the one that asks. */
export interface Session {
  readonly id: string;
  readonly userAgent: string | null;
  readonly createdAt: string;
  readonly lastUsedAt: string | null;
  readonly expiresAt: string | null;
  readonly revokedAt: string | null;
  readonly current: boolean;
}

/** Somebody of this network. */
export interface User {
  readonly id: string;
  readonly email: string;
  readonly role: "user" | "operator" | "admin";
  readonly suspended: boolean;
  readonly createdAt: string;
}

/** Who was given credits. Not `granted`: they had this cause's before. */
export interface Grant extends Account {
  readonly granted: boolean;
}

/** Several inputs for one workload, worked on as ordinary jobs. */
export interface Batch {
  readonly id: string;
  /** `stopping` while what still runs is being cancelled. */
  readonly status: "running" | "stopping" | "completed" | "failed" | "cancelled";
  readonly workloadSlug: string;
  readonly total: number;
  /** They add up to `total`. */
  readonly counts: {
    readonly queued: number;
    readonly running: number;
    readonly completed: number;
    readonly failed: number;
    readonly cancelled: number;
  };
  /** The jobs' ids in the order of the inputs. */
  readonly jobs: readonly string[];
  readonly error: string | null;
  readonly createdAt: string;
  readonly completedAt: string | null;
  /** Only where its status is asked for, in the order of the inputs. */
  readonly items?: readonly {
    readonly jobId: string;
    readonly status: JobStatus;
    readonly error: string | null;
    readonly usage: Usage | null;
  }[];
  /** Merged of what has completed, once the batch has ended: text for `concat`, a list for `flatten`. */
  readonly output?: unknown;
  /** Summed up. */
  readonly usage?: Usage | null;
  readonly [more: string]: unknown;
}

/** What was used and paid in one day, by one key or with one workload. */
export interface UsageSum {
  readonly day?: string;
  readonly keyId?: string | null;
  readonly keyName?: string | null;
  readonly workload?: string;
  readonly jobs: number;
  readonly promptTokens: number;
  readonly completionTokens: number;
  readonly credits: Credits;
}

/** A movement of credits. */
export interface Transfer {
  readonly id: string;
  readonly account: string;
  readonly at: string;
  readonly kind: string;
  /** Below zero where it left the account. */
  readonly amount: Credits;
  readonly balanceAfter: Credits | null;
  readonly jobId: string | null;
  readonly keyId: string | null;
  readonly note: string | null;
}

/** A rule of placement, and how many Islands it kept out. */
export interface Rule {
  readonly rule: string;
  readonly meaning: string;
  readonly count: number;
}

/** Why a job went where it went, or why it still waits. */
export interface JobWhy {
  readonly jobId: string;
  readonly status: JobStatus;
  readonly attempts: readonly {
    readonly epoch: number;
    readonly islandId: string;
    readonly island: string | null;
    readonly status: string;
    readonly why: string;
    readonly score: number | null;
    /** Of so many Islands … */
    readonly asked: number;
    /** … so many could take it. */
    readonly fit: number;
    readonly preferences: readonly {
      readonly name: string;
      readonly weight: number;
      readonly value: number;
      readonly gave: number;
    }[];
    readonly keptOut: readonly Rule[];
  }[];
  readonly waiting: {
    readonly since: string;
    readonly until: string | null;
    readonly asked: number;
    readonly fit: number;
    readonly reasons: readonly Rule[];
    /** What would help. */
    readonly hint: string | null;
    /** Jobs before it. */
    readonly ahead: number;
    /** Until an Island takes it; null where nothing tells. */
    readonly expectedWaitS: number | null;
  } | null;
  /** To whoever last followed its stream where this was asked, or the proxy before them, and back; null where nothing tells. */
  readonly readerRoundTripMs: number | null;
}

/** Why an Island gets no work now. */
export interface IslandWhy {
  readonly islandId: string;
  readonly getsWork: boolean;
  readonly reasons: readonly { readonly code: string; readonly reason: string }[];
  readonly cargos: readonly Readonly<Record<string, unknown>>[];
}
