/** Where the Coordinators of a network are, and what the environment says of it. */

/** Where the API begins. */
export const API = "/api/v1";

/** Addresses with our path. Throws TypeError for what cannot be one. */
export function addressesOf(given: string | readonly string[]): readonly string[] {
  if (given === "") {
    if (!inPage())
      throw new TypeError('baseUrl "" means this page\'s host, and there is no page here');
    return [API];
  }
  const listed = (typeof given === "string" ? given.split(",") : given).map((one) => one.trim());
  const found = listed.filter(Boolean).map(root);
  if (!found.length) throw new TypeError("baseUrl names no address");
  return found;
}

/** The address with our path; also from an address meant for an OpenAI client (…/v1). */
function root(address: string): string {
  if (!/^https?:\/\/[^/]/.test(address))
    throw new TypeError(`baseUrl must begin with http:// or https://: ${JSON.stringify(address)}`);
  return (
    address
      .replace(/\/+$/, "")
      .replace(/(\/api)?\/v1$/, "")
      .replace(/\/+$/, "") + API
  );
}

/** Where to ask when nothing was said. */
export function defaultAddress(): string {
  const named = environment("ARCHIPELAG_API_URL");
  if (named) return named;
  return inPage() ? "" : "http://127.0.0.1:8420";
}

/** Whether this runs in a page, or in a worker of one. */
export function inPage(): boolean {
  const { location } = globalThis as { location?: { protocol?: string } };
  return location?.protocol?.startsWith("http") === true;
}

/** A variable of the environment, where there is one and we may read it. */
export function environment(name: string): string | undefined {
  try {
    const { process } = globalThis as {
      process?: { env?: Record<string, string | undefined> };
    };
    return process?.env?.[name] || undefined;
  } catch {
    return undefined; // Deno without the permission.
  }
}
