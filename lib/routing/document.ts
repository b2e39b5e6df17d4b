import * as z from "zod";
import { errorMessage, PgkeepError } from "../errors.ts";
import type { RoutingDocument } from "../ports/routing.ts";

const endpoint = z.object({ host: z.string().min(1), port: z.number().int().min(1).max(65_535) });
const via = z.enum(["pooler", "direct"]);
const time = z.iso.datetime();

/** Unknown keys pass, so that a reader of today understands a document of tomorrow with more in it. */
const schema = z.object({
  formatVersion: z.literal(1),
  database: z.string(),
  systemIdentifier: z.string().nullable(),
  version: z.number().int().min(1),
  publishedAt: time,
  validForSeconds: z.number().min(1),
  basis: z.enum(["probed", "kept", "assumed"]),
  reason: z.string(),
  primary: z.object({ endpoint, via, reachable: z.boolean(), servesReads: z.boolean(), reason: z.string() }),
  replicas: z.array(
    z.object({
      name: z.string().min(1),
      endpoint,
      via,
      state: z.enum(["serving", "lagging", "warming", "unreachable"]),
      reason: z.string(),
      lagBytes: z.number().min(0).nullable(),
      lagSeconds: z.number().min(0).nullable(),
      caughtUpAt: time.nullable(),
      weight: z.number().int().min(0).max(100),
      since: time,
    }),
  ),
});

/**
 * Reads a published document. `where` names it in errors.
 * @throws PgkeepError `internal` when the text is not a routing document of this format
 */
export function parseRoutingDocument(text: string, where: string): RoutingDocument {
  const damaged = (problem: string, cause: unknown) =>
    new PgkeepError("internal", `${where} is not a routing document: ${problem}`, {
      remedy: "remove it; the next run of route-replicas publishes a new one",
      cause,
    });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw damaged(errorMessage(error), error);
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw damaged(`${issue?.path.join(".") || "document"}: ${issue?.message ?? "invalid"}`, parsed.error);
}

/** Age in seconds, and whether a reader should distrust it. A document from the future is as new as can be. */
export function documentAge(document: RoutingDocument, now: Date): { ageSeconds: number; stale: boolean } {
  const ageSeconds = Math.max(0, (now.getTime() - Date.parse(document.publishedAt)) / 1000);
  return { ageSeconds, stale: ageSeconds > document.validForSeconds };
}

/** Every publication counts up by one. @throws PgkeepError `internal` for a document that does not follow */
export function requireNextVersion(document: RoutingDocument, expectedVersion: number | undefined): void {
  if (document.version === (expectedVersion ?? 0) + 1) return;
  throw new PgkeepError(
    "internal",
    `routing document ${document.version} cannot follow version ${expectedVersion ?? "none"}`,
  );
}
