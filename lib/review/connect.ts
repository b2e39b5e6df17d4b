import { errorMessage, PgkeepError } from "../errors.ts";
import type { Primary, Replicas, Session } from "../ports/databases.ts";
import { type ReviewReport, type ReviewRequest, review } from "./run.ts";

export interface Reviewed extends Omit<ReviewRequest, "session" | "replicas" | "replicasUnseen"> {
  primary: Primary;
  replicas: Replicas | undefined;
  /** Of replicas that a person has named one by one: each has to answer. */
  everyReplica?: boolean;
}

/**
 * Reviews the primary, and asks each of its replicas what only that one knows. One that does not answer is named in
 * the report.
 * @throws PgkeepError `unreachable`, `authentication` … of the primary, with `everyReplica` of a replica too
 */
export async function reviewServers({ primary, replicas, ...request }: Reviewed): Promise<ReviewReport> {
  const open: Session[] = [];
  const { signal } = request;
  try {
    const session = await primary.connect({ role: "monitoring", signal });
    open.push(session);
    const seen: { name: string; session: Session }[] = [];
    const replicasUnseen: { name: string; reason: string }[] = [];
    for (const replica of (await replicas?.list()) ?? []) {
      try {
        const other = await replica.connect({ role: "monitoring", signal });
        open.push(other);
        seen.push({ name: replica.name, session: other });
      } catch (error) {
        if (!(error instanceof PgkeepError) || request.everyReplica === true) throw error;
        replicasUnseen.push({ name: replica.name, reason: errorMessage(error) });
      }
    }
    return await review({ overview: true, ...request, session, replicas: seen, replicasUnseen });
  } finally {
    for (const session of open) await session.close();
  }
}
