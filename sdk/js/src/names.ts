/** The API's names (`created_at`) and ours (`createdAt`). What people wrote themselves is never touched. */

/** Under these names lies somebody's own data, or words of the API as keys: left as it is. */
const OPAQUE = new Set([
  "input",
  "output",
  "example",
  "input_schema",
  "capabilities",
  "faults",
  "image_data",
  "metadata",
]);

/** A copy with names in camelCase, all the way down. */
export function camel<T>(value: unknown): T {
  if (Array.isArray(value)) return value.map((one) => camel(one)) as T;
  if (value === null || typeof value !== "object") return value as T;
  const named: Record<string, unknown> = {};
  for (const [name, inner] of Object.entries(value)) {
    const ours = name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
    // `__proto__` is no such name any more: it has become `_Proto__`.
    named[ours] = OPAQUE.has(name) ? inner : camel(inner);
  }
  return named as T;
}

/** One level in the API's names, without what is not given. */
export function snake(given: object): Record<string, unknown> {
  const named: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(given))
    if (value !== undefined && value !== null)
      named[name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)] = value;
  return named;
}
