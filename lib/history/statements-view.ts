import { PgkeepError } from "../errors.ts";
import type { Session } from "../ports/databases.ts";
import { qualified } from "../postgres/identifiers.ts";

/** pg_stat_statements as it can be used here. */
export interface StatementsView {
  schema: string;
  /** Of the extension's version, which is its own and not the server's: 8 for 1.8. */
  minor: number;
  seesOthers: boolean;
}

/** What stands in the way. */
export interface NoStatements {
  missing: "extension" | "library" | "right" | "version";
  reason: string;
}

interface Extension {
  schema: string | null;
  version: string | null;
  loaded: boolean;
  usable: boolean;
  seesOthers: boolean;
}

const extensionQuery = `
select n.nspname::text as schema, e.extversion as version,
       current_setting('pg_stat_statements.max', true) is not null as loaded,
       coalesce(has_schema_privilege(n.oid, 'usage')
         and exists (select from pg_proc p where p.pronamespace = n.oid and p.proname = 'pg_stat_statements'
                       and has_function_privilege(p.oid, 'execute')), false) as usable,
       pg_has_role('pg_read_all_stats', 'usage') as "seesOthers"
  from (select 1) as one
  left join pg_extension e on e.extname = 'pg_stat_statements'
  left join pg_namespace n on n.oid = e.extnamespace`;

/** Where pg_stat_statements is, and what this role may do with it. */
export async function findStatementsView(session: Session): Promise<StatementsView | NoStatements> {
  const [extension] = await session.query<Extension>(extensionQuery);
  if (extension === undefined) throw new PgkeepError("internal", "the server described itself with no row");
  const { schema, version, loaded, usable, seesOthers } = extension;
  if (schema === null || version === null) {
    return {
      missing: "extension",
      reason: "the extension pg_stat_statements is not installed in this database (`pgkeep install`)",
    };
  }
  if (!loaded) {
    return { missing: "library", reason: "pg_stat_statements is not in shared_preload_libraries" };
  }
  if (!usable) {
    return {
      missing: "right",
      reason: `the role ${session.user} may not use pg_stat_statements in schema ${schema}`,
    };
  }
  const [major = 0, minor = 0] = version.split(".").map(Number);
  if (major !== 1 || minor < 8) {
    return {
      missing: "version",
      reason: `pg_stat_statements ${version} is not known: update it to 1.8 or newer (ALTER EXTENSION pg_stat_statements UPDATE)`,
    };
  }
  return { schema, minor, seesOthers };
}

/** The function behind the view, which leaves the texts away when it is told to. */
export function statementsFunction({ schema }: StatementsView): string {
  return qualified(schema, "pg_stat_statements");
}

/** What the versions of the extension name differently, as expressions over the alias `s`. */
export function statementColumns({ minor }: StatementsView): {
  toplevel: string;
  readMilliseconds: string;
  writeMilliseconds: string;
  since: string;
} {
  return {
    toplevel: minor >= 9 ? "s.toplevel" : "true",
    // Renamed when local blocks got times of their own.
    readMilliseconds: minor >= 11 ? "s.shared_blk_read_time" : "s.blk_read_time",
    writeMilliseconds: minor >= 11 ? "s.shared_blk_write_time" : "s.blk_write_time",
    since: minor >= 11 ? "s.stats_since" : "null::timestamptz",
  };
}
