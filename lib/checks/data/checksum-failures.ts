import { countText } from "../../words.ts";
import { concludeReview, type ReviewCheck, type ReviewFinding } from "../review-check.ts";

interface Failures {
  /** Null: catalogs that all databases share. */
  database: string | null;
  current: boolean;
  failures: number | null;
  last: Date | null;
}

/** Pages that came back from storage damaged, as the server has counted them (`pg_stat_database`). */
export const checksumFailures: ReviewCheck = {
  name: "checksum-failures",
  title: "Has storage given back damaged pages?",
  area: "integrity",
  async run({ session, window }) {
    const rows = await session.query<Failures>(
      `select datname::text as database, coalesce(datname = current_database(), false) as current,
              checksum_failures::int8 as failures, checksum_last_failure as last
         from pg_stat_database order by datname nulls first`,
    );
    // Without checksums the server says null: nobody would notice.
    if (rows.every(({ failures }) => failures === null)) {
      return concludeReview({
        obstacle:
          "pages have no checksums: damage by storage would not be noticed (see the check page-checksums)",
      });
    }
    const failed = rows.filter(({ failures }) => (failures ?? 0) > 0);
    return concludeReview({
      findings: failed.map(finding),
      facts: { failures: failed.reduce((sum, { failures }) => sum + (failures ?? 0), 0) },
      good: [
        `No page that was read failed its checksum, as counted${window.since === null ? "" : ` since ${window.since.toISOString().slice(0, 10)}`}.`,
      ],
    });
  },
};

function finding({ database, current, failures, last }: Failures): ReviewFinding {
  const where = database === null ? "the shared catalogs" : `database ${JSON.stringify(database)}`;
  return {
    check: "checksum-failures",
    key: `checksum-failures/${database ?? "shared catalogs"}`,
    severity: "critical",
    confidence: "certain",
    object: { name: database ?? "shared catalogs" },
    title: `${countText(failures ?? 0, "page")} of ${where} came back from storage damaged`,
    evidence: { failures, lastFailure: last?.toISOString() ?? null },
    impact:
      "Statements that read these pages fail, their rows may be lost, and physical backups made since have the damage too.",
    blastRadius: `${where}; storage that damages a page once does it again`,
    rootCause: "Storage, its controller or memory gave back something else than was written.",
    prevention:
      "Replace the hardware or the volume, keep backups from before the first failure, and drill their restore.",
    effort: "hours",
    ...(last === null ? {} : { since: last.toISOString() }),
    remediation: {
      sql: [
        '-- The server\'s log names file and block of each ("page verification failed"). First keep the backups of before, and see what is damaged:',
        current || database === null
          ? "-- pgkeep run check-integrity"
          : `-- in ${where.replace(/\p{Cc}+/gu, " ")}: pgkeep run check-integrity`,
        "SELECT datname, checksum_failures, checksum_last_failure FROM pg_stat_database WHERE checksum_failures > 0;",
        "-- Then fail over to a sound replica, rebuild damaged indexes with REINDEX, and restore damaged tables from the backup.",
      ].join("\n"),
      lock: "none to look; ACCESS SHARE while tables and indexes are read",
      rollback: "none needed",
    },
  };
}
