import { describe, expect, it } from "vitest";
import { cacheHitRatio } from "../../lib/checks/cache-hit-ratio.ts";
import type { Check } from "../../lib/checks/check.ts";
import { checkpoints } from "../../lib/checks/checkpoints.ts";
import { deadlocks } from "../../lib/checks/deadlocks.ts";
import { temporaryFiles } from "../../lib/checks/temporary-files.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { oldestAndNewest, useServer } from "../helpers/postgres.ts";
import { ask, eventually, metricOf, sampleOf } from "./helpers.ts";

/** What these sessions did is counted: until 14 statistics travel through a collector, each half second at most. */
async function untilReported(...sessions: Session[]): Promise<void> {
  for (const session of sessions) {
    if (session.serverVersionNumber >= 150_000) await session.query("select pg_stat_force_next_flush()");
    else await new Promise((resolve) => setTimeout(resolve, 1_200));
  }
}

/** Its sessions end with it: a session reports all that it counted when it ends, and late while it is idle. */
async function provokeDeadlock(open: () => Promise<Session>): Promise<void> {
  const [one, two] = [await open(), await open()];
  await one.query("begin");
  await two.query("begin");
  await one.query("update public.t set v = v where id = 1");
  await two.query("update public.t set v = v where id = 2");
  const results = await Promise.allSettled([
    one.query("update public.t set v = v where id = 2"),
    two.query("update public.t set v = v where id = 1"),
  ]);
  expect(results.filter(({ status }) => status === "rejected")).toHaveLength(1);
  await one.query("rollback");
  await two.query("rollback");
  await one.close();
  await two.close();
}

describe.each(oldestAndNewest)("running totals of PostgreSQL %i", (major) => {
  const server = useServer(major, {
    settings: {
      deadlock_timeout: "100ms",
      autovacuum: "off",
      shared_buffers: "4MB",
      max_wal_size: "16MB",
      checkpoint_completion_target: "0.9",
    },
  });

  it("counts the deadlocks since the previous sample, not those before it", async () => {
    const database = await server.createDatabase();
    const open = () => server.connect(database, undefined, { lockTimeoutMilliseconds: 0 });
    const session = await open();
    await session.query("create table public.t (id int primary key, v int)");
    await session.query("insert into public.t values (1, 0), (2, 0)");
    await provokeDeadlock(open);
    await untilReported(session);
    const first = await ask(deadlocks, session);
    expect(first).toMatchObject({ verdict: "not-assessable", metrics: [] });
    const quiet = await ask(deadlocks, session, {}, sampleOf(first.report));
    expect(quiet).toMatchObject({ verdict: "pass", facts: { deadlocks: 0 } });
    expect(metricOf(quiet.metrics, "Deadlocks")).toBe(0);
    await provokeDeadlock(open);
    const result = await eventually("the deadlock is counted", async () => {
      const now = await ask(deadlocks, session, {}, sampleOf(first.report));
      return now.findings.length > 0 ? now : undefined;
    });
    expect(result.findings).toMatchObject([{ severity: "medium", evidence: { deadlocks: 1 } }]);
    // RDS allows no ALTER SYSTEM.
    expect(result.findings[0]?.remediation.sql).toMatch(
      /\(on a managed server, in its parameter group\):\nALTER SYSTEM SET log_lock_waits = on;/,
    );
    expect(metricOf(result.metrics, "Deadlocks")).toBe(1);
    expect(metricOf(result.metrics, "TransactionsRolledBack")).toBeGreaterThanOrEqual(1);
    await session.close();
  });

  it("finds statements that spill to disk", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    const worker = await server.connect(database);
    await session.query("select 1");
    await untilReported(session);
    const first = await ask(temporaryFiles, session);
    await worker.query("set work_mem = '64kB'");
    await worker.query("select count(distinct repeat('x', 100) || g) from generate_series(1, 300000) g");
    await worker.close();
    const result = await eventually("the files are counted", async () => {
      const now = await ask(temporaryFiles, session, {}, sampleOf(first.report));
      return now.findings.length > 0 || Number(now.facts.bytes) > 0 ? now : undefined;
    });
    expect(Number(result.facts.bytes)).toBeGreaterThan(20_000_000);
    expect(result.findings.map(({ key }) => key)).toEqual(
      Number(result.facts.bytesPerSecond) >= Number(result.facts.limitBytesPerSecond)
        ? ["temporary-files"]
        : [],
    );
    expect(metricOf(result.metrics, "TemporaryBytes")).toBe(result.facts.bytes);
    const longAgo = sampleOf(first.report);
    longAgo.sample.takenAt = new Date(longAgo.sample.takenAt.getTime() - 3_600_000);
    // The same bytes within an hour are nothing.
    expect((await ask(temporaryFiles, session, {}, longAgo)).verdict).toBe("pass");
    const justNow = sampleOf(first.report);
    justNow.sample.takenAt = new Date(Date.now() - 1_000);
    expect((await ask(temporaryFiles, session, {}, justNow)).findings).toMatchObject([
      { severity: "medium" },
    ]);
    await session.close();
  });

  it("finds reads that memory does not answer, and says nothing from too few", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    const worker = await server.connect(database);
    await worker.query(
      "create table public.big as select g, repeat('x', 500) as pad from generate_series(1, 40000) g",
    );
    await worker.query("checkpoint");
    await untilReported(worker);
    const first = await ask(cacheHitRatio, session);
    const few = await ask(cacheHitRatio, session, {}, sampleOf(first.report));
    expect(few).toMatchObject({
      verdict: "not-assessable",
      reason: expect.stringMatching(/^only \d+ block reads in .*too few/),
      metrics: [],
    });
    // 20 MB through 4 MB of shared buffers.
    await worker.query("select count(*) from public.big");
    await worker.close();
    const cold = await eventually("the reads are counted", async () => {
      const now = await ask(cacheHitRatio, session, {}, sampleOf(first.report));
      return now.verdict === "not-assessable" ? undefined : now;
    });
    expect(cold.findings).toMatchObject([{ check: "cache-hit-ratio", confidence: "likely" }]);
    expect(metricOf(cold.metrics, "CacheHitPercent")).toBeLessThan(90);

    await session.query("create table public.small as select g from generate_series(1, 1000) g");
    const second = await ask(cacheHitRatio, session);
    await session.query("set enable_hashjoin = off");
    await session.query("set enable_mergejoin = off");
    await session.query("set enable_material = off");
    await session.query("select count(*) from public.small a, public.small b");
    const warm = await eventually("the hits are counted", async () => {
      const now = await ask(cacheHitRatio, session, {}, sampleOf(second.report));
      return now.verdict === "not-assessable" ? undefined : now;
    });
    expect(warm.verdict).toBe("pass");
    expect(metricOf(warm.metrics, "CacheHitPercent")).toBeGreaterThan(95);
    await session.close();
  });

  it("finds checkpoints that the volume of WAL forces, and not those that somebody asked for", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await session.query("create table public.t (v text)");
    const counted = (previous: ReturnType<typeof sampleOf>, least: number) =>
      eventually(`${least} checkpoints are counted`, async () => {
        const now = await ask(checkpoints, session, {}, previous);
        return Number(now.facts.requested) >= least ? now : undefined;
      });
    await session.query("checkpoint");
    await untilReported(session);
    const first = sampleOf((await ask(checkpoints, session)).report);
    for (let round = 0; round < 3; round += 1) {
      await session.query("insert into public.t values ('x')");
      await session.query("checkpoint");
    }
    const asked = await counted(first, 3);
    expect(asked).toMatchObject({ verdict: "pass", facts: { requested: 3, byVolume: 0 } });
    expect(metricOf(asked.metrics, "CheckpointsRequested")).toBe(3);
    for (let round = 0; round < 6; round += 1) {
      await session.query("insert into public.t select repeat('x', 1000) from generate_series(1, 8000)");
      await session.query("checkpoint");
    }
    const result = await counted(first, 8);
    expect(result.findings).toMatchObject([{ key: "checkpoints/by-volume", severity: "low" }]);
    expect(result.facts.byVolume).toBeGreaterThanOrEqual(4);
    expect(result.findings[0]?.remediation.sql).toMatch(
      /\(on a managed server, in its parameter group\):\nALTER SYSTEM SET max_wal_size = '32MB'/,
    );
    await session.close();
  });

  it("does not compare across a reset of the statistics", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await session.query("select count(*) from pg_class");
    await untilReported(session);
    const before: [Check, ReturnType<typeof sampleOf>][] = [];
    for (const check of [deadlocks, cacheHitRatio, temporaryFiles, checkpoints]) {
      before.push([check, sampleOf((await ask(check, session)).report)]);
    }
    await session.query("select pg_stat_reset()");
    await session.query("select pg_stat_reset_shared('bgwriter')");
    if (major >= 17) await session.query("select pg_stat_reset_shared('checkpointer')");
    await untilReported(session);
    for (const [check, previous] of before) {
      expect(await ask(check, session, {}, previous)).toMatchObject({
        verdict: "not-assessable",
        reason: "the statistics were reset since the previous sample",
        metrics: [],
      });
    }
    await session.close();
  });

  it.skipIf(major >= 15)(
    "compares with a sample in the midst of which the statistics began (until 14)",
    async () => {
      const database = await server.createDatabase();
      const session = await server.connect(database);
      await session.query("select count(*) from pg_class");
      await untilReported(session);
      const { sample } = sampleOf((await ask(deadlocks, session)).report);
      expect(sample.counters.TransactionsCommitted).toBeGreaterThan(0);
      expect(sample.resetAt).toBeInstanceOf(Date);
      const result = await ask(deadlocks, session, {}, { sample: { ...sample, resetAt: null } });
      expect(result).toMatchObject({ verdict: "pass", facts: { deadlocks: 0 } });
      await session.close();
    },
  );

  it("notices totals that went backward, which a crash does without a word, and clocks that did", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    const sample = sampleOf((await ask(deadlocks, session)).report);
    const crashed = structuredClone(sample);
    crashed.sample.counters.TransactionsCommitted = 1e12;
    expect((await ask(deadlocks, session, {}, crashed)).reason).toBe(
      "TransactionsCommitted is lower than in the previous sample: the statistics were lost or reset in between",
    );
    const future = structuredClone(sample);
    future.sample.takenAt = new Date("2100-01-01T00:00:00Z");
    expect((await ask(deadlocks, session, {}, future)).reason).toContain("the server's clock was moved");
    const foreign = structuredClone(sample);
    delete foreign.sample.counters.Deadlocks;
    expect((await ask(deadlocks, session, {}, foreign)).reason).toBe("the previous sample has no Deadlocks");
    await session.close();
  });
});
