import { errorMessage, PgkeepError } from "../errors.ts";
import { Pace } from "../maintenance/pace.ts";
import type { Session } from "../ports/databases.ts";
import { hasSqlState } from "../postgres/errors.ts";
import { identifier } from "../postgres/identifiers.ts";
import { SqlState } from "../postgres/sqlstate.ts";
import { measuredBloat } from "./bloat.ts";
import type { IndexFacts } from "./index-facts.ts";

/** Bloat as `pgstatindex` found it. */
export type MeasuredBloat = { percent: number; wastedBytes: number; leafDensity: number | null };

/** What reading an index needs to know of it. */
type Measurable = Pick<IndexFacts, "oid" | "schema" | "index" | "pages" | "fillFactor">;

export interface Measurements {
  measured: Map<number, MeasuredBloat>;
  /** Why an index was not measured, by OID. */
  unmeasured: Map<number, string>;
}

/**
 * Reads these indexes, in their order, with `pgstatindex` for as long as `budgetSeconds` last. Each is read as a
 * whole, so one that would not fit is left out.
 * @throws what ends the whole run: the deadline's reason, a lost connection
 */
export async function measureAll(
  session: Session,
  indexes: readonly Measurable[],
  options: {
    budgetSeconds: number;
    blockBytes: number;
    deadline: AbortSignal;
    progress(message: string): void;
  },
): Promise<Measurements> {
  const result: Measurements = { measured: new Map(), unmeasured: new Map() };
  if (indexes.length === 0) return result;
  const schema = await schemaOfPgstattuple(session);
  if (typeof schema !== "object") {
    for (const index of indexes) result.unmeasured.set(index.oid, schema);
    return result;
  }
  const begin = performance.now();
  const remaining = () => options.budgetSeconds - (performance.now() - begin) / 1000;
  const pace = new Pace();
  for (const index of indexes) {
    options.deadline.throwIfAborted();
    const predicted = pace.predictSeconds(index.pages);
    if (predicted > remaining()) {
      result.unmeasured.set(
        index.oid,
        `reading it takes about ${Math.ceil(predicted)} s, and ${Math.max(0, Math.floor(remaining()))} of measureSeconds were left`,
      );
      continue;
    }
    options.progress(`measuring ${index.schema}.${index.index}`);
    const started = performance.now();
    const outcome = await measure(session, schema.name, index, remaining(), options);
    if (typeof outcome === "string") result.unmeasured.set(index.oid, outcome);
    else {
      result.measured.set(index.oid, outcome);
      pace.learn(index.pages, (performance.now() - started) / 1000);
    }
  }
  return result;
}

async function schemaOfPgstattuple(session: Session): Promise<{ name: string } | string> {
  const rows = await session.query<{ schema: string; usable: boolean; executable: boolean | null }>(
    `select n.nspname::text as schema, has_schema_privilege(n.oid, 'USAGE') as usable,
            (select has_function_privilege(p.oid, 'EXECUTE') from pg_proc p
              where p.pronamespace = n.oid and p.proname = 'pgstatindex' and p.proargtypes[0] = 'regclass'::regtype) as executable
       from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'pgstattuple'`,
  );
  const row = rows[0];
  if (row === undefined) return "the extension pgstattuple is not installed: CREATE EXTENSION pgstattuple";
  const user = identifier(session.user);
  if (!row.usable) return `GRANT USAGE ON SCHEMA ${identifier(row.schema)} TO ${user}`;
  if (row.executable !== true) return `GRANT pg_stat_scan_tables TO ${user}`;
  return { name: row.schema };
}

async function measure(
  session: Session,
  schema: string,
  index: Measurable,
  limitSeconds: number,
  { blockBytes, deadline }: { blockBytes: number; deadline: AbortSignal },
): Promise<MeasuredBloat | string> {
  try {
    await session.query("select set_config('statement_timeout', $1, false)", [
      String(Math.max(1, Math.ceil(limitSeconds * 1000))),
    ]);
    const rows = await session.query<{
      bytes: number;
      level: number;
      inner: number;
      leaves: number;
      density: number | null;
    }>(
      `select index_size as bytes, tree_level as level, internal_pages as inner, leaf_pages as leaves,
              nullif(avg_leaf_density, 'NaN') as density
         from ${identifier(schema)}.pgstatindex($1::oid::regclass)`,
      [index.oid],
    );
    const row = rows[0];
    if (row === undefined) return "pgstatindex answered with nothing";
    const found = measuredBloat(
      {
        indexBytes: row.bytes,
        treeLevel: row.level,
        innerPages: row.inner,
        leafPages: row.leaves,
        leafDensity: row.density,
      },
      index.fillFactor,
      blockBytes,
    );
    return { ...found, leafDensity: row.density };
  } catch (error) {
    if (deadline.aborted) throw error;
    if (hasSqlState(error, SqlState.queryCanceled))
      return "reading it took longer than what was left of measureSeconds";
    if (hasSqlState(error, SqlState.lockNotAvailable)) return "it was locked";
    if (error instanceof PgkeepError && error.code !== "unreachable") return errorMessage(error);
    throw error;
  }
}
