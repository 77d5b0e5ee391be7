/** What the client does about the network and the account: read, mostly. */

import { BadAnswerError, NothingOfferedError } from "./errors.js";
import type { WriteOptions } from "./http.js";
import { type Call, type CallOptions, type ClientOptions, Http, segment } from "./http.js";
import { walk } from "./listing.js";
import { camel, snake } from "./names.js";
import type {
  Account,
  ApiKey,
  Credits,
  Grant,
  Island,
  IslandWhy,
  Karma,
  Model,
  NewApiKey,
  Session,
  Transfer,
  UsageSum,
  User,
  Workload,
} from "./types.js";

/** Days of UTC, as `2026-11-01` or a Date, both included; 366 at most. */
export interface DaysOptions extends CallOptions {
  readonly since?: string | Date | undefined;
  readonly until?: string | Date | undefined;
}

/** What a key may do. */
export interface KeyOptions extends WriteOptions {
  readonly expiresAt?: string | Date | undefined;
  /** The most that it may spend, in all. */
  readonly budget?: Credits | undefined;
  readonly ratePerMinute?: number | undefined;
}

/** What an owner orders an Island to do. */
export interface OrderOptions extends WriteOptions {
  /** Takes no more work until it is false again. */
  readonly draining?: boolean | undefined;
  /** Day (`mon` to `sun`) → the hours in which it may work, by the machine's own clock. */
  readonly schedule?: Readonly<Record<string, readonly number[]>> | "always" | undefined;
  /** Workload → the least in credits that it works for: `per_job`, `per_prompt_token`, `per_output_item`. */
  readonly leastPrices?: Readonly<Record<string, Readonly<Record<string, Credits>>>> | undefined;
}

/** The lower half of the client. */
export class NetworkCalls {
  /** @internal */
  protected readonly http: Http;
  readonly #models: Record<string, string> = {};

  constructor(options: ClientOptions = {}) {
    this.http = new Http(options);
  }

  /**
   * Any route of the API, with this client's retries and errors: the body as the API sends it.
   * `path` begins after `/api/v1`.
   */
  async request<T = unknown>(
    method: string,
    path: string,
    options: WriteOptions & { query?: object; body?: unknown } = {},
  ): Promise<T> {
    const { query, body, idempotencyKey, signal } = options;
    const call = { method: method.toUpperCase(), path, query, json: body, idempotencyKey, signal };
    return (await this.http.json(call)).body as T;
  }

  /** Who one is, and what one has. */
  getAccount(options: CallOptions = {}): Promise<Account> {
    return this.read("/account", options);
  }

  /** What was used and paid, summed by `day`, `key` or `workload`. */
  getUsage(
    options: DaysOptions & { by?: "day" | "key" | "workload" } = {},
  ): Promise<readonly UsageSum[]> {
    return this.read("/usage", options, { ...daysOf(options), by: options.by });
  }

  /** Every movement of one's credits, newest first; pages are fetched as they are needed. */
  listTransfers(
    options: CallOptions & { limit?: number } = {},
  ): AsyncGenerator<Transfer, void, undefined> {
    let before: unknown;
    const page = async ({ limit }: { limit: number }) => {
      const { signal } = options;
      const query = { limit, before };
      const { body } = await this.http.json({
        method: "GET",
        path: "/account/transfers",
        query,
        signal,
      });
      before = (body as { meta?: { next?: unknown } } | null)?.meta?.next ?? undefined;
      return { rows: rowsOf<Transfer>(body), more: before !== undefined };
    };
    // One that went from one of the two accounts to the other is an entry in each.
    return walk(options.limit, page, ({ id, account }) => `${id} ${account}`);
  }

  /** One's keys, without their secrets. */
  listKeys(options: CallOptions = {}): Promise<readonly ApiKey[]> {
    return this.read("/api-keys", options);
  }

  /** A new key; its secret `key` is shown this once. */
  async createKey(
    name: string,
    options: KeyOptions & { scopes?: readonly ("read" | "write")[] } = {},
  ): Promise<NewApiKey> {
    const json = { name, scopes: options.scopes ?? ["read", "write"], ...keyOf(options) };
    const { idempotencyKey, signal } = options;
    const call: Call = { method: "POST", path: "/api-keys", json, idempotencyKey, signal };
    const { body } = await this.http.json({ ...call, once: true });
    const { key, data } = body as { key?: unknown; data?: unknown };
    if (typeof key !== "string") throw new BadAnswerError("the answer has no key");
    return { ...camel<ApiKey>(data), key };
  }

  /** Changes what is given. A key cannot give another one more than it may itself. */
  updateKey(keyId: string, changes: KeyOptions & { name?: string }): Promise<ApiKey> {
    const json = { ...snake({ name: changes.name }), ...keyOf(changes) };
    return this.write("PATCH", `/api-keys/${segment(keyId)}`, changes, json);
  }

  /** Refused from the next request on, everywhere. */
  async revokeKey(keyId: string, options: WriteOptions = {}): Promise<void> {
    const { idempotencyKey, signal } = options;
    const path = `/api-keys/${segment(keyId)}`;
    await this.http.json({ method: "DELETE", path, idempotencyKey, signal, goneIsDone: true });
  }

  /** The browsers that one is signed in with, newest first. */
  listSessions(options: CallOptions = {}): Promise<readonly Session[]> {
    return this.read("/sessions", options);
  }

  /** Signs out in one browser, from its next request on. */
  revokeSession(sessionId: string, options: WriteOptions = {}): Promise<Session> {
    return this.write("DELETE", `/sessions/${segment(sessionId)}`, options);
  }

  /** Signs out in every browser; how many there were. Keys stay. */
  async revokeSessions(options: WriteOptions = {}): Promise<number> {
    const path = "/sessions/sign-out-everywhere";
    return (await this.write<{ signedOut: number }>("POST", path, options)).signedOut;
  }

  /** People, newest first, for operators and administrators. `search`: a part of an address, or an id. */
  listUsers(
    options: CallOptions & { search?: string | undefined; limit?: number | undefined } = {},
  ): AsyncGenerator<User, void, undefined> {
    const { search, limit, signal } = options;
    return walk(limit, (place) => this.page("/admin/users", { search }, place, signal));
  }

  /** Gives somebody credits, for administrators: once for each `cause`, however often it is asked. */
  grantCredits(
    userId: string,
    credits: Credits,
    cause: string,
    options: WriteOptions = {},
  ): Promise<Grant> {
    const asked = { user_id: userId, credits, cause };
    return this.write("POST", "/admin/grants", options, asked);
  }

  /** Models by name; `kind` says what each is good for. */
  listModels(options: CallOptions = {}): Promise<readonly Model[]> {
    return this.read("/models", options);
  }

  /** The catalogue of Cargos. */
  listWorkloads(options: CallOptions = {}): Promise<readonly Workload[]> {
    return this.read("/workloads", options);
  }

  /** One Cargo of the catalogue. */
  getWorkload(slug: string, options: CallOptions = {}): Promise<Workload> {
    return this.read(`/workloads/${segment(slug)}`, options);
  }

  /** One's own Islands, and others while they are here. */
  listIslands(options: CallOptions = {}): Promise<readonly Island[]> {
    return this.read("/hosts", options);
  }

  /** One Island. */
  getIsland(islandId: string, options: CallOptions = {}): Promise<Island> {
    return this.read(`/hosts/${segment(islandId)}`, options);
  }

  /** Changes what is given of an owner's orders to one's own Island; beside its own rules, the stricter wins. */
  orderIsland(islandId: string, orders: OrderOptions): Promise<Island> {
    const { draining, schedule, leastPrices } = orders;
    const json = {
      ...(draining === undefined ? {} : { draining }),
      ...(schedule === undefined ? {} : { schedule: schedule === "always" ? null : schedule }),
      ...(leastPrices === undefined ? {} : { least_prices: leastPrices }),
    };
    return this.write("PATCH", `/hosts/${segment(islandId)}`, orders, json);
  }

  /** What is held for and against an Island. */
  getIslandKarma(islandId: string, options: CallOptions = {}): Promise<Karma> {
    return this.read(`/hosts/${segment(islandId)}/karma`, options);
  }

  /** What one's own Island earned, summed by `day` or `workload`. */
  getIslandEarnings(
    islandId: string,
    options: DaysOptions & { by?: "day" | "workload" } = {},
  ): Promise<readonly Readonly<Record<string, unknown>>[]> {
    const query = { ...daysOf(options), by: options.by };
    return this.read(`/hosts/${segment(islandId)}/earnings`, options, query);
  }

  /** Why one's own Island gets no work now. */
  whyIsland(islandId: string, options: CallOptions = {}): Promise<IslandWhy> {
    return this.read(`/hosts/${segment(islandId)}/why`, options);
  }

  /** How large the network is; open to anyone. */
  getStats(options: CallOptions = {}): Promise<{
    readonly onlineIslands: number;
    readonly regions: unknown;
    readonly jobsCompleted: number;
  }> {
    return this.read("/network/stats", options);
  }

  /** The version of the Coordinator that answers; open to anyone. */
  async getVersion(options: CallOptions = {}): Promise<string> {
    const { signal } = options;
    const { body } = await this.http.json({ method: "GET", path: "/health", signal });
    return String((body as { version?: unknown } | null)?.version ?? "");
  }

  /** The first model of this kind that the network offers, asked once. Throws NothingOfferedError. */
  async defaultModel(kind = "chat", options: CallOptions = {}): Promise<string> {
    const known = this.#models[kind];
    if (known !== undefined) return known;
    const model = (await this.listModels(options)).find((one) => one.kind === kind);
    if (!model)
      throw new NothingOfferedError(
        `the network offers no model for ${kind} yet: connect an Island`,
      );
    this.#models[kind] = model.id;
    return model.id;
  }

  /** @internal What stands under `data` of a GET. */
  protected async read<T>(path: string, { signal }: CallOptions, query?: object): Promise<T> {
    return dataOf((await this.http.json({ method: "GET", path, query, signal })).body);
  }

  /** @internal A part of a list that says how long the whole is. */
  protected async page<T>(
    path: string,
    wanted: object,
    { limit, offset }: { limit: number; offset: number },
    signal: AbortSignal | undefined,
  ): Promise<{ rows: readonly T[]; more: boolean }> {
    const query = { limit, offset, ...wanted };
    const { body } = await this.http.json({ method: "GET", path, query, signal });
    const rows = rowsOf<T>(body);
    const total = (body as { meta?: { total?: unknown } }).meta?.total;
    return { rows, more: typeof total === "number" && offset + rows.length < total };
  }

  /** @internal What stands under `data` of a write's answer. */
  protected async write<T>(
    method: string,
    path: string,
    { idempotencyKey, signal }: WriteOptions,
    json?: unknown,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<T> {
    const call: Call = { method, path, json, headers, idempotencyKey, signal };
    return dataOf((await this.http.json(call)).body);
  }
}

/** @internal What stands under `data`, in our names. */
export function dataOf<T>(body: unknown): T {
  const data = (body as { data?: unknown } | null)?.data;
  if (data === undefined) throw new BadAnswerError("the answer has no `data`");
  return camel(data);
}

/** @internal A list under `data`. */
export function rowsOf<T>(body: unknown): readonly T[] {
  const rows = dataOf<readonly T[]>(body);
  if (!Array.isArray(rows)) throw new BadAnswerError("the answer is not a list");
  return rows;
}

function daysOf({ since, until }: DaysOptions): object {
  return { from: dayOf(since), to: dayOf(until) };
}

function dayOf(day: string | Date | undefined): string | undefined {
  return day instanceof Date ? day.toISOString().slice(0, 10) : day;
}

function keyOf({ expiresAt, budget, ratePerMinute }: KeyOptions): object {
  if (typeof budget === "number")
    throw new TypeError('budget must be decimal text like "2.5": a float is not exact');
  const until = expiresAt instanceof Date ? expiresAt.toISOString() : expiresAt;
  return snake({ expiresAt: until, budget, ratePerMinute });
}
