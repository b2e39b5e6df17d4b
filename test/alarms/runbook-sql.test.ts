import { describe, expect, it } from "vitest";
import { oldestAndNewest } from "../helpers/majors.ts";
import { useServer } from "../helpers/postgres.ts";
import { installed, password } from "../install/installed.ts";
import { readRunbook } from "./runbook-text.ts";

const statements = [
  ...new Map(
    [...readRunbook().values()].flatMap(({ entry, commands }) =>
      commands.flatMap((command) => (command.kind === "sql" ? [[command.sql, entry] as const] : [])),
    ),
  ),
];

// Views and columns come and go between versions.
describe.each(oldestAndNewest)("the SQL of docs/runbook.md on PostgreSQL %i", (major) => {
  const server = useServer(major);

  it("runs as the role that watches, in a transaction that may not write", async () => {
    const { database, names } = await installed(server);
    const session = await server.connect(database, { user: names.monitoring, password });
    const failures: string[] = [];
    for (const [sql, entry] of statements) {
      await session.query("begin read only");
      await session.query(sql).catch((error: Error) => failures.push(`${entry}: ${error.message}: ${sql}`));
      await session.query("rollback");
    }
    await session.close();
    expect(statements.length).toBeGreaterThan(20);
    expect(failures).toEqual([]);
  });
});
