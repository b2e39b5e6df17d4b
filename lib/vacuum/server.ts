import { PgkeepError } from "../errors.ts";
import type { Session } from "../ports/databases.ts";
import { majorOf } from "../postgres/versions.ts";
import type { ServerSettings } from "./relation.ts";

/** What a run needs to know of the server before it looks at tables. */
export interface ServerFacts {
  settings: ServerSettings;
  /** Of the session that does the work, for those that watch it. */
  backendPid: number;
  /** Whether the session's role owns the database, which allows VACUUM of all but shared catalogs. */
  ownsDatabase: boolean;
  /** Tables, materialized views and partitioned tables of the database, temporary ones excluded. */
  relationCount: number;
  blockBytes: number;
  /** Pages that ANALYZE reads at most: 300 rows for each unit of the statistics target, one page each. */
  analyzePages: number;
}

type Row = Omit<ServerSettings, "countsTracked"> & {
  set_config: string;
  countsTracked: string;
  backendPid: number;
  ownsDatabase: boolean;
  relationCount: number;
  blockBytes: number;
  statisticsTarget: number;
};

/**
 * Reads the facts and prepares the session. Its commits do not wait for the disk or for synchronous standbys:
 * VACUUM and ANALYZE change no rows, and what a crash takes back of them is done again; the server itself waits
 * where it must (a truncated or rewritten file). Compiling the catalog queries would cost more than it wins.
 * @throws PgkeepError `read-only` on a standby
 */
export async function readServerFacts(session: Session): Promise<ServerFacts> {
  if (session.isStandby) {
    throw new PgkeepError("read-only", `${session.database}: a standby cannot be vacuumed`, {
      remedy: "run vacuum against the primary; its standbys follow",
    });
  }
  const number = (setting: string, type = "int8") => `current_setting('${setting}')::${type}`;
  const cap =
    majorOf(session.serverVersionNumber) >= 18 ? number("autovacuum_vacuum_max_threshold") : "-1::int8";
  const rows = await session.query<Row>(
    `select ${number("autovacuum_vacuum_threshold")} as "vacuumThreshold",
            ${number("autovacuum_vacuum_scale_factor", "float8")} as "vacuumScaleFactor",
            ${cap} as "vacuumMaxThreshold",
            ${number("autovacuum_vacuum_insert_threshold")} as "insertThreshold",
            ${number("autovacuum_vacuum_insert_scale_factor", "float8")} as "insertScaleFactor",
            ${number("autovacuum_analyze_threshold")} as "analyzeThreshold",
            ${number("autovacuum_analyze_scale_factor", "float8")} as "analyzeScaleFactor",
            ${number("autovacuum_freeze_max_age")} as "freezeMaxAge",
            ${number("autovacuum_multixact_freeze_max_age")} as "multixactFreezeMaxAge",
            ${number("vacuum_freeze_table_age")} as "freezeTableAge",
            ${number("vacuum_multixact_freeze_table_age")} as "multixactFreezeTableAge",
            ${number("vacuum_freeze_min_age")} as "freezeMinAge",
            ${number("vacuum_multixact_freeze_min_age")} as "multixactFreezeMinAge",
            ${number("vacuum_failsafe_age")} as "failsafeAge",
            ${number("vacuum_multixact_failsafe_age")} as "multixactFailsafeAge",
            current_setting('track_counts') as "countsTracked",
            ${number("block_size")} as "blockBytes",
            pg_backend_pid() as "backendPid",
            ${number("default_statistics_target")} as "statisticsTarget",
            (select pg_has_role(datdba, 'USAGE') from pg_database where datname = current_database())
              as "ownsDatabase",
            (select count(*) from pg_class
              where relpersistence <> 't' and (relkind in ('r', 'm') or relkind = 'p' and not relispartition))
              as "relationCount",
            set_config('synchronous_commit', 'off', false), set_config('jit', 'off', false)`,
  );
  const row = rows[0];
  if (row === undefined) throw new PgkeepError("internal", "the server described its settings with no row");
  const {
    countsTracked,
    backendPid,
    ownsDatabase,
    relationCount,
    blockBytes,
    statisticsTarget,
    set_config: _,
    ...settings
  } = row;
  return {
    settings: { ...settings, countsTracked: countsTracked === "on" },
    backendPid,
    ownsDatabase,
    relationCount,
    blockBytes,
    analyzePages: 300 * statisticsTarget,
  };
}
