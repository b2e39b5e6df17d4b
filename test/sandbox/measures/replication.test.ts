import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { restartServer } from "../../../lib/sandbox/cluster.ts";
import { pauseReplay } from "../../../lib/sandbox/faults/pause-replay.ts";
import { createMeasurer, type Measurer } from "../../../lib/sandbox/measures/index.ts";
import { crashServer } from "../../../lib/sandbox/server.ts";
import { eventually } from "../../checks/helpers.ts";
import { configFor } from "../../helpers/config.ts";
import { oldestAndNewest } from "../../helpers/postgres.ts";
import { useShopSandbox } from "../../helpers/shop-sandbox.ts";
import { maybeValue } from "./helpers.ts";

describe.each(oldestAndNewest)("measures of PostgreSQL %i", (major) => {
  const sandbox = useShopSandbox(major);
  let measurer: Measurer;

  beforeAll(() => {
    measurer = createMeasurer({ state: sandbox.state, config: configFor("shop") });
  });
  afterAll(() => measurer?.close());

  const lag = async () => maybeValue(await measurer.measure(), "ReplicaLag", "replica-1");
  const write = () =>
    sandbox.as((session) => session.query("update shop.customers set email = email where id = 1"));

  it("are no lag while the replica has everything, however long nothing was written", async () => {
    await eventually("it has caught up", async () => ((await lag()) === 0 ? true : undefined));
    await sandbox.as((session) => session.query("select pg_sleep(0.5)"));
    expect(await lag()).toBe(0);
    await write();
    expect(await lag()).toBeLessThan(0.5);
    expect(maybeValue(await measurer.measure(), "ReplicaLag", "primary")).toBeUndefined();
  });

  it("are the age of what was replayed last while replay is paused", async () => {
    await write();
    await eventually("it has caught up", async () => ((await lag()) === 0 ? true : undefined));
    await pauseReplay.apply(sandbox.context);
    try {
      await write();
      const first = await eventually("it lags", async () => {
        const now = await lag();
        return now !== undefined && now > 0 ? now : undefined;
      });
      await sandbox.as((session) => session.query("select pg_sleep(0.6)"));
      expect(await lag()).toBeGreaterThan(first + 0.5);
    } finally {
      await pauseReplay.repair(sandbox.context);
    }
    await eventually("it has caught up", async () => ((await lag()) === 0 ? true : undefined));
  });

  it("are −1 while the replica runs and does not stream", async () => {
    const { port } = sandbox.state.replicas[0] as { port: number };
    const changed = async (statement: string) => {
      await sandbox.as((session) => session.query(statement), { port });
      await sandbox.as((session) => session.query("select pg_reload_conf()"), { port });
    };
    await changed("alter system set primary_conninfo = 'host=127.0.0.1 port=1 user=nobody'");
    await eventually("it has stopped", async () => ((await lag()) === -1 ? true : undefined));
    await changed("alter system reset primary_conninfo");
    await eventually("it streams again", async () => ((await lag()) === 0 ? true : undefined));
  });

  it("are absent while the replica is down", async () => {
    const replica = sandbox.state.replicas[0] as (typeof sandbox.state.replicas)[number];
    await crashServer(replica.dataDirectory);
    expect(await lag()).toBeUndefined();
    await restartServer(sandbox.state, replica);
    await eventually("it streams again", async () => ((await lag()) === 0 ? true : undefined));
  });

  it("are the mean time of reads and writes, where this version counts them", async () => {
    await measurer.measure();
    await sandbox.as(async (session) => {
      await session.query(
        "create table shop.many as select i, repeat('x', 500) as text from generate_series(1, 60000) i",
      );
      await session.query("checkpoint");
      await session.query("select count(*) from shop.many");
    });
    const found = await eventually("they are counted", async () => {
      const measured = await measurer.measure();
      const read = maybeValue(measured, "ReadLatency");
      const write = maybeValue(measured, "WriteLatency");
      const seen = major >= 16 ? write : read;
      if (seen === undefined || seen === 0) {
        await sandbox.as((session) =>
          session.query("select count(*) from shop.orders o, shop.many m where m.i = o.id"),
        );
        await sandbox.as((session) => session.query("update shop.many set i = i where i % 2 = 0"));
        return undefined;
      }
      return { read, write };
    });
    for (const latency of [found.read, found.write]) {
      if (latency !== undefined) {
        expect(latency).toBeGreaterThanOrEqual(0);
        expect(latency).toBeLessThan(1);
      }
    }
    expect(found.write === undefined).toBe(major < 16);
  });

  it("leave latencies out when the counters began anew", async () => {
    await measurer.measure();
    await sandbox.as((session) =>
      session.query(major >= 16 ? "select pg_stat_reset_shared('io')" : "select pg_stat_reset()"),
    );
    const outcome = await eventually("the reset is seen", async () => {
      const measured = await measurer.measure();
      return maybeValue(measured, "ReadLatency") === undefined ? measured : undefined;
    });
    expect(maybeValue(outcome, "DiskQueueDepth")).toBeDefined();
    expect(maybeValue(await measurer.measure(), "ReadLatency")).toBeDefined();
  });
});
