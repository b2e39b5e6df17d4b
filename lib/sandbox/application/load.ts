import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { PgkeepError } from "../../errors.ts";
import { packageRoot } from "../../package-root.ts";
import type { Session } from "../../ports/databases.ts";
import { identifier, qualified } from "../../postgres/identifiers.ts";

/** Schema of the sample application. */
export const applicationSchema = "shop";

const files = ["1-tables.sql", "2-rows.sql", "3-keys.sql", "4-views.sql"];
/** What 1-tables.sql says about the schema: how we know our own. */
const schemaComment = "Sample application of the pgkeep sandbox";

export interface LoadOptions {
  /** Role that owns everything; the session's user must be able to `set role` to it. Default: that user. */
  owner?: string;
  /** 1 makes about 42,000 rows; the rows grow in proportion, warehouses, categories and countries stay. Default 1. */
  scale?: number;
  /** The newest moment in the data. The same scale and moment give the same rows on every version. Default now. */
  asOf?: Date;
}

export interface LoadReport {
  /** False when the application was there already; nothing was changed then. */
  created: boolean;
  /** A partitioned one counts once. */
  tables: number;
  rows: number;
  seconds: number;
}

/**
 * Creates the sample application with its rows in one transaction, then vacuums and analyses it, so that
 * nothing of it needs maintenance. Harmless when it exists.
 * @throws PgkeepError `refused` when somebody else's schema `shop` is in the way; `usage` for an impossible
 *   scale; `insufficient-privilege` when the owner may not create schemas in the database
 */
export async function loadApplication(session: Session, options: LoadOptions = {}): Promise<LoadReport> {
  const begun = performance.now();
  const scale = options.scale ?? 1;
  if (!(scale >= 0.01 && scale <= 1_000)) {
    throw new PgkeepError("usage", `the sample application cannot have the scale ${scale}`, {
      remedy: "give a scale from 0.01 to 1000; 1 makes about 42,000 rows",
    });
  }
  const created = !(await isLoaded(session));
  if (created) {
    const asOf = options.asOf ?? (await serverTime(session));
    await session.transaction(async () => {
      if (options.owner !== undefined) await session.query(`set local role ${identifier(options.owner)}`);
      await session.query(
        `select set_config('pgkeep.scale', $1, true), set_config('pgkeep.as_of', $2, true),
                set_config('statement_timeout', '0', true)`,
        [String(scale), asOf.toISOString()],
      );
      for (const file of files) {
        await session.query(await readFile(join(packageRoot, "sql", "application", file), "utf8"));
      }
    });
    await reportStatistics(session);
    await vacuumAll(session, options.owner);
  }
  const [size] = await session.query<{ tables: number; rows: number }>(
    `select count(*) filter (where not relispartition) as tables,
            coalesce(sum(greatest(reltuples, 0)) filter (where relkind = 'r'), 0)::bigint as rows
       from pg_class where relnamespace = to_regnamespace($1) and relkind in ('r', 'p')`,
    [applicationSchema],
  );
  return {
    created,
    tables: size?.tables ?? 0,
    rows: size?.rows ?? 0,
    seconds: (performance.now() - begun) / 1_000,
  };
}

async function isLoaded(session: Session): Promise<boolean> {
  const [schema] = await session.query<{ comment: string | null }>(
    "select obj_description(oid, 'pg_namespace') as comment from pg_namespace where nspname = $1",
    [applicationSchema],
  );
  if (schema === undefined) return false;
  if (schema.comment === schemaComment) return true;
  throw new PgkeepError(
    "refused",
    `the database ${JSON.stringify(session.database)} has a schema ${applicationSchema} that is not the sample application's`,
    { remedy: "use another database for the sample application" },
  );
}

async function serverTime(session: Session): Promise<Date> {
  const [row] = await session.query<{ now: Date }>("select date_trunc('milliseconds', now()) as now");
  return row?.now ?? new Date();
}

/**
 * Has the session report the rows that it inserted now. Reported after the vacuum that follows, they would
 * count as rows that nobody has vacuumed yet.
 */
async function reportStatistics(session: Session): Promise<void> {
  // 14 has no way to ask: its sessions report when half a second has passed (PGSTAT_STAT_INTERVAL).
  const report = session.serverVersionNumber >= 150_000 ? "pg_stat_force_next_flush()" : "pg_sleep(0.6)";
  await session.query(`select ${report}`);
}

/** Sets hint bits and the visibility map, so that reading what is quiet never writes a page again. */
async function vacuumAll(session: Session, owner: string | undefined): Promise<void> {
  const tables = await session.query<{ name: string }>(
    `select relname::text as name from pg_class
      where relnamespace = to_regnamespace($1) and relkind in ('r', 'p') order by relname`,
    [applicationSchema],
  );
  const names = tables.map(({ name }) => qualified(applicationSchema, name)).join(", ");
  if (owner !== undefined) await session.query(`set role ${identifier(owner)}`);
  try {
    await session.query(`vacuum (analyze) ${names}`);
  } finally {
    if (owner !== undefined) await session.query("reset role");
  }
}
