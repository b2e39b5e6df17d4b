import { describe, expect, it } from "vitest";
import { databaseSize } from "../../lib/checks/database-size.ts";
import { useServer } from "../helpers/postgres.ts";
import { ask, metricOf } from "./helpers.ts";

describe("size of the database", () => {
  const server = useServer();

  it("is exact while there are few relations, and found when it outgrows the configuration", async () => {
    const session = await server.connect(await server.createDatabase(`sh"op\n`));
    const [size] = await session.query<{ size: number }>(
      "select pg_database_size(current_database()) as size",
    );
    const result = await ask(databaseSize, session);
    expect(result).toMatchObject({ verdict: "pass", facts: { basis: "files", bytes: size?.size } });
    expect(metricOf(result.metrics, "DatabaseSizeBytes")).toBe(size?.size);
    const gibibytes = (size?.size ?? 0) / 1024 ** 3;
    const fits = { database: { maxStorageGigabytes: gibibytes * 1.2 } };
    const tight = { database: { maxStorageGigabytes: gibibytes * 1.05 } };
    expect((await ask(databaseSize, session, fits)).verdict).toBe("pass");
    expect((await ask(databaseSize, session, tight)).findings).toMatchObject([
      { severity: "high", object: { name: `sh"op\n` }, evidence: { freeStoragePercent: 10 } },
    ]);
    await session.close();
  });

  it("is estimated with many relations, and waits for no lock", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await session.query(
      "do $$ begin for i in 1..2200 loop execute format('create table public.t%s (id int primary key)', i); end loop; end $$",
    );
    await session.query("insert into public.t1 select generate_series(1, 100000)");
    await session.query("vacuum public.t1");
    const holder = await server.connect(database);
    await holder.query("begin");
    await holder.query("lock table public.t1, public.t2 in access exclusive mode");
    const result = await ask(databaseSize, session);
    expect(result).toMatchObject({
      verdict: "pass",
      facts: { basis: "estimate", relationsOfUnknownSize: 2199 },
    });
    const [size] = await session.query<{ size: number }>(
      "select pg_database_size(current_database()) as size",
    );
    expect(Number(result.facts.bytes) / (size?.size ?? 0)).toBeGreaterThan(0.5);
    expect(Number(result.facts.bytes) / (size?.size ?? 0)).toBeLessThan(1.1);
    expect(result.durationMs).toBeLessThan(1_000);
    await holder.query("rollback");
    await Promise.all([session.close(), holder.close()]);
  });
});
