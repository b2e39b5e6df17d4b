import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { AwsMetricName } from "../../../lib/alarms/aws-metrics.ts";
import type { MetricName } from "../../../lib/alarms/metrics.ts";
import { systemClock } from "../../../lib/clock.ts";
import { jobNamed } from "../../../lib/jobs/index.ts";
import type { JobResult } from "../../../lib/jobs/job.ts";
import { runJob } from "../../../lib/jobs/runner.ts";
import type { Session } from "../../../lib/ports/databases.ts";
import type { MetricDatum } from "../../../lib/ports/metrics.ts";
import { connectAsSuperuser } from "../../../lib/sandbox/cluster.ts";
import type { FaultContext } from "../../../lib/sandbox/faults/fault.ts";
import { HeldSessions } from "../../../lib/sandbox/faults/held-sessions.ts";
import { runFault } from "../../../lib/sandbox/faults/index.ts";
import { giveCalmPast } from "../../../lib/sandbox/faults/past-days.ts";
import { createMeasurer, type Measurer } from "../../../lib/sandbox/measures/index.ts";
import { type RunningSandbox, startSandbox } from "../../../lib/sandbox/sandbox.ts";
import { aroundFault } from "../../helpers/around-fault.ts";
import { configFor } from "../../helpers/config.ts";
import { allMajors, defaultMajor } from "../../helpers/postgres.ts";
import { valueFor } from "../measures/helpers.ts";

const majors = allMajors.filter((major) => major === defaultMajor || major === 14 || major === 18);
const patience = { timeout: 20_000, interval: 100 };
const mebibyte = 2 ** 20;
const gibibyte = 2 ** 30;

describe.each(majors)("faults of storage, WAL and ids, PostgreSQL %i", (major) => {
  const config = configFor('the "shop" of O\'Brien', {
    database: { storageGigabytes: 30, maxStorageGigabytes: 40 },
    pooling: { enabled: false },
  });
  let sandbox: RunningSandbox;
  let context: FaultContext;
  let measurer: Measurer;
  let home: string;

  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), "pgkeep-storage-"));
    const signal = new AbortController().signal;
    sandbox = await startSandbox({
      config,
      configFile: null,
      homeDirectory: home,
      postgresMajor: major,
      replicas: 1,
      signal,
    });
    // Nothing but the faults writes: sizes and positions are theirs.
    await sandbox.stopWorkload();
    const { state } = sandbox;
    context = { state, config, held: new HeldSessions(), clock: systemClock, signal };
    measurer = createMeasurer({ state, config });
  });
  afterAll(async () => {
    await context?.held.close();
    await measurer?.close();
    await sandbox?.stop();
    await rm(home, { recursive: true, force: true });
  });

  async function as<T>(body: (session: Session) => Promise<T>, port?: number): Promise<T> {
    const session = await connectAsSuperuser(sandbox.state, sandbox.state.database, port);
    try {
      return await body(session);
    } finally {
      await session.close();
    }
  }
  /** What no version does otherwise. */
  const itOnce = it.runIf(major === defaultMajor);
  const measured = async (metric: AwsMetricName) => valueFor(await measurer.measure(), metric);

  async function run(
    job: string,
  ): Promise<{ result: JobResult; value(name: MetricName): number | undefined }> {
    const data: MetricDatum[] = [];
    const { ports } = sandbox.environment;
    const result = await runJob(jobNamed(job), {
      ports: { ...ports, metrics: { put: async (more) => void data.push(...more) } },
      config,
    });
    return { result, value: (name) => data.find((datum) => datum.name === name)?.value };
  }
  const health = async (name: MetricName) => (await run("check-health")).value(name);

  itOnce("fill-disk: hardly anything is free, and nothing is taken", async () => {
    const before = await measured("FreeStorageSpace");
    expect(before).toBeGreaterThan(29 * gibibyte);
    await aroundFault(
      context,
      "fill-disk",
      async ({ details }) => {
        expect(await measured("FreeStorageSpace")).toBeLessThan(0.03 * 30 * gibibyte);
        // It shows its size and takes none of it, and no copy of the data directory has it.
        expect(details.file).not.toContain(`${sandbox.state.primary.dataDirectory}/`);
        expect((await stat(details.file as string)).blocks).toBeLessThan(100);
      },
      async ({ details }) => {
        await expect(stat(details.file as string)).rejects.toMatchObject({ code: "ENOENT" });
        expect(await measured("FreeStorageSpace")).toBeGreaterThan(29 * gibibyte);
      },
    );
  });

  itOnce(
    "outgrow-storage: PostgreSQL says so itself; backups, replicas and restores do not have it",
    async () => {
      const databaseFiles = async (directory: string) =>
        (await readdir(directory, { recursive: true })).filter((file) => file.includes("pgkeep-fault"));
      const { backups } = sandbox.environment.ports;
      if (backups === undefined) throw new Error("the sandbox has backups");
      await aroundFault(
        context,
        "outgrow-storage",
        async () => {
          expect(await health("DatabaseSizeBytes")).toBeGreaterThan(40 * gibibyte);
          expect((await run("collect-history")).value("DaysUntilStorageFull")).toBe(0);
          expect(await databaseFiles(sandbox.state.primary.dataDirectory)).toHaveLength(1);
          const backup = await backups.create("with-ballast");
          expect(backup.status).toBe("available");
          expect(backup.sizeBytes).toBeLessThan(gibibyte);
          await expect(backups.verify("with-ballast")).resolves.toMatchObject({ ok: true });
          const request = {
            name: "with-ballast",
            target: { kind: "backup", backupId: "with-ballast" },
          } as const;
          await expect
            .poll(async () => (await backups.restore(request)).status, { timeout: 60_000, interval: 200 })
            .toBe("available");
          for (const directory of [
            sandbox.state.backupsDirectory,
            sandbox.state.scratchDirectory,
            sandbox.state.replicas[0]?.dataDirectory ?? "",
          ]) {
            expect(await databaseFiles(directory)).toEqual([]);
          }
          await backups.discard("with-ballast");
        },
        async () => expect(await health("DatabaseSizeBytes")).toBeLessThan(gibibyte),
      );
      const { details } = await runFault({ name: "outgrow-storage:1" }, context);
      expect(details.bytes).toBe(gibibyte);
      expect(await health("DatabaseSizeBytes")).toBeGreaterThan(gibibyte);
      await runFault({ name: "outgrow-storage", repair: true }, context);
    },
  );

  it("fail-archiving: what was written cannot be restored and fills pg_wal, until the archiver catches up", async () => {
    const { backups } = sandbox.environment.ports;
    await backups?.create("before");
    const latest = async () => (await backups?.recoveryWindow())?.latest.getTime() ?? 0;
    const archiver = async () =>
      (await as((session) => session.query<{ failed_count: number }>("select * from pg_stat_archiver")))[0];
    const failedBefore = (await archiver())?.failed_count ?? 0;
    const walBefore = await measured("TransactionLogsDiskUsage");
    let broken = 0;
    await aroundFault(
      context,
      "fail-archiving",
      async () => {
        broken = Date.now();
        expect((await archiver())?.failed_count).toBeGreaterThan(failedBefore);
        expect(await measured("TransactionLogsDiskUsage")).toBeGreaterThan(112 * mebibyte);
        await as((session) => session.query("select pg_create_restore_point('later')"));
        await as((session) => session.query("select pg_switch_wal()"));
        expect(await latest()).toBeLessThan(broken);
      },
      async () => {
        expect(await latest()).toBeGreaterThan(broken);
        expect(await measured("TransactionLogsDiskUsage")).toBeLessThan(
          Math.max(walBefore, 40 * mebibyte) + mebibyte,
        );
        const settings = await as((session) =>
          session.query("select name from pg_file_settings where sourcefile like '%auto.conf'"),
        );
        expect(settings).toEqual([]);
      },
    );
  });

  it("age-transaction-ids: the server counts its limits from there, autovacuum cannot help, and replicas follow", async () => {
    const [replica] = sandbox.state.replicas;
    const ageOn = (port?: number) =>
      as(
        async (session) =>
          (
            await session.query<{ age: number }>(
              "select age(datfrozenxid) as age from pg_database where datname = current_database()",
            )
          )[0]?.age,
        port,
      );
    const oldest = () =>
      as(async (session) => {
        await session.query("checkpoint");
        const [row] = await session.query<{ age: number }>(
          "select age(oldest_xid) from pg_control_checkpoint()",
        );
        return row?.age;
      });
    await aroundFault(
      context,
      "age-transaction-ids",
      async ({ details }) => {
        expect(await measured("MaximumUsedTransactionIDs")).toBeGreaterThan(2_000_000_000);
        expect(await oldest()).toBeGreaterThan(2_000_000_000);
        const { result, value } = await run("check-health");
        expect(value("WraparoundTriggerPercent")).toBeGreaterThan(150);
        const text = JSON.stringify(result.report);
        expect(text).toContain(String(details.table));
        await as((session) => session.query("vacuum (freeze)"));
        expect(await ageOn()).toBeGreaterThan(2_000_000_000);
        await expect.poll(() => ageOn(replica?.port), patience).toBeGreaterThan(2_000_000_000);
        // Writes go on: this is before the point where PostgreSQL refuses them.
        await as((session) => session.query("update shop.reviews set body = body where id = 1"));
      },
      async () => {
        expect(await measured("MaximumUsedTransactionIDs")).toBeLessThan(1_000_000);
        expect(await oldest()).toBeLessThan(1_000_000);
        await expect.poll(() => ageOn(replica?.port), patience).toBeLessThan(1_000_000);
        const left = await as((session) =>
          session.query("select relname from pg_class where relname like 'pgkeep_fault%'"),
        );
        expect(left).toEqual([]);
      },
    );
  });

  it("age-transaction-ids: is repaired after a crash of the primary as well", async () => {
    expect(await runFault({ name: "age-transaction-ids" }, context)).toMatchObject({ outcome: "applied" });
    await runFault({ name: "crash-primary" }, context);
    await runFault({ name: "crash-primary", repair: true }, context);
    await runFault({ name: "age-transaction-ids", repair: true }, context);
    expect(await measured("MaximumUsedTransactionIDs")).toBeLessThan(1_000_000);
    expect(await runFault({ name: "age-transaction-ids", repair: true }, context)).toMatchObject({
      outcome: "not-applied",
    });
  });

  it("age-multixact-ids: more than half of them are used up, and no transaction ids", async () => {
    await aroundFault(
      context,
      "age-multixact-ids",
      async () => {
        const { value } = await run("check-health");
        expect(value("MultixactAgePercent")).toBeGreaterThan(50);
        expect(value("WraparoundTriggerPercent")).toBeGreaterThan(150);
        expect(await measured("MaximumUsedTransactionIDs")).toBeLessThan(1_000_000);
        await as((session) => session.query("update shop.reviews set body = body where id = 1"));
      },
      async () => expect(await health("MultixactAgePercent")).toBe(0),
    );
  });

  it("forget-prepared-transaction: it is there without a session, and after a crash", async () => {
    await aroundFault(
      context,
      "forget-prepared-transaction",
      async ({ details }) => {
        expect(await health("PreparedTransactions")).toBe(1);
        await runFault({ name: "crash-primary" }, context);
        await runFault({ name: "crash-primary", repair: true }, context);
        const prepared = await as((session) => session.query("select gid from pg_prepared_xacts"));
        expect(prepared).toEqual([{ gid: details.transaction }]);
        await expect(
          as((session) =>
            session.query("select 1 from shop.categories where id = 2 for no key update nowait"),
          ),
        ).rejects.toMatchObject({ sqlState: "55P03" });
      },
      async () => expect(await health("PreparedTransactions")).toBe(0),
    );
  });

  /** Days without change, so that forecasts say that nothing ends. */
  async function calmPast(): Promise<void> {
    await run("collect-history");
    await giveCalmPast(sandbox.state);
  }
  const forecast = async (name: MetricName) => (await run("collect-history")).value(name);

  itOnce("exhaust-key: the next row finds no key, and the forecast knows", async () => {
    const insert = (slug: string) =>
      as((session) =>
        session.query<{ id: number }>(
          "insert into shop.categories (slug, name) values ($1, 'Another') returning id",
          [slug],
        ),
      );
    const [before] = await insert("before");
    await calmPast();
    expect(await forecast("DaysUntilKeyExhausted")).toBe(3650);
    await aroundFault(
      context,
      "exhaust-key",
      async () => {
        await expect(insert("too-late")).rejects.toMatchObject({ sqlState: "2200H" });
        const { value, result } = await run("collect-history");
        expect(value("DaysUntilKeyExhausted")).toBe(0);
        expect(JSON.stringify(result.report)).toContain("shop.categories.id");
      },
      async () => {
        expect(await forecast("DaysUntilKeyExhausted")).toBe(3650);
        const [after] = await insert("after");
        expect(after?.id).toBe((before?.id ?? 0) + 1);
        await as((session) => session.query("delete from shop.categories where slug in ('before', 'after')"));
      },
    );
  });

  itOnce("grow-storage: the forecast sees the end, and the past is as it was afterwards", async () => {
    const past = () =>
      as((session) =>
        session.query("select * from pgkeep.history_day where day < current_date order by day"),
      );
    await calmPast();
    const before = await past();
    expect(before).toHaveLength(6);
    await aroundFault(
      context,
      "grow-storage",
      async () => {
        const days = await forecast("DaysUntilStorageFull");
        expect(days).toBeGreaterThan(0);
        expect(days).toBeLessThan(30);
        // Nothing else has reason to speak.
        expect(await health("DatabaseSizeBytes")).toBeLessThan(0.9 * 40 * gibibyte);
        expect(await measured("FreeStorageSpace")).toBeGreaterThan(0.1 * 30 * gibibyte);
      },
      async () => {
        expect(await past()).toEqual(before);
        expect(await forecast("DaysUntilStorageFull")).toBe(3650);
      },
    );
  });

  itOnce("use-up-transaction-ids: only the forecast has something to say", async () => {
    await calmPast();
    await aroundFault(
      context,
      "use-up-transaction-ids",
      async () => {
        expect(await forecast("DaysUntilTransactionIdsExhausted")).toBeCloseTo(18.9, 0);
        expect(await measured("MaximumUsedTransactionIDs")).toBeLessThan(500_000_000);
        expect(await health("WraparoundTriggerPercent")).toBeLessThan(150);
      },
      async () => {
        expect(await measured("MaximumUsedTransactionIDs")).toBeLessThan(1_000_000);
        expect(await forecast("DaysUntilTransactionIdsExhausted")).toBe(3650);
      },
    );
  });

  itOnce("reject-writes: the health check goes on and its heartbeat grows old", async () => {
    const beat = () =>
      as(
        async (session) =>
          (await session.query<{ at: Date }>("select at from pgkeep.heartbeat"))[0]?.at.getTime() ?? 0,
      );
    await run("check-health");
    const last = await beat();
    await aroundFault(
      context,
      "reject-writes",
      async () => {
        await expect(
          as((session) => session.query("update shop.reviews set body = body where id = 1")),
        ).rejects.toMatchObject({ sqlState: "25006" });
        const { result, value } = await run("check-health");
        expect(result.outcome).toBe("succeeded");
        expect(value("JobSucceeded")).toBe(1);
        expect(value("HeartbeatAge")).toBeDefined();
        expect(await beat()).toBe(last);
      },
      async () => {
        await run("check-health");
        expect(await beat()).toBeGreaterThan(last);
      },
    );
  });
});
