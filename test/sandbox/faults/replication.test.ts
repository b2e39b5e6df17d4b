import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checkHealth } from "../../../lib/checks/health.ts";
import { runFault } from "../../../lib/sandbox/faults/index.ts";
import { createMeasurer, type Measurer } from "../../../lib/sandbox/measures/index.ts";
import { aroundFault } from "../../helpers/around-fault.ts";
import { configFor } from "../../helpers/config.ts";
import { allMajors, defaultMajor } from "../../helpers/postgres.ts";
import { useShopSandbox } from "../../helpers/shop-sandbox.ts";
import { maybeValue } from "../measures/helpers.ts";

const majors = allMajors.filter((major) => major === defaultMajor || major === 14 || major === 18);
const patience = { timeout: 20_000, interval: 50 };
const mebibyte = 2 ** 20;

describe.each(majors)("faults of replication, PostgreSQL %i", (major) => {
  const config = configFor("shop", { health: { slotRetainedBytes: 10 * mebibyte } });
  const sandbox = useShopSandbox(major, { database: 'the "shop" of O\'Brien\n%d — ü' });
  let measurer: Measurer;
  beforeAll(() => {
    measurer = createMeasurer({ state: sandbox.state, config });
  });
  afterAll(() => measurer?.close());

  const replica = () => ({ port: sandbox.state.replicas[0]?.port ?? 0 });
  const lag = async () => maybeValue(await measurer.measure(), "ReplicaLag", "replica-1");
  const measured = async (metric: Parameters<typeof maybeValue>[1]) =>
    maybeValue(await measurer.measure(), metric, "primary");
  const write = (body: string) =>
    sandbox.as((session) => session.query("update shop.reviews set body = $1 where id = 1", [body]));
  const onReplica = () =>
    sandbox.as(
      async (session) =>
        (await session.query<{ body: string }>("select body from shop.reviews where id = 1"))[0]?.body,
      replica(),
    );
  const health = () => sandbox.as((session) => checkHealth({ session, config, now: new Date() }));
  const findings = async (check: string) =>
    (await health()).results.filter((result) => result.check === check).flatMap(({ findings }) => findings);
  const settings = () =>
    sandbox.as(
      (session) =>
        session.query("select name, setting from pg_file_settings where sourcefile like '%auto.conf'"),
      replica(),
    );

  it("stop-replication: the lag is −1, and the slot waits", async () => {
    await write("before");
    await expect.poll(onReplica, patience).toBe("before");
    await aroundFault(
      sandbox.context,
      "stop-replication",
      async () => {
        expect(await lag()).toBe(-1);
        await write("meanwhile");
        await expect
          .poll(() => findings("replication-slots"), patience)
          .toEqual([expect.objectContaining({ key: "replication-slots/replica_1" })]);
        expect(await onReplica()).toBe("before");
      },
      async () => {
        await expect.poll(onReplica, patience).toBe("meanwhile");
        await expect.poll(lag, patience).toBe(0);
        expect(await settings()).toEqual([]);
      },
    );
  });

  it("stop-replication: is still on when the replica was killed and started meanwhile", async () => {
    const { context } = sandbox;
    const { crashReplica } = await import("../../../lib/sandbox/faults/crash-replica.ts");
    await aroundFault(context, "stop-replication", async () => {
      await crashReplica.apply(context);
      await crashReplica.repair(context);
      expect(await lag()).toBe(-1);
    });
    await expect.poll(lag, patience).toBe(0);
  });

  it("lag-replica: WAL arrives, none is replayed, and the lag grows", async () => {
    await write("before");
    await expect.poll(onReplica, patience).toBe("before");
    await aroundFault(
      sandbox.context,
      "lag-replica",
      async ({ details }) => {
        await write("meanwhile");
        await expect.poll(lag, patience).toBeGreaterThan(0.3);
        const first = (await lag()) ?? 0;
        await expect.poll(lag, patience).toBeGreaterThan(first + 0.3);
        expect(await onReplica()).toBe("before");
        const [seen] = await sandbox.as(
          (session) =>
            session.query(
              `select pg_is_wal_replay_paused() as paused,
                      exists (select from pg_stat_wal_receiver where status = 'streaming') as streaming,
                      (select pid from pg_stat_activity where query like '%pg_sleep(86400)%' and pid <> pg_backend_pid()) as pid`,
            ),
          replica(),
        );
        expect(seen).toEqual({ paused: false, streaming: true, pid: details.pid });
      },
      async () => {
        await expect.poll(onReplica, patience).toBe("meanwhile");
        await expect.poll(lag, patience).toBe(0);
        expect(await settings()).toEqual([]);
      },
    );
  });

  it("abandon-slot: keeps enough WAL from the beginning to be more than a small limit", async () => {
    await aroundFault(
      sandbox.context,
      "abandon-slot",
      async () => {
        expect(await measured("OldestReplicationSlotLag")).toBeGreaterThan(16 * mebibyte);
        expect(await findings("replication-slots")).toContainEqual(
          expect.objectContaining({ key: "replication-slots/pgkeep_fault_abandoned", severity: "high" }),
        );
      },
      async () => {
        await expect.poll(() => measured("OldestReplicationSlotLag"), patience).toBeLessThan(10 * mebibyte);
      },
    );
  });

  it("fill-replication-slot: the slot's files are large, and the WAL that it keeps is not", async () => {
    const slots = () =>
      sandbox.as((session) =>
        session.query("select active from pg_replication_slots where slot_name = 'pgkeep_fault_stalled'"),
      );
    const before = (await measured("ReplicationSlotDiskUsage")) ?? 0;
    await aroundFault(
      sandbox.context,
      "fill-replication-slot",
      async () => {
        expect(await measured("ReplicationSlotDiskUsage")).toBeGreaterThan(20 * mebibyte);
        expect(await measured("OldestReplicationSlotLag")).toBeLessThan(10 * mebibyte);
        expect(await slots()).toEqual([{ active: true }]);
        const tables = await sandbox.as((session) =>
          session.query("select from pg_namespace where nspname = 'pgkeep_fault'"),
        );
        expect(tables).toEqual([]);
      },
      async () => {
        expect(await slots()).toEqual([]);
        expect(await measured("ReplicationSlotDiskUsage")).toBeLessThan(before + mebibyte);
      },
    );
  });

  it("refuses what this sandbox has no object for, and leaves nothing behind", async () => {
    const { context } = sandbox;
    await sandbox.as((session) => session.query("create database empty"));
    const known = "select 1 from pg_database where datname = 'empty'";
    await expect
      .poll(() => sandbox.as((session) => session.query(known), replica()), patience)
      .toHaveLength(1);
    const empty = { ...context, state: { ...context.state, database: "empty" } };
    const alone = { ...context, state: { ...context.state, replicas: [] } };
    for (const [name, where] of [
      ["stop-replication", alone],
      ["lag-replica", alone],
      ["lag-replica", empty],
      ["forget-prepared-transaction", empty],
      ["exhaust-key", empty],
      ["grow-storage", empty],
      ["use-up-transaction-ids", empty],
    ] as const) {
      await expect(runFault({ name }, where), name).rejects.toMatchObject({ code: "refused" });
      if (where === empty) {
        expect(await runFault({ name, repair: true }, where), name).toMatchObject({ outcome: "not-applied" });
      }
    }
    const sessions = "select 1 from pg_stat_activity where application_name like 'pgkeep fault%'";
    expect(await sandbox.as((session) => session.query(sessions))).toEqual([]);
    expect(await sandbox.as((session) => session.query(sessions), replica())).toEqual([]);
    expect(await settings()).toEqual([]);
  });
});
