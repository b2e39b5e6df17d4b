import { afterAll, describe, expect, it } from "vitest";
import { type BackUpReport, backUp } from "../../lib/jobs/back-up.ts";
import { type DrillReport, drillRestore } from "../../lib/jobs/drill-restore.ts";
import { oldestAndNewest } from "../helpers/postgres.ts";
import { useShop } from "../helpers/shop.ts";

const rounds = 3;

/** What applications and their migrations do to tables, with the sessions staying open in between. */
const statements = [
  "insert into public.orders (customer, note) select 1 + (random() * 1999)::int, 'load' from generate_series(1, 20)",
  "update public.orders set note = note || '.' where id in (select id from public.orders order by random() limit 5)",
  "delete from public.orders where id in (select id from public.orders order by random() limit 10)",
  "insert into public.countries values (gen_random_uuid()::text, 'new') on conflict do nothing",
  "delete from public.countries where code in (select code from public.countries order by random() limit 2)",
  "do $$ begin insert into public.customers (name) values ('rolled back'); raise exception 'no'; end $$",
  "insert into public.customers (name) values ('customer')",
  "truncate public.steps",
  "insert into public.steps select generate_series(1, 50)",
  "create table if not exists public.passing (n int); insert into public.passing values (1)",
  "drop table if exists public.passing",
];

describe.each(oldestAndNewest)("drills on PostgreSQL %i while applications write", (major) => {
  const shop = useShop(major);
  let stop = false;
  let clients: Promise<number>[] = [];
  afterAll(() => {
    stop = true;
  });

  async function client(): Promise<number> {
    const session = await shop.primary.connect();
    let worked = 0;
    try {
      while (!stop) {
        const statement = statements[Math.floor(Math.random() * statements.length)] as string;
        await session.query(statement).then(
          () => worked++,
          () => {},
        );
        await new Promise((resolve) => setTimeout(resolve, 1 + Math.random() * 8));
      }
    } finally {
      await session.close();
    }
    return worked;
  }

  it("never blame the restore for what the applications did", async () => {
    await shop.sql("create table public.steps (n int)", "create table public.quiet as select 1 as n");
    clients = [client(), client(), client()];
    for (let round = 0; round < rounds; round++) {
      const backup = await shop.run(backUp, { arguments: { requested: true, prune: false } });
      expect(backup).toMatchObject({ outcome: "succeeded" });
      expect((backup.report as unknown as BackUpReport).manifest?.unread).toBeLessThanOrEqual(1);
      const target = round % 2 === 0 ? "latest" : new Date().toISOString();
      const drill = await shop.run(drillRestore, { arguments: { target } });
      const report = drill.report as unknown as DrillReport;
      expect(report.proofs.filter(({ ok }) => !ok)).toEqual([]);
      expect(drill.outcome).toBe("succeeded");
      expect(report.tablesProved).toBeGreaterThanOrEqual(4);
    }
    stop = true;
    expect((await Promise.all(clients)).reduce((sum, worked) => sum + worked)).toBeGreaterThan(50);
  });
});
