import { describe, expect, it } from "vitest";
import { connections } from "../../lib/checks/connections.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { connect } from "../../lib/postgres/connect.ts";
import { identifier } from "../../lib/postgres/identifiers.ts";
import { allMajors, type TestServer, useServer } from "../helpers/postgres.ts";
import { ask, eventually, metricOf } from "./helpers.ts";

async function openMany(
  server: TestServer,
  database: string,
  count: number,
  login?: { user: string; password: string },
  applicationName?: string,
): Promise<Session[]> {
  return Promise.all(
    Array.from({ length: count }, () =>
      connect({
        ...server.target(database, login),
        ...(applicationName === undefined ? {} : { applicationName }),
      }),
    ),
  );
}

const closeAll = (sessions: readonly Session[]) => Promise.all(sessions.map((session) => session.close()));

describe.each(allMajors)("connections on PostgreSQL %i", (major) => {
  const server = useServer(major, {
    settings: {
      max_connections: "20",
      superuser_reserved_connections: "3",
      ...(major >= 16 ? { reserved_connections: "2" } : {}),
    },
  });
  const usable = major >= 16 ? 15 : 17;

  it("counts clients by state against what is left to ordinary roles", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    const idle = await server.connect(database);
    const open = await server.connect(database);
    await open.query("begin");
    const result = await eventually("three clients are left", async () => {
      const now = await ask(connections, session);
      return now.facts.used === 3 ? now : undefined;
    });
    expect(result).toMatchObject({
      verdict: "pass",
      facts: {
        maxConnections: 20,
        reserved: 20 - usable,
        usable,
        used: 3,
        byState: { active: 1, idle: 1, "idle in transaction": 1, "idle in transaction (aborted)": 0 },
      },
    });
    expect(metricOf(result.metrics, "ConnectionsUsed")).toBe(3);
    expect(metricOf(result.metrics, "ConnectionsUsedPercent")).toBeCloseTo((100 * 3) / usable, 1);
    expect(metricOf(result.metrics, "ConnectionsByState", { State: "idle in transaction" })).toBe(1);
    await closeAll([session, idle, open]);
  });

  it("finds that connections run out, and that they are all taken", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    const many = await openMany(server, database, usable - 2);
    const almost = await eventually("other clients are gone", async () => {
      const now = await ask(connections, session);
      return now.facts.used === usable - 1 ? now : undefined;
    });
    expect(almost.findings.map(({ key, severity }) => [key, severity])).toEqual([
      ["connections/max_connections", "high"],
    ]);
    expect(almost.findings[0]?.evidence).toMatchObject({ used: usable - 1, usable });
    many.push(...(await openMany(server, database, 1)));
    const full = await ask(connections, session);
    expect(full.findings[0]).toMatchObject({ severity: "critical", evidence: { used: usable } });
    await closeAll([...many, session]);
  });
});

describe("connections", () => {
  const server = useServer();

  it("holds a role and a database to their own limits, whatever their names", async () => {
    const database = await server.createDatabase(`sh"op; -- '\n x`);
    const role = `re'port"er\n`;
    const session = await server.connect(database);
    await session.query(`create role ${identifier(role)} login password 'x' connection limit 2`);
    await session.query(`alter database ${identifier(database)} connection limit 40`);
    const [one] = await openMany(server, database, 1, { user: role, password: "x" });
    expect((await ask(connections, session)).findings).toEqual([]);
    const [two] = await openMany(server, database, 1, { user: role, password: "x" });
    const result = await ask(connections, session);
    expect(result.findings).toMatchObject([
      {
        key: `connections/role/${role}`,
        severity: "high",
        object: { role },
        evidence: { used: 2, connectionLimit: 2 },
      },
    ]);
    await session.query(`alter database ${identifier(database)} connection limit 3`);
    expect((await ask(connections, session)).findings.map(({ key }) => key).sort()).toEqual([
      `connections/database/${database}`,
      `connections/role/${role}`,
    ]);
    await closeAll([one as Session, two as Session, session]);
  });

  it("suspects many sessions of one application that have been idle for long, and gives SQL that ends just them", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    const leaked = await openMany(server, database, 11, undefined, `it's "leaky" \\ app`);
    const others = await openMany(server, database, 5, undefined, "pool");
    const limits = { pooling: { idleTimeoutSeconds: 1 } };
    expect((await ask(connections, session, limits)).findings).toEqual([]);
    const result = await eventually("all of them are idle for a second", async () => {
      const now = await ask(connections, session, limits);
      return now.findings[0]?.evidence.idleSessions === 11 ? now : undefined;
    });
    expect(result.findings).toMatchObject([
      {
        severity: "medium",
        confidence: "suspected",
        object: { role: "postgres", name: `it's "leaky" \\ app` },
        evidence: { idleSessions: 11, client: "127.0.0.1", database },
      },
    ]);
    await session.query(result.findings[0]?.remediation.sql ?? "");
    const left = await eventually("the leaked sessions end", async () => {
      const rows = await session.query<{ application: string; sessions: number }>(
        `select application_name as application, count(*) as sessions from pg_stat_activity
          where datname = $1 and pid <> pg_backend_pid() group by 1`,
        [database],
      );
      return rows.length === 1 ? rows : undefined;
    });
    expect(left).toEqual([{ application: "pool", sessions: 5 }]);
    await closeAll([...leaked, ...others, session]);
  });
});
