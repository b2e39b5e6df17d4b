import type { Routing, RoutingDocument } from "../ports/routing.ts";
import { requireNextVersion } from "../routing/document.ts";

/** A routing document that lives as long as the process: by URL there is nowhere to publish it. */
export function memoryRouting(): Routing {
  let document: RoutingDocument | undefined;
  return {
    read: async () => structuredClone(document),
    publish: async (next, expectedVersion) => {
      requireNextVersion(next, expectedVersion);
      if (document?.version !== expectedVersion) return false;
      document = structuredClone(next);
      return true;
    },
  };
}
