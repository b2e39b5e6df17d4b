import { describe, expect, it } from "vitest";
import { preparedTransactions } from "../../lib/checks/prepared-transactions.ts";
import { allMajors, useServer } from "../helpers/postgres.ts";
import { ask, eventually, metricOf } from "./helpers.ts";

describe.each(allMajors)("prepared transactions of PostgreSQL %i", (major) => {
  const server = useServer(major, { settings: { max_prepared_transactions: "5" } });

  it("counts young ones, and finds old ones of every database with SQL that ends them", async () => {
    const other = await server.createDatabase(`ot'her "db"`);
    const session = await server.connect(other);
    const watcher = await server.connect(await server.createDatabase());
    expect(await ask(preparedTransactions, watcher)).toMatchObject({
      verdict: "pass",
      facts: { prepared: 0 },
    });
    await session.query("create table public.t (id int)");
    await session.query("begin");
    await session.query("insert into public.t values (1)");
    await session.query("prepare transaction E'or''der\\n \"7\" \\\\'");
    const young = await ask(preparedTransactions, watcher);
    expect(young).toMatchObject({ verdict: "pass", facts: { prepared: 1, beyondLimit: 0 } });
    expect(metricOf(young.metrics, "PreparedTransactions")).toBe(1);
    const result = await eventually("it is a second old", async () => {
      const now = await ask(preparedTransactions, watcher, { health: { idleInTransactionSeconds: 1 } });
      return now.findings.length > 0 ? now : undefined;
    });
    const gid = `or'der\n "7" \\`;
    expect(result.findings).toMatchObject([
      {
        key: `prepared-transactions/${other}/${gid}`,
        severity: "medium",
        object: { name: gid, role: "postgres" },
        evidence: { database: other },
      },
    ]);
    await session.query(result.findings[0]?.remediation.sql ?? "");
    expect((await ask(preparedTransactions, watcher)).facts.prepared).toBe(0);
    await Promise.all([session.close(), watcher.close()]);
  });
});
