import { describe, expect, it } from "vitest";
import { wraparound } from "../../lib/checks/wraparound.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { identifier, qualified } from "../../lib/postgres/identifiers.ts";
import { allMajors, useServer } from "../helpers/postgres.ts";
import { ask, metricOf } from "./helpers.ts";

const schema = `sch"ema ' x`;

/** Gives out so many transaction ids, one transaction each. */
const spendIds = (session: Session, count: number) =>
  session.query(`do $$ begin for i in 1..${count} loop perform txid_current(); commit; end loop; end $$`);

/** Makes so many multixacts: each a lock of two on the same row. */
async function spendMultixacts(one: Session, two: Session, count: number): Promise<void> {
  await one.query("create table public.locked as select 1 as id");
  await one.query("begin");
  await one.query("select from public.locked for key share");
  await two.query(
    `do $$ begin for i in 1..${count} loop perform 1 from public.locked for key share; commit; end loop; end $$`,
  );
  await one.query("commit");
}

describe.each(allMajors)("ages of ids on PostgreSQL %i", (major) => {
  const server = useServer(major, { settings: { autovacuum: "off", synchronous_commit: "off" } });

  it("measures each relation against its own trigger, and names only those beyond", async () => {
    const session = await server.connect(await server.createDatabase(), undefined, {
      statementTimeoutMilliseconds: 0,
    });
    const fresh = await ask(wraparound, session);
    expect(fresh).toMatchObject({ verdict: "pass", findings: [] });
    expect(metricOf(fresh.metrics, "TransactionIdAgePercent")).toBe(0);
    await session.query(`create schema ${identifier(schema)}`);
    const make = (table: string, options: string) =>
      session.query(
        `create table ${qualified(schema, table)} (id int, v text)${options === "" ? "" : ` with (${options})`}`,
      );
    await make("plain", "");
    await make("strict\n", "autovacuum_freeze_max_age = 100000, autovacuum_enabled = false");
    // Its TOAST table has a storage parameter of its own, so nothing of the table's is inherited.
    await make("main only", "autovacuum_freeze_max_age = 100000, toast.autovacuum_enabled = false");
    await make("toast only", "toast.autovacuum_freeze_max_age = 100000");
    // More than the server's setting has no effect.
    await make("lenient", "autovacuum_freeze_max_age = 2000000000");
    await spendIds(session, 115_000);
    const result = await ask(wraparound, session);
    const found = result.findings.map(({ object, evidence, severity }) => [
      object.schema,
      object.table,
      String(evidence.relation).startsWith("pg_toast.") ? "toast" : "table",
      severity,
    ]);
    expect(found.sort()).toEqual(
      [
        [schema, "main only", "table", "medium"],
        [schema, "strict\n", "table", "medium"],
        [schema, "strict\n", "toast", "medium"],
        [schema, "toast only", "toast", "medium"],
      ].sort(),
    );
    expect(result.findings[0]?.evidence).toMatchObject({
      xidTrigger: 100_000,
      multixactTrigger: 400_000_000,
    });
    expect(Number(result.findings[0]?.evidence.percentOfTrigger)).toBeGreaterThanOrEqual(115);
    expect(metricOf(result.metrics, "WraparoundTriggerPercent")).toBeGreaterThanOrEqual(115);
    expect(metricOf(result.metrics, "WraparoundTriggerPercent")).toBeLessThan(130);
    for (const finding of result.findings)
      await session.query(finding.remediation.sql.replace("VACUUM", "VACUUM (FREEZE)"));
    expect((await ask(wraparound, session)).verdict).toBe("pass");
    await session.close();
  });

  it("measures multixacts apart from transaction ids", async () => {
    const database = await server.createDatabase();
    const [session, other] = [
      await server.connect(database, undefined, { statementTimeoutMilliseconds: 0 }),
      await server.connect(database, undefined, { statementTimeoutMilliseconds: 0 }),
    ];
    await session.query("create table public.t (id int) with (autovacuum_multixact_freeze_max_age = 10000)");
    await spendMultixacts(session, other, 11_500);
    const result = await ask(wraparound, session);
    expect(result.findings).toMatchObject([
      { object: { schema: "public", table: "t" }, evidence: { multixactTrigger: 10_000 } },
    ]);
    expect(result.findings[0]?.title).toContain("multixact ids");
    expect(Number(result.findings[0]?.evidence.multixactAge)).toBeGreaterThan(11_000);
    await Promise.all([session.close(), other.close()]);
  });

  it("measures every database, also those that it is not connected to, against the point of no return", async () => {
    const [here, there] = [await server.createDatabase(), await server.createDatabase(`ot"her\n`)];
    const session = await server.connect(here);
    const oldest = await session.query<{ name: string; age: number }>(
      "select datname::text as name, age(datfrozenxid) as age from pg_database where datname = any($1) order by 1",
      [[here, there]],
    );
    const age = Math.min(...oldest.map((one) => one.age));
    // Ages of a billion take days to make; limits below what these databases have do the same.
    const limits = { health: { transactionIdsHigh: age, transactionIdsCritical: 2_000_000_000 } };
    const result = await ask(wraparound, session, limits);
    const databases = result.findings.filter(({ key }) => key.startsWith("wraparound/xid/database/"));
    expect(databases.map(({ object }) => object.name)).toEqual(
      expect.arrayContaining([here, there, "template0"]),
    );
    expect(databases.every(({ severity }) => severity === "high")).toBe(true);
    expect(databases[0]?.evidence).toMatchObject({ stopAge: 2_144_483_647 });
    const page = await ask(wraparound, session, {
      health: { transactionIdsHigh: 1, transactionIdsCritical: age },
    });
    expect(page.report.summary.worst).toBe("critical");
    await session.close();
  });
});
