import type { Client } from "@archipelag/sdk";
import { createContext, createElement, type ReactElement, type ReactNode, useContext } from "react";

const ClientContext = createContext<Client | null>(null);

/** Gives its client to every hook below it. Make the client once, outside of what renders. */
export function ArchipelagProvider(props: {
  readonly client: Client;
  readonly children?: ReactNode;
}): ReactElement {
  return createElement(ClientContext.Provider, { value: props.client }, props.children);
}

/** The client of the nearest ArchipelagProvider. Throws where there is none. */
export function useClient(): Client {
  const client = useContext(ClientContext);
  if (!client) throw new Error("no Archipelag client: put <ArchipelagProvider client={…}> above");
  return client;
}
