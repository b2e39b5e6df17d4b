import { describe, expect, it } from "vitest";
import { runJob } from "../../lib/jobs/runner.ts";
import { vacuum } from "../../lib/jobs/vacuum.ts";
import type { Json } from "../../lib/json.ts";
import type { VacuumReport } from "../../lib/vacuum/report.ts";
import { configFor } from "../helpers/config.ts";
import { portsFor } from "../helpers/ports.ts";
import { allMajors, useServer } from "../helpers/postgres.ts";
import { installed, password } from "../install/installed.ts";

/** BUFFER_USAGE_LIMIT is from 16 on, MAINTAIN from 17 on. */
const majors = allMajors.filter((_, n) => n === 0 || n === allMajors.length - 1);

describe.each(majors)("tables older than the failsafe age, on PostgreSQL %i", (major) => {
  // The server takes 105 % of autovacuum_freeze_max_age at least.
  const server = useServer(major, {
    settings: {
      autovacuum: "off",
      autovacuum_freeze_max_age: "100000",
      vacuum_failsafe_age: "0",
      max_prepared_transactions: "5",
    },
  });

  it("are frozen before all others, without their indexes and the server's pauses, by the maintenance role", async () => {
    const { database, names, as } = await installed(server);
    const progress: string[] = [];
    const run = async (dryRun = false) => {
      const result = await runJob(vacuum, {
        ports: portsFor(server.target(database, { user: names.maintenance, password })),
        config: configFor(database),
        arguments: { tables: ["public.old", 'public."o\'ther"'] },
        dryRun,
        onProgress: (message) => progress.push(message),
      });
      expect(result.reason).toBeUndefined();
      return result.report as unknown as VacuumReport;
    };
    await as(names.migrations, async (session) => {
      for (const name of ["old", `"o'ther"`]) {
        await session.query(`create table public.${name} (id int primary key, note text)`);
        await session.query(`insert into public.${name} select n, 'x' from generate_series(1, 5000) n`);
      }
      await session.query("delete from public.old where id <= 2500");
    });
    await as(undefined, async (session) => {
      await session.query(`alter role ${names.maintenance} set vacuum_cost_delay = 100`);
      await session.query("begin");
      await session.query(`update public."o'ther" set note = 'y' where id = 1`);
      await session.query("prepare transaction 'for''gotten'");
      await session.query(
        "do $$ begin for i in 1..106000 loop perform txid_current(); commit; end loop; end $$",
      );
      // Dry, because any real VACUUM would have the server start its own autovacuum, even where that is off.
      const before = await run(true);
      expect(before.emergency?.total).toBe(2);
      // What holds the horizon is said first, with its remedy; freezing cannot help until it is gone.
      expect(progress[0]).toMatch(/^emergency: .*ROLLBACK PREPARED 'for''gotten'/);
      const text = (vacuum.describe?.(before as unknown as Json) ?? []).join("\n");
      expect(text).toMatch(/^EMERGENCY: 2 tables beyond the failsafe age/);
      await session.query("rollback prepared 'for''gotten'");

      const planned = await run(true);
      for (const { sql } of planned.planned?.tables ?? []) {
        expect(sql).toContain("INDEX_CLEANUP OFF, TRUNCATE FALSE");
        expect(sql).toContain("PARALLEL 0");
        if (major >= 16) expect(sql).toContain("BUFFER_USAGE_LIMIT 0");
      }
      expect(planned.planned?.total).toBe(2);

      const report = await run();
      expect(report.emergency?.tables.map(({ transactionIdAge }) => transactionIdAge > 105_000)).toEqual([
        true,
        true,
      ]);
      expect(report.vacuumed.tables.map(({ action }) => action)).toEqual([
        "VACUUM (INDEX_CLEANUP OFF, TRUNCATE FALSE)",
        "VACUUM (INDEX_CLEANUP OFF, TRUNCATE FALSE)",
      ]);
      // The role's own pauses would have made it much longer.
      expect(report.secondsUsed).toBeLessThan(5);
      const ages = await session.query<{ age: number }>(
        `select age(relfrozenxid) as age from pg_class where oid in ('public.old'::regclass, 'public."o''ther"'::regclass)`,
      );
      // A plain VACUUM leaves what is younger than half of autovacuum_freeze_max_age.
      for (const { age } of ages) expect(age).toBeLessThanOrEqual(50_100);
      const after = await run();
      expect(after.emergency).toBeUndefined();
    });
  });
});
