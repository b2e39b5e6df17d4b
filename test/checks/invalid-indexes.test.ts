import { afterEach, describe, expect, it } from "vitest";
import { invalidIndexes } from "../../lib/checks/invalid-indexes.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { allMajors, useServer } from "../helpers/postgres.ts";
import { ask, eventually, metricOf } from "./helpers.ts";

describe.each(allMajors)("invalid indexes of PostgreSQL %i", (major) => {
  const server = useServer(major);
  const open: Session[] = [];
  afterEach(() => Promise.all(open.splice(0).map((session) => session.close())));

  async function twoSessions(): Promise<[Session, Session]> {
    const database = await server.createDatabase();
    const sessions: [Session, Session] = [await server.connect(database), await server.connect(database)];
    open.push(...sessions);
    return sessions;
  }

  /** A unique index on values that are not unique: the concurrent build fails and leaves it behind. */
  async function failToBuild(session: Session, name: string): Promise<void> {
    await session.query(`create table public."ta\nble" as select 1 as a from generate_series(1, 2)`);
    await expect(
      session.query(`create unique index concurrently "${name}" on public."ta\nble" (a)`),
    ).rejects.toThrow("could not create unique index");
    // The server reports an error before it lets go of the locks.
    await session.query("select 1");
  }

  it("finds what a failed build has left, with SQL that repairs it", async () => {
    const [session, watcher] = await twoSessions();
    await failToBuild(session, "in'dex\n");
    const result = await ask(invalidIndexes, watcher);
    expect(metricOf(result.metrics, "InvalidIndexes")).toBe(1);
    expect(result.findings).toMatchObject([
      { severity: "high", object: { schema: "public", table: "ta\nble", index: "in'dex\n" } },
    ]);
    await session.query(`delete from public."ta\nble" where ctid = '(0,1)'`);
    await session.query(result.findings[0]?.remediation.sql ?? "");
    const after = await ask(invalidIndexes, watcher);
    expect(after.verdict).toBe("pass");
    expect(metricOf(after.metrics, "InvalidIndexes")).toBe(0);
  });

  it("drops what REINDEX has left rather than building it again", async () => {
    const [session, watcher] = await twoSessions();
    await session.query("create table public.t as select 1 as a");
    await session.query("create index t_a on public.t (a)");
    await session.query("update pg_index set indisvalid = false where indexrelid = 'public.t_a'::regclass");
    await session.query("alter index public.t_a rename to t_a_ccnew1");
    const [finding] = (await ask(invalidIndexes, watcher)).findings;
    expect(finding).toMatchObject({
      severity: "medium",
      remediation: { sql: 'DROP INDEX CONCURRENTLY "public"."t_a_ccnew1";' },
    });
    await session.query(finding?.remediation.sql ?? "");
    expect((await ask(invalidIndexes, watcher)).findings).toEqual([]);
  });

  it("takes neither a build nor a drop that is under way for a fault", async () => {
    const [session, watcher] = await twoSessions();
    const holder = await server.connect(session.database);
    await session.query("create table public.t as select 1 as a");
    await session.query("create index dropped on public.t (a)");
    await holder.query("begin");
    await holder.query("insert into public.t values (2)");
    const waits = (text: string) =>
      eventually(`${text} waits`, async () => {
        const rows = await watcher.query(
          "select 1 from pg_stat_activity where query ilike $1 and wait_event_type = 'Lock'",
          [`${text}%`],
        );
        return rows[0];
      });
    const invalid = () => watcher.query("select 1 from pg_index where not indisvalid");
    for (const statement of [
      "create index concurrently built on public.t (a)",
      "drop index concurrently public.dropped",
      "reindex index concurrently public.built",
    ]) {
      await holder.query("rollback").catch(() => {});
      await holder.query("begin");
      await holder.query("insert into public.t values (2)");
      const running = session.query(statement);
      await waits(statement);
      if (!statement.startsWith("reindex")) expect(await invalid(), statement).not.toEqual([]);
      expect((await ask(invalidIndexes, watcher)).findings, statement).toEqual([]);
      await holder.query("rollback");
      await running;
    }
    await holder.close();
  });

  it("leaves parents of partitioned indexes alone, which are invalid until each partition has one", async () => {
    const [session, watcher] = await twoSessions();
    await session.query("create table public.p (a int) partition by list (a)");
    await session.query("create table public.p1 partition of public.p for values in (1)");
    await session.query("create index on only public.p (a)");
    expect(await watcher.query("select 1 from pg_index where not indisvalid")).toHaveLength(1);
    expect(await ask(invalidIndexes, watcher)).toMatchObject({ verdict: "pass", facts: { invalid: 0 } });
  });

  it("is not assessable for a role that cannot see whether somebody is building", async () => {
    const [session] = await twoSessions();
    await failToBuild(session, "left");
    await session.query(
      "do $$ begin create role nobody login password 'x'; exception when duplicate_object then end $$",
    );
    const nobody = await server.connect(session.database, { user: "nobody", password: "x" });
    const result = await ask(invalidIndexes, nobody);
    expect(result).toMatchObject({
      verdict: "not-assessable",
      reason: expect.stringMatching("GRANT pg_monitor"),
    });
    expect(result.metrics).toEqual([]);
    await nobody.close();
  });
});
