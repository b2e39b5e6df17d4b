import { afterEach, expect, it } from "vitest";
import { checksumFailures } from "../../lib/checks/data/checksum-failures.ts";
import { describeIntegrity } from "../../lib/integrity/describe.ts";
import { checkIntegrity as lookAtEverything, type RunState } from "../../lib/integrity/run.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { portsFor } from "../helpers/ports.ts";
import { defaultMajor, useServer } from "../helpers/postgres.ts";
import { runCheck } from "../helpers/review.ts";
import { password } from "../install/installed.ts";
import { runIntegrity, shopOf, succeeded } from "./integrity-runs.ts";

// Of the tests here only one asks for checksums; they share a server.
const server = useServer(defaultMajor, { settings: { autovacuum: "off" }, checksums: false });
const sessions: Session[] = [];
afterEach(() => Promise.all(sessions.splice(0).map((session) => session.close())));

async function connect(database: string): Promise<Session> {
  const session = await server.connect(database);
  sessions.push(session);
  return session;
}

/** The look at this index takes as long as somebody has the advisory lock 7: it computes the index's expression. */
const gated = [
  `create function public.gate(n int) returns int language plpgsql immutable as $$
   begin
     while not pg_catalog.pg_try_advisory_xact_lock_shared(7) loop perform pg_catalog.pg_sleep(0.01); end loop;
     return n;
   end $$`,
  "create table public.gated (n int primary key)",
  "insert into public.gated select generate_series(1, 20)",
  "create index gated_gate on public.gated (public.gate(n))",
];
const gatedIndex = "index public.gated_gate";

/** Until the look at the gated index has its locks and waits at the gate. */
const atTheGate = (session: Session) =>
  expect
    .poll(
      () =>
        session.query(
          `select l.mode from pg_locks l join pg_stat_activity a using (pid)
            where l.relation = 'public.gated_gate'::regclass and l.granted and a.wait_event = 'PgSleep'`,
        ),
      { timeout: 20_000, interval: 20 },
    )
    .toEqual([{ mode: "AccessShareLock" }]);

const nobodyIsLeft = (session: Session) =>
  expect
    .poll(
      () =>
        session.query(
          "select query from pg_stat_activity where datname = current_database() and usename = 'pgkeep_monitoring'",
        ),
      { timeout: 5_000, interval: 20 },
    )
    .toEqual([]);

it("waits for nobody and keeps nobody waiting longer than its lock timeout, and covers in the next run what it left", async () => {
  const { database, sql } = await shopOf(server);
  await sql(
    ...gated,
    "create table public.held (n int)",
    "create type public.state as enum ('new')",
    "create table public.states (state public.state)",
    // Whatever an inventory reads about a table.
    "create table public.rich (id bigserial primary key, parent bigint references public.rich, state text, n int default 1 + 1 check (n > 0), held_id int, twice int generated always as (n * 2) stored)",
    "alter table public.rich add constraint small check (n < 10) not valid",
    "create index on public.rich (lower(state)) where n > 3",
    "insert into public.rich (state) values ('old')",
    "create table public.parted (k int primary key, parent bigint references public.rich) partition by range (k)",
    "create table public.parted_1 partition of public.parted for values from (0) to (10)",
  );
  const holder = await connect(database);
  await holder.query("select pg_advisory_lock(7)");
  await holder.query("begin");
  await holder.query("lock table public.held, public.rich, public.parted in access exclusive mode");
  const running = runIntegrity(server, database, {
    integrity: { lockTimeoutSeconds: 2, skipTables: ["public.rich", "public.parted", "public.parted_1"] },
  });
  const impatient = await connect(database);
  await atTheGate(impatient);
  const began = performance.now();
  // By itself it would give up after 2 s.
  await impatient.query("alter table public.gated add column later int");
  expect(performance.now() - began).toBeLessThan(2_000);
  const report = succeeded(await running);
  expect(report.secondsUsed).toBeLessThan(10);
  expect(report.left).toEqual({
    total: 2,
    objects: expect.arrayContaining(["table public.held", gatedIndex]),
    reasons: expect.arrayContaining([
      { reason: "somebody holds a lock on it, or waits for one", first: "table public.held", objects: 1 },
      {
        reason: expect.stringMatching(/^it gave way to process \d+ of postgres.*AccessExclusiveLock$/),
        first: gatedIndex,
        objects: 1,
      },
    ]),
  });
  expect(report.coverage).toMatchObject({ complete: false, neverChecked: 2, since: null });
  expect(report.coverage.checked).toBe(report.coverage.objects - 2);
  expect(report.findings).toEqual([]);
  await nobodyIsLeft(impatient);

  await holder.query("commit");
  await holder.query("select pg_advisory_unlock(7)");
  const next = succeeded(await runIntegrity(server, database));
  expect(next.left.total).toBe(0);
  expect(next.coverage).toMatchObject({ complete: true, neverChecked: 0 });
});

it("gives way in the middle of a table, and begins it anew in the next run", async () => {
  const { database, sql } = await shopOf(server);
  await sql(
    "create table public.papers (id int primary key, body text not null)",
    "alter table public.papers alter column body set storage external",
    "insert into public.papers select n, repeat(md5(n::text), 200) from generate_series(1, 50) n",
  );
  const holder = await connect(database);
  const [toast] = await holder.query<{ index: string }>(
    `select i.indexrelid::regclass::text as index from pg_class c join pg_index i on i.indrelid = c.reltoastrelid
      where c.oid = 'public.papers'::regclass`,
  );
  // The look has its lock on the table and waits for the index of what is stored beside it.
  await holder.query("begin");
  await holder.query(`reindex index ${toast?.index}`);
  const running = runIntegrity(server, database, { integrity: { lockTimeoutSeconds: 6 } });
  const impatient = await connect(database);
  await impatient.query("set lock_timeout = '60 s'");
  await expect
    .poll(
      () =>
        impatient.query(
          `select l.mode from pg_locks l join pg_locks w using (pid)
            where l.relation = 'public.papers'::regclass and l.granted
              and w.relation = $1::regclass and not w.granted`,
          [toast?.index],
        ),
      { timeout: 20_000, interval: 20 },
    )
    .toEqual([{ mode: "AccessShareLock" }]);
  // The reader would give up by itself too, for want of that index, and say something else then.
  await impatient.query("alter table public.papers add column later int");
  const report = succeeded(await running);
  expect(report.left.reasons).toContainEqual({
    reason: expect.stringMatching(/^it gave way to process \d+ of postgres.*AccessExclusiveLock$/),
    first: "table public.papers",
    objects: 1,
  });
  expect(report.findings).toEqual([]);
  await nobodyIsLeft(impatient);

  await holder.query("commit");
  const next = succeeded(await runIntegrity(server, database));
  expect(next.left.total).toBe(0);
  expect(next.coverage).toMatchObject({ complete: true, neverChecked: 0 });
});

it("says of a server without page checksums that failures cannot be told and how to turn them on, and fails nothing", async () => {
  const { database } = await shopOf(server);
  const ran = await runIntegrity(server, database);
  const report = succeeded(ran);
  expect(report.checksums).toEqual([
    { server: "primary", enabled: false, failures: null, lastFailureAt: null },
  ]);
  const about = report.notAssessable.filter(({ reason }) => reason.includes("checksums"));
  expect(about).toEqual([
    { reason: expect.stringContaining("`pg_checksums --enable`"), first: "primary", objects: 1 },
  ]);
  const lines = describeIntegrity(report);
  expect(lines[lines.indexOf("Not assessable:") + 1]).toContain("primary: the server has no page checksums");
  expect(report.findings).toEqual([]);
  expect(report.coverage.complete).toBe(true);
  expect(ran.data).toContainEqual(expect.objectContaining({ name: "CorruptObjects", value: 0 }));

  const session = await connect(database);
  expect((await runCheck(checksumFailures, session)).reason).toContain("pages have no checksums");
});

it("ends the statement on the server when its time is over, keeps what it has seen, and goes on there", async () => {
  const { database, sql } = await shopOf(server);
  await sql(...gated);
  const session = await connect(database);
  const seen = async () =>
    new Set(
      (
        await session.query<{ name: string }>(
          "select object_name as name from pgkeep.integrity_look where checked_at is not null and item <> 'checksums'",
        )
      ).map(({ name }) => name),
    );
  const closeGate = () => session.query("select pg_advisory_lock(7)");
  const openGate = () => session.query("select pg_advisory_unlock(7)");

  await closeGate();
  const end = new AbortController();
  const running = runIntegrity(server, database, { signal: end.signal });
  await atTheGate(session);
  const endedAt = performance.now();
  end.abort();
  const first = succeeded(await running);
  expect(performance.now() - endedAt).toBeLessThan(5_000);
  await nobodyIsLeft(session);
  expect(first.interrupted).toBe(true);
  expect(first.left.reasons[0]).toEqual({ reason: "the run was ended", first: gatedIndex, objects: 1 });
  expect(first.coverage.checked).toBeGreaterThan(50);
  expect(first.coverage.checked + first.left.total).toBe(first.coverage.objects);
  expect(first.left.total).toBeGreaterThan(20);
  const before = await seen();
  expect(before.size).toBe(first.coverage.checked);
  expect(before).not.toContain(gatedIndex);

  await openGate();
  // Only a part of what is left: nothing may come again before all of that was seen.
  const samplePercent = Math.floor(100 - first.coverage.sharePercent) - 1;
  const second = succeeded(await runIntegrity(server, database, { integrity: { samplePercent } }));
  const after = await seen();
  expect(after).toContain(gatedIndex);
  expect(after.size).toBe(first.coverage.checked + second.coverage.checked);
  expect(after.size + second.coverage.neverChecked).toBe(first.coverage.objects);

  expect(first.notes).toContain("the run was ended before it could ask about page checksums");
});

it("hands on what it has seen when the time of an execution ends within a statement, and counts nothing twice", async () => {
  const { database, sql } = await shopOf(server);
  await sql(...gated);
  const session = await connect(database);
  const target = server.target(database, { user: "pgkeep_monitoring", password });
  const execute = (milliseconds: number, state?: RunState) =>
    lookAtEverything(
      {
        primary: portsFor(target).primary,
        budgetSeconds: 600,
        samplePercent: 100,
        lockTimeoutSeconds: 2,
        skip: [],
        dryRun: false,
        deadline: new AbortController().signal,
        timeLeft: () => milliseconds,
        progress: () => {},
      },
      state,
    );
  await session.query("select pg_advisory_lock(7)");
  // A fifth is kept for writing; the look at the gated index gets the rest.
  const begun = await execute(1_000);
  await nobodyIsLeft(session);
  if (begun.kind !== "unfinished") throw new Error("it is finished");
  const seen = Object.values(begun.state.checked).reduce((sum, { checked }) => sum + checked, 0);
  expect(seen).toBeGreaterThan(50);
  const known = await session.query(
    `select count(*) filter (where checked_at is not null) as checked,
            max(object_name) filter (where too_long_seconds is not null) as cut, max(too_long_seconds) as seconds
       from pgkeep.integrity_look`,
  );
  expect(known).toEqual([{ checked: seen, cut: gatedIndex, seconds: 0.8 }]);

  await session.query("select pg_advisory_unlock(7)");
  const ended = await execute(60_000, JSON.parse(JSON.stringify(begun.state)) as RunState);
  if (ended.kind !== "finished") throw new Error("it is not finished");
  const { coverage, left, interrupted } = ended.report;
  expect(left).toEqual({ total: 0, objects: [], reasons: [] });
  expect(interrupted).toBe(false);
  expect(coverage).toMatchObject({ complete: true, neverChecked: 0, checked: coverage.objects });
});
