import { describe, expect, it } from "vitest";
import { idleInTransaction } from "../../lib/checks/idle-in-transaction.ts";
import { longRunningQueries } from "../../lib/checks/long-running-queries.ts";
import { connect } from "../../lib/postgres/connect.ts";
import { identifier } from "../../lib/postgres/identifiers.ts";
import { allMajors, useServer } from "../helpers/postgres.ts";
import { ask, eventually, metricOf } from "./helpers.ts";

const role = `o'brien "the\n admin"`;

describe.each(allMajors)("sessions of PostgreSQL %i", (major) => {
  const server = useServer(major, { settings: { max_parallel_workers_per_gather: "2" } });

  it("finds a statement that runs for too long, once, without its data", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await session.query(`create role ${identifier(role)} login password 'x'`);
    const slow = await connect({
      ...server.target(database, { user: role, password: "x" }),
      applicationName: `rep'orts "A"`,
    });
    const sleeping = slow.query("select pg_sleep(60), 'my secret', 4711 as secret").catch(() => {});
    const limits = { health: { longQueryWarnSeconds: 1, longQueryTicketSeconds: 300 } };
    const result = await eventually("the statement is a second old", async () => {
      const now = await ask(longRunningQueries, session, limits);
      return now.findings.length > 0 ? now : undefined;
    });
    expect(result.findings).toHaveLength(1);
    const finding = result.findings[0];
    expect(finding).toMatchObject({
      severity: "medium",
      object: { role },
      evidence: {
        role,
        database,
        application: `rep'orts "A"`,
        state: "active",
        statement: "select pg_sleep(?), ?, ? as secret",
      },
    });
    expect(JSON.stringify(result)).not.toMatch(/my secret|4711/);
    expect(result.facts).toMatchObject({ beyondWarning: 1, beyondTicket: 0 });
    expect(metricOf(result.metrics, "LongRunningQueries")).toBe(0);
    expect(metricOf(result.metrics, "LongestQueryAge")).toBeGreaterThanOrEqual(1);

    const ticket = await ask(longRunningQueries, session, {
      health: { longQueryWarnSeconds: 1, longQueryTicketSeconds: 1 },
    });
    expect(ticket.findings[0]).toMatchObject({ severity: "high", key: finding?.key });
    expect(metricOf(ticket.metrics, "LongRunningQueries")).toBe(1);

    await session.query(finding?.remediation.sql ?? "");
    await sleeping;
    await eventually("the statement has ended", async () =>
      (await ask(longRunningQueries, session, limits)).verdict === "pass" ? true : undefined,
    );
    await slow.close();
    await session.close();
  });

  it("counts idle in transaction from the moment at which the session stopped working", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await session.query("create table public.t (a text)");
    const idle = await server.connect(database);
    await idle.query("begin");
    await idle.query("select pg_sleep(1.2)");
    await idle.query("insert into public.t values ('my secret')");
    const limits = { health: { idleInTransactionSeconds: 1 } };
    const fresh = await ask(idleInTransaction, session, limits);
    // The transaction is older than the limit, its idleness is not.
    expect(fresh).toMatchObject({ verdict: "pass", facts: { sessions: 1, beyondLimit: 0 } });
    expect(metricOf(fresh.metrics, "OldestTransactionAge")).toBeGreaterThanOrEqual(1);
    const result = await eventually("it is idle for a second", async () => {
      const now = await ask(idleInTransaction, session, limits);
      return now.findings.length > 0 ? now : undefined;
    });
    expect(result.findings).toMatchObject([
      {
        severity: "medium",
        evidence: {
          state: "idle in transaction",
          hasWritten: true,
          statement: "insert into public.t values (?)",
        },
      },
    ]);
    expect(metricOf(result.metrics, "IdleInTransactionSessions")).toBe(1);
    await session.query(result.findings[0]?.remediation.sql ?? "");
    await eventually("the session is gone", async () =>
      (await ask(idleInTransaction, session, limits)).facts.sessions === 0 ? true : undefined,
    );
    await idle.close();
    await session.close();
  });

  it("sees a failed transaction that nobody ends", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    const idle = await server.connect(database);
    await idle.query("begin");
    await idle.query("select 1/0").catch(() => {});
    const result = await eventually("it is idle for a second", async () => {
      const now = await ask(idleInTransaction, session, { health: { idleInTransactionSeconds: 1 } });
      return now.findings.length > 0 ? now : undefined;
    });
    expect(result.findings[0]?.evidence).toMatchObject({
      state: "idle in transaction (aborted)",
      hasWritten: false,
    });
    await idle.close();
    await session.close();
  });

  it("cannot vouch for sessions that do not record what they do", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    const secretive = await server.connect(database);
    await secretive.query("set track_activities = off");
    const running = secretive.query("select pg_sleep(60)").catch(() => {});
    for (const check of [longRunningQueries, idleInTransaction]) {
      const result = await eventually("the session is dark", async () => {
        const now = await ask(check, session, { health: { longQueryWarnSeconds: 1 } });
        return now.verdict === "not-assessable" ? now : undefined;
      });
      expect(result.reason).toMatch(/^1 session does not .*track_activities = on/);
    }
    await session.query("select pg_cancel_backend(pid) from pg_stat_activity where state = 'disabled'");
    await running;
    await secretive.close();
    await session.close();
  });
});

describe("long statements that are maintenance", () => {
  const server = useServer();

  it("are remarked on beyond the ticket limit only, and are not measured", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await session.query("create table public.t as select 1 as id");
    const holder = await server.connect(database);
    await holder.query("begin");
    await holder.query("lock table public.t in access exclusive mode");
    const worker = await server.connect(database, undefined, { lockTimeoutMilliseconds: 0 });
    const waiting = worker.query("create index on public.t (id)").catch(() => {});
    const below = { health: { longQueryWarnSeconds: 1, longQueryTicketSeconds: 300 } };
    const beyond = { health: { longQueryWarnSeconds: 1, longQueryTicketSeconds: 1 } };
    const result = await eventually("it runs for a second", async () => {
      const now = await ask(longRunningQueries, session, beyond);
      return now.findings.length > 0 ? now : undefined;
    });
    expect(result.findings).toMatchObject([{ severity: "low", evidence: { waitEvent: "Lock: relation" } }]);
    expect(metricOf(result.metrics, "LongRunningQueries")).toBe(0);
    expect((await ask(longRunningQueries, session, below)).verdict).toBe("pass");
    await holder.query("rollback");
    await waiting;
    await Promise.all([holder.close(), worker.close(), session.close()]);
  });
});
