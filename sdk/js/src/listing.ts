/** Lists of the API, walked page by page. */

/** A part of a longer list. */
export interface Page<T> {
  readonly rows: readonly T[];
  readonly more: boolean;
}

const PAGE_MAX = 100;

/** Where a walk has got to. */
export interface Place<T> {
  readonly limit: number;
  readonly offset: number;
  /** The last one of the page before. */
  readonly last: T | undefined;
}

/** Each row once, by its name, so many as `limit`; pages are fetched as they are needed. What is new pushes the rest down the list,
 * where it would be met again. */
export async function* walk<T extends { readonly id: string }>(
  limit: number | undefined,
  fetchPage: (place: Place<T>) => Promise<Page<T>>,
  nameOf: (row: T) => string = (row) => row.id,
): AsyncGenerator<T, void, undefined> {
  if (limit !== undefined && !(Number.isInteger(limit) && limit >= 0))
    throw new TypeError("limit must be a whole number, 0 or more");
  const seen = new Set<string>();
  let last: T | undefined;
  for (let offset = 0, left = limit ?? Number.POSITIVE_INFINITY; left > 0; ) {
    const page = await fetchPage({ limit: Math.min(left, PAGE_MAX), offset, last });
    for (const row of page.rows) {
      const name = nameOf(row);
      if (seen.has(name)) continue;
      seen.add(name);
      yield row;
      if (--left <= 0) return;
    }
    offset += page.rows.length;
    last = page.rows.at(-1);
    if (!page.more || !page.rows.length) return;
  }
}
