import { expect, it } from "vitest";
import { vacuum } from "../../lib/jobs/vacuum.ts";
import { seededRandom } from "../../lib/sandbox/application/random.ts";
import type { VacuumReport } from "../../lib/vacuum/report.ts";
import { killJobAfter, runAfterKill } from "../helpers/kill-job.ts";
import { useServer } from "../helpers/postgres.ts";
import { installed } from "../install/installed.ts";

const server = useServer(undefined, { settings: { autovacuum: "on", autovacuum_naptime: "1d" } });
/** More by hand. */
const trials = Number(process.env.PGKEEP_TORTURE_TRIALS ?? 4);
const tables = 12;
const rowsEach = 3_000;

/** Half of the tables are said to be too large for a run, so that they are handed over. */
const isHuge = (n: number) => n % 2 === 0;

it("is completed by the next run however it was killed, and no setting stays that is not recorded", {
  timeout: 60_000 + trials * 20_000,
}, async () => {
  const { database, as } = await installed(server);
  const random = seededRandom(20_260_101);
  const sections = { maintenance: { vacuum: { budgetSeconds: 20 } } };
  let interrupted = 0;
  /** How long the quickest whole run took so far; the first is slower than those after it. */
  let shortest = Number.POSITIVE_INFINITY;
  await as(undefined, async (session) => {
    // The first only shows how long a whole run takes.
    for (let trial = -1; trial < trials || (interrupted === 0 && trial < 5 * trials); trial += 1) {
      for (let n = 0; n < tables; n += 1) {
        const dirtying = await server.connect(database);
        await dirtying.query(`create table public.t${n} (id int primary key, note text)`);
        await dirtying.query(
          `insert into public.t${n} select i, repeat('x', 100) from generate_series(1, ${rowsEach}) i`,
        );
        await dirtying.query(`analyze public.t${n}`);
        await dirtying.query(`delete from public.t${n} where id % 2 = 0`);
        if (isHuge(n)) {
          await dirtying.query(
            `update pg_class set relpages = 10000000, relallvisible = 0 where oid = 'public.t${n}'::regclass`,
          );
        }
        await dirtying.close();
      }
      const moment = trial < 0 ? Number.POSITIVE_INFINITY : random.integer(0, shortest);
      const where = `trial ${trial}, killed after ${moment} ms`;
      const { isWhole, milliseconds } = await killJobAfter(server, database, vacuum, sections, moment);
      if (isWhole) shortest = Math.min(shortest, milliseconds);
      else interrupted += 1;

      const raised = await session.query<{ table: string }>(
        `select c.relname::text as table from pg_class c
          where c.relname ~ '^t\\d+$' and c.reloptions is not null order by 1`,
      );
      const recorded = await session.query<{ table: string }>(
        "select table_name as table from pgkeep.vacuum_handover order by 1",
      );
      expect(raised, where).toEqual(recorded);

      const next = await runAfterKill(server, database, vacuum, sections, where);
      const { handedOver, failed } = next.report as unknown as VacuumReport;
      expect(failed.total, where).toBe(0);
      expect(handedOver.total, where).toBe(tables / 2);
      const dirty = await session.query<{ table: string }>(
        "select relname::text as table from pg_stat_user_tables where relname ~ '^t\\d+$' and n_dead_tup > 0",
      );
      expect(
        dirty.every(({ table }) => isHuge(Number(table.slice(1)))),
        where,
      ).toBe(true);

      // Autovacuum's part.
      for (let n = 0; n < tables; n += 1) if (isHuge(n)) await session.query(`vacuum public.t${n}`);
      await runAfterKill(server, database, vacuum, sections, where);
      const left = await session.query(
        `select relname from pg_class where relname ~ '^t\\d+$' and reloptions is not null
         union all select table_name from pgkeep.vacuum_handover`,
      );
      expect(left, where).toEqual([]);
      for (let n = 0; n < tables; n += 1) {
        const rows = await session.query<{ n: number }>(`select count(*)::int8 as n from public.t${n}`);
        expect(rows[0]?.n, where).toBe(rowsEach / 2);
        await session.query(`drop table public.t${n}`);
      }
    }
  });
  // Or the kills would prove nothing.
  expect(interrupted).toBeGreaterThan(0);
});
