import { describe, expect, it } from "vitest";
import { blockedSessions, findRoots } from "../../lib/checks/blocked-sessions.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { identifier } from "../../lib/postgres/identifiers.ts";
import { allMajors, useServer } from "../helpers/postgres.ts";
import { ask, eventually, metricOf } from "./helpers.ts";

const limits = { health: { blockedSeconds: 1 } };
const table = `ord"ers\n'`;

const pidOf = async (session: Session): Promise<number> =>
  (await session.query<{ pid: number }>("select pg_backend_pid() as pid"))[0]?.pid as number;

describe("roots of who waits for whom", () => {
  const roots = (edges: Record<number, number[]>) =>
    Object.fromEntries(
      [...findRoots(new Map(Object.entries(edges).map(([pid, blockers]) => [Number(pid), blockers])))].map(
        ([root, held]) => [root, [...held].sort()],
      ),
    );

  it("follows chains and trees to those that wait for nobody", () => {
    expect(roots({ 2: [1], 3: [2], 4: [3, 2], 9: [8] })).toEqual({ 1: [2, 3, 4], 8: [9] });
  });

  it("counts a session that two hold up for both", () => {
    expect(roots({ 3: [1, 2] })).toEqual({ 1: [3], 2: [3] });
  });

  it("ends on circles, and finds the root beside one", () => {
    expect(roots({ 1: [2], 2: [1] })).toEqual({});
    expect(roots({ 1: [2], 2: [1, 7], 3: [1] })).toEqual({ 7: [1, 2, 3] });
  });

  it("takes prepared transactions, pid 0, as roots", () => {
    expect(roots({ 5: [0, 0], 6: [5] })).toEqual({ 0: [5, 6] });
  });
});

describe.each(allMajors)("blocked sessions on PostgreSQL %i", (major) => {
  const server = useServer(major, { settings: { max_prepared_transactions: "5", deadlock_timeout: "60s" } });

  it("names the root blocker of a chain, with how many it holds up and without its data", async () => {
    const database = await server.createDatabase();
    const open = () => server.connect(database, undefined, { lockTimeoutMilliseconds: 0 });
    const [session, root, middle, last] = [await open(), await open(), await open(), await open()];
    await session.query(`create table public.${identifier(table)} (id int primary key, v text)`);
    await session.query(`insert into public.${identifier(table)} values (1, 'a'), (2, 'b')`);
    expect(await ask(blockedSessions, session, limits)).toMatchObject({ verdict: "pass", findings: [] });

    await root.query("begin");
    await root.query(`update public.${identifier(table)} set v = 'secret one' where id = 1`);
    await middle.query("begin");
    await middle.query(`update public.${identifier(table)} set v = 'x' where id = 2`);
    const waits = [
      middle.query(`update public.${identifier(table)} set v = 'secret two' where id = 1`),
      last.query(`update public.${identifier(table)} set v = 'secret three' where id = 2`),
    ];
    const result = await eventually("both wait for a second", async () => {
      const now = await ask(blockedSessions, session, limits);
      return now.findings[0]?.evidence.sessionsHeldUp === 2 ? now : undefined;
    });
    const rootPid = await pidOf(root).catch(() => 0);
    expect(result.findings).toHaveLength(1);
    expect(result.findings[0]).toMatchObject({
      severity: "medium",
      object: { pid: rootPid, role: "postgres" },
      evidence: {
        sessionsHeldUp: 2,
        root: {
          pid: rootPid,
          state: "idle in transaction",
          application: "pgkeep",
          statement:
            `update public.${identifier(table).replace("\n", " ")} set v = ? where id = ?`.replaceAll(
              /\s+/g,
              " ",
            ),
        },
      },
      remediation: { sql: `SELECT pg_terminate_backend(${rootPid});` },
    });
    expect(JSON.stringify(result)).not.toContain("secret");
    expect(metricOf(result.metrics, "BlockedSessions")).toBe(2);
    expect(metricOf(result.metrics, "LongestBlockedTime")).toBeGreaterThanOrEqual(1);
    // Below the limit there is nothing to report yet, and still two to count.
    const patient = await ask(blockedSessions, session, { health: { blockedSeconds: 3600 } });
    expect(patient).toMatchObject({ verdict: "pass", facts: { blocked: 2, rootBlockers: 1 } });

    await session.query(result.findings[0]?.remediation.sql ?? "");
    await waits[0];
    await middle.query("commit");
    await waits[1];
    await Promise.all([session, root, middle, last].map((one) => one.close()));
  });

  it("counts what queues behind a waiting ALTER TABLE for the one that holds it up", async () => {
    const database = await server.createDatabase();
    const open = () => server.connect(database, undefined, { lockTimeoutMilliseconds: 0 });
    const [session, reader, alter, ...queued] = [
      await open(),
      await open(),
      await open(),
      await open(),
      await open(),
      await open(),
      await open(),
    ] as [Session, Session, Session, ...Session[]];
    await session.query("create table public.t (id int)");
    await reader.query("begin");
    await reader.query("select count(*) from public.t");
    const waits: Promise<unknown>[] = [alter.query("alter table public.t add column c int")];
    await eventually("the ALTER TABLE waits", async () =>
      (await ask(blockedSessions, session, limits)).facts.blocked === 1 ? true : undefined,
    );
    waits.push(...queued.map((one) => one.query("select count(*) from public.t")));
    const result = await eventually("all wait", async () => {
      const now = await ask(blockedSessions, session, limits);
      return now.findings[0]?.evidence.sessionsHeldUp === 5 ? now : undefined;
    });
    expect(result.findings).toHaveLength(1);
    expect(result.findings[0]).toMatchObject({ severity: "high", object: { pid: await pidOf(reader) } });
    expect(result.findings[0]?.evidence.waiting).toContainEqual(
      expect.objectContaining({ relation: "public.t", lock: "relation AccessExclusiveLock" }),
    );
    await reader.query("commit");
    await Promise.all(waits);
    await Promise.all([session, reader, alter, ...queued].map((one) => one.close()));
  });

  it.each([
    ["a row", "update public.t set v = v + 1 where id = 1", "update public.t set v = 0 where id = 1"],
    ["a table", "lock table public.t in access exclusive mode", "select count(*) from public.t"],
  ])("names the prepared transaction that holds %s", async (_, hold, want) => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    const waiter = await server.connect(database, undefined, { lockTimeoutMilliseconds: 0 });
    await session.query("create table public.t (id int primary key, v int)");
    await session.query("insert into public.t values (1, 0)");
    const gid = `or'der "7" \\ x`;
    await session.query("begin");
    await session.query("create table public.other (id int)");
    await session.query("prepare transaction 'innocent'");
    await session.query("begin");
    await session.query(hold);
    await session.query(`prepare transaction E'or''der "7" \\\\ x'`);
    const waiting = waiter.query(want);
    const result = await eventually("it waits for a second", async () => {
      const now = await ask(blockedSessions, session, limits);
      return now.findings.length > 0 ? now : undefined;
    });
    expect(result.findings).toMatchObject([
      {
        object: { name: gid },
        evidence: { sessionsHeldUp: 1, root: { pid: 0, prepared: [{ gid, database }] } },
      },
    ]);
    await session.query(result.findings[0]?.remediation.sql ?? "");
    await waiting;
    await session.query("rollback prepared 'innocent'");
    await Promise.all([session.close(), waiter.close()]);
  });
});
