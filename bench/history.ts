import { readFileSync } from "node:fs";
import { maskLiterals } from "../lib/checks/mask-literals.ts";
import { databaseConfigSchema } from "../lib/config/schema.ts";
import { collectHistory } from "../lib/history/collect.ts";
import { forecast } from "../lib/history/forecast.ts";
import { applyInstall } from "../lib/install/apply.ts";
import type { Session } from "../lib/ports/databases.ts";
import { type ConnectionTarget, connect } from "../lib/postgres/connect.ts";
import { type BenchResult, median } from "./bench.ts";
import { withServer } from "./server.ts";

const tableCount = 10_000;
const rounds = 7;
const limitSeconds = 0.3;

/**
 * Server time of one run's collection on 10,000 tables, each with an identity column, of which a tenth have changed
 * since the day before, and whose sequences have all been read once. Each round has a session of its own, as a run has. The fastest round counts: what else the
 * machine does only adds. The days on which everything or nothing changed are in the note.
 */
export async function benchHistory(): Promise<BenchResult> {
  const config = { key: "bench", ...databaseConfigSchema.parse({ database: { name: "postgres" } }) };
  return withServer(17, { max_locks_per_transaction: 1_000, autovacuum: false }, async (target) => {
    const session = await connect(target, { statementTimeoutMilliseconds: 0 });
    try {
      await createTables(session);
      await applyInstall(session, config, {});
      const [extension] = await session.query<{ schema: string }>(
        "select extnamespace::regnamespace::text as schema from pg_extension where extname = 'pg_stat_statements'",
      );
      const measure = (work: (session: Session) => Promise<unknown>) =>
        serverSeconds(target, session, extension?.schema ?? "public", work);
      const first = await measure(run);
      await readAllKeys(session);
      const ours: number[] = [];
      const quiet: number[] = [];
      const worst: number[] = [];
      const bytes: number[] = [];
      const read: number[] = [];
      const baseline: number[] = [];
      for (let round = 0; round < rounds; round += 1) {
        await aDayPasses(session, 10);
        ours.push(await measure(run));
        quiet.push(await measure(run));
        await aDayPasses(session, 1);
        const before = await historyBytes(session);
        worst.push(await measure(run));
        bytes.push((await historyBytes(session)) - before);
        read.push(await measure((reader) => forecast(reader, config.database)));
        baseline.push(
          await measure((reader) =>
            reader.query("select * from pg_class c join pg_stat_all_tables s on s.relid = c.oid"),
          ),
        );
      }
      const baselineSeconds = Math.min(...baseline);
      const oursSeconds = Math.min(...ours);
      const thousandths = (seconds: number) => `${(seconds * 1000).toFixed(0)} ms`;
      return {
        name: `collect-history on ${tableCount.toLocaleString("en")} tables, a tenth of them changed, processor time of the server`,
        baseline: "one select of all tables and their statistics",
        baselineSeconds,
        oursSeconds,
        ratio: oursSeconds / baselineSeconds,
        limit: `≤ ${limitSeconds} s`,
        ok: oursSeconds <= limitSeconds,
        note:
          `the first day takes ${thousandths(first)}, a day on which nothing changed ${thousandths(Math.min(...quiet))}, one on which all changed ${thousandths(Math.min(...worst))}, forecasts ${thousandths(Math.min(...read))} more; ` +
          `a day on which all changed keeps ${(median(bytes) / 1024 ** 2).toFixed(1)} MiB, ${Math.round(median(bytes) / tableCount)} bytes a table`,
      };
    } finally {
      await session.close();
    }
  });
}

const run = (session: Session) =>
  collectHistory({
    session,
    keepDays: 400,
    keepStatementSnapshots: 35,
    statements: 100,
    mask: maskLiterals,
    dryRun: false,
  });

async function createTables(session: Session): Promise<void> {
  for (let first = 0; first < tableCount; first += 500) {
    await session.query(
      `do $$ begin for n in ${first}..${first + 499} loop
         execute format('create table public.t%s (id int generated always as identity primary key, note text)', n);
         execute format('insert into public.t%s (note) values (1)', n);
       end loop; end $$`,
    );
  }
  await session.query("vacuum (analyze)");
}

/** As after the weeks that it takes until each sequence's turn has come; those that were read stand at 1. */
async function readAllKeys(session: Session): Promise<void> {
  await session.query(
    "update pgkeep.history_table set key_columns = '{1}', key_values = '{1}' where schema_name = 'public' and key_columns = '{}'",
  );
  await session.query("vacuum (full, analyze) pgkeep.history_table");
}

/** What was noted was noted the day before; since then each table of so many has a row more. */
async function aDayPasses(session: Session, oneOf: number): Promise<void> {
  for (const statement of [
    "update pgkeep.history_day set day = day - 100000, taken_at = taken_at - interval '1 day'",
    "update pgkeep.history_day set day = day + 99999",
    "update pgkeep.history_table_before set until_day = until_day - 100000",
    "update pgkeep.history_table_before set until_day = until_day + 99999",
    "update pgkeep.history_table set since_day = since_day - 1",
    "update pgkeep.history_statement set day = day - 100000",
    "update pgkeep.history_statement set day = day + 99999",
  ]) {
    await session.query(statement);
  }
  for (let first = 0; first < tableCount; first += 500) {
    await session.query(
      `do $$ begin for n in ${first}..${first + 499} by ${oneOf} loop
         execute format('insert into public.t%s (note) values (1)', n);
       end loop; end $$`,
    );
  }
  // Without what the shifting has left behind.
  await session.query("vacuum (full, analyze) pgkeep.history_table_before");
  await session.query("vacuum (analyze) pgkeep.history_table");
  await session.query("vacuum (analyze) pg_class");
}

async function historyBytes(session: Session): Promise<number> {
  const [row] = await session.query<{ bytes: number }>(
    `select sum(pg_total_relation_size(c.oid))::int8 as bytes from pg_class c
      where relnamespace = 'pgkeep'::regnamespace and relname like 'history%' and relkind = 'r' and relname <> 'history_table'`,
  );
  return row?.bytes ?? Number.NaN;
}

/**
 * Processor time of the server's process for a new session; nothing of it reads from disk. Where the system does not
 * tell, the time of all statements by pg_stat_statements, which other processes prolong.
 */
async function serverSeconds(
  target: ConnectionTarget,
  observer: Session,
  schema: string,
  work: (session: Session) => Promise<unknown>,
): Promise<number> {
  const session = await connect(target, { statementTimeoutMilliseconds: 0 });
  try {
    await session.query("set pg_stat_statements.track_planning = on");
    const [backend] = await session.query<{ pid: number }>("select pg_backend_pid() as pid");
    await observer.query(`select ${schema}.pg_stat_statements_reset()`);
    const before = processorSeconds(backend?.pid);
    await work(session);
    const after = processorSeconds(backend?.pid);
    if (before !== undefined && after !== undefined) return after - before;
    const [row] = await observer.query<{ seconds: number }>(
      `select sum(total_exec_time + total_plan_time) / 1000 as seconds
         from ${schema}.pg_stat_statements where query not like '%pg_stat_statements_reset%'`,
    );
    return row?.seconds ?? Number.NaN;
  } finally {
    await session.close();
  }
}

/** The first number of Linux's `schedstat`: nanoseconds on a processor. */
function processorSeconds(pid: number | undefined): number | undefined {
  try {
    return Number(readFileSync(`/proc/${pid}/schedstat`, "utf8").split(" ")[0]) / 1e9;
  } catch {
    return undefined;
  }
}
