import type { Finding } from "../checks/check.ts";
import type { Session } from "../ports/databases.ts";
import type { ChecksumState } from "./report.ts";

/** Page checksums of one server: whether it has them, and how many pages failed in any of its databases. */
export async function readChecksums(session: Session, server: string): Promise<ChecksumState> {
  const [row] = await session.query<Omit<ChecksumState, "server">>(
    `select current_setting('data_checksums') = 'on' as enabled,
            sum(checksum_failures)::bigint as failures,
            to_char(max(checksum_last_failure) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as "lastFailureAt"
       from pg_stat_database`,
  );
  return { server, enabled: null, failures: null, lastFailureAt: null, ...row };
}

/** Why a server without checksums cannot tell, and what to do. */
export const withoutChecksums =
  "the server has no page checksums, so damage is found only where a check reads a structure; stop it cleanly and run `pg_checksums --enable` (RDS always has them)";

/** Pages that the server found broken while it read them. `isNew`: since the last run looked. */
export function checksumFailures(state: ChecksumState, isNew: boolean): Finding {
  return {
    check: "checksum-failures",
    key: `checksum-failures/${state.server}`,
    severity: isNew ? "critical" : "medium",
    confidence: "certain",
    object: { name: state.server },
    title: `${state.server} has read ${state.failures} pages with a wrong checksum`,
    evidence: { server: state.server, failures: state.failures, lastFailureAt: state.lastFailureAt, isNew },
    impact: isNew
      ? "Storage or memory gave back something else than was written. Reading such a page fails."
      : "No page has failed since the last run looked; the count stays until the statistics are reset.",
    blastRadius: "every database of the server",
    remediation: {
      sql: "SELECT datname, checksum_failures, checksum_last_failure FROM pg_stat_database WHERE checksum_failures > 0;",
      lock: "none",
      rollback: "none needed",
    },
  };
}
