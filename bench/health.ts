import { checkHealth } from "../lib/checks/health.ts";
import { databaseConfigSchema } from "../lib/config/schema.ts";
import type { Session } from "../lib/ports/databases.ts";
import { connect } from "../lib/postgres/connect.ts";
import { type BenchResult, median } from "./bench.ts";
import { withServer } from "./server.ts";

const tableCount = 10_000;
const runs = 5;
const limitSeconds = 0.1;

/** Server time of one whole health check on 10,000 tables, against one plain look at the same catalog. */
export async function benchHealth(): Promise<BenchResult> {
  const config = { key: "bench", ...databaseConfigSchema.parse({ database: { name: "postgres" } }) };
  return withServer(17, { max_locks_per_transaction: 1_000 }, async (target) => {
    const session = await connect(target, { statementTimeoutMilliseconds: 0 });
    try {
      await createTables(session);
      await session.query("create extension pg_stat_statements schema public");
      const oursSeconds = await serverSeconds(session, () =>
        checkHealth({ session, config, now: new Date() }),
      );
      const baselineSeconds = await serverSeconds(session, () =>
        session.query(
          "select oid, relname, age(relfrozenxid) from pg_class where relkind in ('r', 'm', 't')",
        ),
      );
      return {
        name: `check-health on ${tableCount.toLocaleString("en")} tables, server time`,
        baseline: "one select of all tables and their ages",
        baselineSeconds,
        oursSeconds,
        ratio: oursSeconds / baselineSeconds,
        limit: `≤ ${limitSeconds} s`,
        ok: oursSeconds <= limitSeconds,
        note: "execution and planning time of every statement, as pg_stat_statements adds them up",
      };
    } finally {
      await session.close();
    }
  });
}

async function createTables(session: Session): Promise<void> {
  for (let first = 0; first < tableCount; first += 500) {
    await session.query(
      `do $$ begin for n in ${first}..${first + 499} loop
         execute format('create table public.t%s (id int primary key, note text)', n);
       end loop; end $$`,
    );
  }
  await session.query("vacuum (analyze) pg_class");
}

/** Median time that the server spent on the statements of `work`. */
async function serverSeconds(session: Session, work: () => Promise<unknown>): Promise<number> {
  const seconds: number[] = [];
  await session.query("set pg_stat_statements.track_planning = on");
  for (let run = 0; run < runs; run += 1) {
    await session.query("select public.pg_stat_statements_reset()");
    await work();
    const [row] = await session.query<{ seconds: number }>(
      `select sum(total_exec_time + total_plan_time) / 1000 as seconds
         from public.pg_stat_statements where query not like '%pg_stat_statements%'`,
    );
    seconds.push(row?.seconds ?? Number.NaN);
  }
  return median(seconds);
}
