import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { open, rm, truncate } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Session } from "../../../lib/ports/databases.ts";
import { connect } from "../../../lib/postgres/connect.ts";
import { restartServer } from "../../../lib/sandbox/cluster.ts";
import { ballastFile, createMeasurer, type Measurer } from "../../../lib/sandbox/measures/index.ts";
import { clockSeconds, fromPs, processTables } from "../../../lib/sandbox/measures/process-table.ts";
import { serverProcesses } from "../../../lib/sandbox/processes.ts";
import { crashServer } from "../../../lib/sandbox/server.ts";
import { eventually } from "../../checks/helpers.ts";
import { configFor } from "../../helpers/config.ts";
import { defaultMajor } from "../../helpers/postgres.ts";
import { useShopSandbox } from "../../helpers/shop-sandbox.ts";
import { maybeValue, valueFor } from "./helpers.ts";

const gibibyte = 2 ** 30;
const hasPs = await promisify(execFile)("ps", ["-p", "1"]).then(
  () => true,
  () => false,
);

describe("measures of the servers", () => {
  const sandbox = useShopSandbox(defaultMajor);
  const config = configFor("shop", { database: { storageGigabytes: 20 } });
  const machine = { memoryBytes: 4 * gibibyte, vcpus: 4 };
  let measurer: Measurer;

  beforeAll(() => {
    measurer = createMeasurer({ state: sandbox.state, config, machine });
  });
  afterAll(() => measurer?.close());

  const asApplication = (): Promise<Session> =>
    connect({
      host: "127.0.0.1",
      port: sandbox.state.primary.port,
      database: sandbox.state.database,
      ...sandbox.state.application.writer,
    });

  const pidOf = async (session: Session): Promise<number> =>
    (await session.query<{ pid: number }>("select pg_backend_pid() as pid"))[0]?.pid ?? Number.NaN;

  it("counts the connections of clients, and neither replication's nor the superuser's", async () => {
    const before = valueFor(await measurer.measure(), "DatabaseConnections");
    const sessions = await Promise.all(Array.from({ length: 7 }, asApplication));
    await sandbox.as(async () => {
      expect(valueFor(await measurer.measure(), "DatabaseConnections")).toBe(before + 7);
    });
    await Promise.all(sessions.map((session) => session.close()));
    await eventually("they are gone", async () =>
      maybeValue(await measurer.measure(), "DatabaseConnections") === before ? true : undefined,
    );
  });

  it("takes sessions that run or wait for a lock for load, and idle ones for none", async () => {
    const [holder, waiter, sleeper, idle] = await Promise.all([
      asApplication(),
      asApplication(),
      asApplication(),
      asApplication(),
    ]);
    try {
      await holder.query("begin");
      await holder.query("update shop.customers set email = email where id = 1");
      const waiting = waiter.query("update shop.customers set email = email where id = 1");
      const sleeping = sleeper.query("select pg_sleep(60)").catch(() => {});
      await eventually("both are active", async () =>
        maybeValue(await measurer.measure(), "DBLoadRelativeToNumVCPUs") === 2 / machine.vcpus
          ? true
          : undefined,
      );
      await holder.query("rollback");
      await waiting;
      expect(valueFor(await measurer.measure(), "DBLoadRelativeToNumVCPUs")).toBe(1 / machine.vcpus);
      await sandbox.as((session) =>
        session.query(
          "select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep(60)%' and pid <> pg_backend_pid()",
        ),
      );
      await sleeping;
    } finally {
      await Promise.all([holder, waiter, sleeper, idle].map((session) => session.close()));
    }
  });

  it("sees the time that a session had on a core, also when it has ended in between", async () => {
    const begun = performance.now();
    await measurer.measure();
    const busy = await asApplication();
    const pid = await pidOf(busy);
    await busy.query(`do $$ begin
        while clock_timestamp() < now() + interval '1 second' loop end loop;
      end $$`);
    // Nanoseconds on a core, by the scheduler's own account.
    const burnt = Number(readFileSync(`/proc/${pid}/schedstat`, "utf8").split(" ")[0]) / 1e9;
    await busy.close();
    await eventually("its parent has buried it", async () => (existsSync(`/proc/${pid}`) ? undefined : true));
    let ofReplica: number | undefined;
    // Absent as long as another process that has ended is not yet buried: the next time covers the time since.
    const used = await eventually("the primary is measured", async () => {
      const measured = await measurer.measure();
      ofReplica ??= maybeValue(measured, "CPUUtilization", "replica-1");
      return maybeValue(measured, "CPUUtilization");
    });
    const seconds = (performance.now() - begun) / 1000;
    const coreSeconds = (used / 100) * seconds * availableParallelism();
    // Two clocks, of which one ticks a hundred times a second for each process.
    expect(coreSeconds).toBeGreaterThan(0.8 * burnt - 0.02);
    expect(coreSeconds).toBeLessThan(burnt + 1);
    expect(ofReplica ?? 0).toBeLessThan(used);
  });

  it("takes memory that sessions use from the machine that the alarms assume", async () => {
    const before = valueFor(await measurer.measure(), "FreeableMemory");
    expect(before).toBeLessThan(machine.memoryBytes);
    expect(before).toBeGreaterThan(machine.memoryBytes - gibibyte);
    const session = await asApplication();
    await session.query("set work_mem = '1GB'");
    await session.query("begin");
    await session.query(
      "declare many cursor for select i, repeat('x', 100) from generate_series(1, 400000) i order by i desc",
    );
    await session.query("fetch 1 from many");
    const measured = await measurer.measure();
    expect(before - valueFor(measured, "FreeableMemory")).toBeGreaterThan(40 * 2 ** 20);
    expect(valueFor(measured, "SwapUsage")).toBeGreaterThanOrEqual(0);
    await session.close();
  });

  it("takes a sparse file for as large as it shows, and gives the space back with it", async () => {
    const before = valueFor(await measurer.measure(), "FreeStorageSpace");
    expect(before).toBeLessThan(20 * gibibyte);
    const file = ballastFile(sandbox.state.primary);
    await (await open(file, "w")).close();
    try {
      await truncate(file, 18 * gibibyte);
      const filled = valueFor(await measurer.measure(), "FreeStorageSpace");
      expect(Math.abs(before - filled - 18 * gibibyte)).toBeLessThan(64 * 2 ** 20);
      await truncate(file, 40 * gibibyte);
      expect(valueFor(await measurer.measure(), "FreeStorageSpace")).toBe(0);
    } finally {
      await rm(file);
    }
    expect(Math.abs(before - valueFor(await measurer.measure(), "FreeStorageSpace"))).toBeLessThan(
      64 * 2 ** 20,
    );
  });

  it("sees the WAL that a slot keeps, and what logical slots have on disk", async () => {
    const before = await measurer.measure();
    await sandbox.as(async (session) => {
      await session.query("select pg_create_physical_replication_slot('kept', true)");
      for (let segment = 0; segment < 6; segment++) {
        await session.query("select pg_logical_emit_message(false, 'measures', repeat('x', 1000000))");
        await session.query("select pg_switch_wal()");
      }
      const after = await measurer.measure();
      // Segments of 4 MB.
      expect(valueFor(after, "OldestReplicationSlotLag")).toBeGreaterThan(20 * 2 ** 20);
      expect(valueFor(after, "TransactionLogsDiskUsage")).toBeGreaterThanOrEqual(
        valueFor(before, "TransactionLogsDiskUsage") + 8 * 2 ** 20,
      );
      expect(valueFor(after, "ReplicationSlotDiskUsage")).toBeGreaterThan(
        valueFor(before, "ReplicationSlotDiskUsage"),
      );
      await session.query("select pg_drop_replication_slot('kept')");
    });
    await eventually("the replica's slot is all that is left", async () =>
      valueFor(await measurer.measure(), "OldestReplicationSlotLag") < 4 * 2 ** 20 ? true : undefined,
    );
  });

  it("counts used transaction ids, and the time since the last checkpoint", async () => {
    const before = await measurer.measure();
    await sandbox.as(async (session) => {
      for (let transaction = 0; transaction < 5; transaction++) {
        await session.query("select pg_current_xact_id()");
      }
      await session.query("select pg_sleep(0.2)");
      const later = await measurer.measure();
      expect(valueFor(later, "MaximumUsedTransactionIDs")).toBeGreaterThanOrEqual(
        valueFor(before, "MaximumUsedTransactionIDs") + 5,
      );
      // The time of a checkpoint is kept in whole seconds.
      expect(valueFor(later, "CheckpointLag")).toBeGreaterThan(valueFor(before, "CheckpointLag"));
      await session.query("select pg_sleep(1.1)");
      await session.query("checkpoint");
      const fresh = valueFor(await measurer.measure(), "CheckpointLag");
      expect(fresh).toBeLessThan(valueFor(later, "CheckpointLag") + 1);
      expect(fresh).toBeLessThan(2.5);
    });
  });

  it("counts processes that wait for the disk", async () => {
    const session = await asApplication();
    const { pid } = (await session.query<{ pid: number }>("select pg_backend_pid() as pid"))[0] as {
      pid: number;
    };
    const writing = session
      .query(
        "select count(*) from (select i, repeat('x', 500) from generate_series(1, 100000000) i order by 2) spilled",
      )
      .catch(() => {});
    try {
      // Held in the middle of an operation, of which there are many.
      await eventually("it is stopped while it waits", async () => {
        process.kill(pid, "SIGSTOP");
        const depth = valueFor(await measurer.measure(), "DiskQueueDepth");
        if (depth > 0) return true;
        process.kill(pid, "SIGCONT");
        return undefined;
      });
    } finally {
      process.kill(pid, "SIGCONT");
      await sandbox.as((administrator) => administrator.query("select pg_terminate_backend($1)", [pid]));
      await writing;
      await session.close();
    }
  });

  it("is silent about a server that is down, and starts again when it is back", async () => {
    const { primary } = sandbox.state;
    await crashServer(primary.dataDirectory);
    const down = await measurer.measure();
    const ofPrimary = (all: typeof down) =>
      all.filter(({ id }) => id.dimensions.Server === "primary").map(({ id }) => id.metric);
    try {
      expect(ofPrimary(down)).toEqual([]);
      expect(valueFor(down, "ReplicaLag", "replica-1")).toBe(-1);
      // Absent as long as the replica has not buried its receiver, whose time nobody has then.
      await eventually("the replica is still measured", async () =>
        maybeValue(await measurer.measure(), "CPUUtilization", "replica-1"),
      );
    } finally {
      await restartServer(sandbox.state, primary);
    }
    const first = ofPrimary(await measurer.measure());
    expect(first).toContain("DatabaseConnections");
    expect(first).toContain("MaximumUsedTransactionIDs");
    // What needs two samples of the same server.
    expect(first).not.toContain("CPUUtilization");
    expect(first).not.toContain("WriteLatency");
    await eventually("the second sample", async () => {
      const metrics = ofPrimary(await measurer.measure());
      return metrics.includes("CPUUtilization") && metrics.includes("ReadLatency") ? true : undefined;
    });
  });

  it("waits for no server that hangs, and still tells what can be seen from outside", async () => {
    const pids = await serverProcesses(sandbox.state.primary.dataDirectory);
    for (const pid of pids) process.kill(pid, "SIGSTOP");
    try {
      const begun = performance.now();
      const measured = await measurer.measure();
      expect(performance.now() - begun).toBeLessThan(15_000);
      expect(maybeValue(measured, "MaximumUsedTransactionIDs")).toBeUndefined();
      expect(maybeValue(measured, "DatabaseConnections")).toBeDefined();
      expect(maybeValue(measured, "FreeStorageSpace")).toBeDefined();
      expect(maybeValue(measured, "MaximumUsedTransactionIDs", "replica-1")).toBeDefined();
    } finally {
      for (const pid of pids) process.kill(pid, "SIGCONT");
    }
    await eventually("it answers again", async () =>
      maybeValue(await measurer.measure(), "MaximumUsedTransactionIDs") === undefined ? undefined : true,
    );
  });

  it("waits for nobody who has locked what it reads, and tells the rest", async () => {
    await measurer.measure();
    await sandbox.as(async (session) => {
      await session.query("begin");
      await session.query("lock table pg_database in access exclusive mode");
      const begun = performance.now();
      const measured = await measurer.measure();
      expect(performance.now() - begun).toBeLessThan(15_000);
      await session.query("rollback");
      expect(maybeValue(measured, "MaximumUsedTransactionIDs")).toBeUndefined();
      expect(maybeValue(measured, "OldestReplicationSlotLag")).toBeDefined();
      expect(maybeValue(measured, "DBLoadRelativeToNumVCPUs")).toBeDefined();
    });
    expect(maybeValue(await measurer.measure(), "MaximumUsedTransactionIDs")).toBeDefined();
  });

  it("counts logins that the servers refuse", async () => {
    const { primary, replicas, database, application } = sandbox.state;
    await measurer.measure();
    for (const { port } of [primary, primary, ...replicas]) {
      await expect(
        connect({ host: "127.0.0.1", port, database, ...application.writer, password: "wrong" }),
      ).rejects.toThrow("authentication failed");
    }
    let refused = 0;
    await eventually("all are logged", async () => {
      refused += valueFor(await measurer.measure(), "FailedLogins");
      return refused >= 3 ? true : undefined;
    });
    expect(refused).toBe(3);
  });

  it.skipIf(!hasPs)("reads from ps what /proc has, where there is no /proc", async () => {
    const { dataDirectory } = sandbox.state.primary;
    const [direct = []] = await processTables([dataDirectory]);
    const listed = await fromPs(direct.map(({ pid }) => pid));
    expect(listed.map(({ pid }) => pid).sort()).toEqual(direct.map(({ pid }) => pid).sort());
    for (const { pid, privateBytes } of listed) {
      expect(privateBytes).toBeGreaterThanOrEqual(
        direct.find((one) => one.pid === pid)?.privateBytes ?? Number.NaN,
      );
    }
    expect(await fromPs([])).toEqual([]);
  });
});

it("reads the clocks of both kinds of ps", () => {
  expect(clockSeconds("00:00:07")).toBe(7);
  expect(clockSeconds("2-01:02:03")).toBe(2 * 86_400 + 3_723);
  expect(clockSeconds("123:04.56")).toBeCloseTo(7_384.56);
});
