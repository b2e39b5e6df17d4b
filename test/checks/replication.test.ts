import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checkHealth } from "../../lib/checks/health.ts";
import { replication } from "../../lib/checks/replication.ts";
import { replicationSlots } from "../../lib/checks/replication-slots.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { type Cluster, connectAsSuperuser, restartServer, startCluster } from "../../lib/sandbox/cluster.ts";
import { crashServer, stopServer } from "../../lib/sandbox/server.ts";
import { allMajors } from "../helpers/postgres.ts";
import { ask, configWith, eventually, metricOf, sampleOf } from "./helpers.ts";

const name = "replica-1";

describe.each(allMajors)("a primary with a standby, PostgreSQL %i", (major) => {
  let cluster: Cluster;
  let primary: Session;
  let standby: Session;

  const connectStandby = () =>
    connectAsSuperuser(cluster.state, cluster.state.database, cluster.state.replicas[0]?.port);

  beforeAll(async () => {
    cluster = await startCluster({ major, database: "shop", replicas: 1, settings: { fsync: false } });
    primary = await connectAsSuperuser(cluster.state, "shop");
    standby = await connectStandby();
    await primary.query("create table public.t (v text)");
    // Both ends hear of each other in a moment.
    await eventually("the replica streams", async () =>
      (await ask(replication, primary)).metrics.some((one) => one.dimensions.Replica === name)
        ? true
        : undefined,
    );
  });
  afterAll(async () => {
    await primary?.close();
    await standby?.close();
    await cluster?.stop();
  });

  const written = async (bytes: number) => {
    await primary.query(
      "insert into public.t select repeat(md5(g::text), 32) from generate_series(1, $1::int) g",
      [Math.ceil(bytes / 1000)],
    );
  };

  it("is well on both ends, and every check can be asked on the standby", async () => {
    const sent = await eventually("the replica is caught up", async () => {
      const now = await ask(replication, primary);
      return metricOf(now.metrics, "ReplicaLagBytes", { Replica: name }) === 0 ? now : undefined;
    });
    expect(sent).toMatchObject({
      verdict: "pass",
      facts: {
        standbys: [{ name, state: "streaming", syncState: "async", slot: "replica_1", lagSeconds: 0 }],
        others: 0,
      },
    });
    expect(metricOf(sent.metrics, "ReplicasConnected")).toBe(1);
    const report = await checkHealth({ session: standby, config: configWith(), now: new Date() });
    expect(report.server.isStandby).toBe(true);
    expect(report.results.flatMap(({ findings }) => findings)).toEqual([]);
    expect(report.results.filter(({ reason }) => reason?.includes("failed"))).toEqual([]);
    expect(report.results.find(({ check }) => check === "replication")).toMatchObject({
      verdict: "pass",
      facts: {
        receiver: { state: "streaming", slot: "replica_1" },
        replay: { state: "not paused", lagSeconds: 0 },
      },
    });
    expect(report.results.find(({ check }) => check === "prepared-transactions")).toMatchObject({
      verdict: "not-assessable",
      reason: expect.stringContaining("ask the primary"),
    });
    // Only the primary says how many replicas there are.
    expect(metricOf(report.metrics, "ReplicasConnected")).toBeUndefined();
  });

  it("does not take an idle primary for lag", async () => {
    const limits = { replicas: { maxLagSeconds: 1 } };
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    const own = await ask(replication, standby, limits);
    expect(own.verdict).toBe("pass");
    expect(own.facts.replay).toMatchObject({ lagSeconds: 0 });
    expect((await ask(replication, primary, limits)).verdict).toBe("pass");
  });

  it("tells received from replayed while replay is paused, on both ends", async () => {
    await standby.query("select pg_wal_replay_pause()");
    await written(3_000_000);
    const limits = { replicas: { maxLagBytes: 1_000_000, maxLagSeconds: 1 } };
    const own = await eventually("the standby has received it", async () => {
      const now = await ask(replication, standby, limits);
      return now.findings.length === 2 ? now : undefined;
    });
    expect(own.findings.map(({ key, severity }) => [key, severity])).toEqual([
      ["replication/replay-paused", "high"],
      ["replication/replay", "medium"],
    ]);
    expect(own.facts.receiver).toMatchObject({ state: "streaming" });
    expect(own.findings[0]?.remediation.sql).toBe("SELECT pg_wal_replay_resume();");

    const sent = await eventually("the primary knows", async () => {
      const now = await ask(replication, primary, limits);
      return now.findings.length > 0 ? now : undefined;
    });
    expect(sent.findings).toMatchObject([
      { key: `replication/${name}`, severity: "medium", object: { name } },
    ]);
    expect(metricOf(sent.metrics, "ReplicaLagBytes", { Replica: name })).toBeGreaterThan(3_000_000);

    // Below the limit of bytes, it is the time without any progress that tells.
    const bySeconds = { replicas: { maxLagSeconds: 1 } };
    const first = await ask(replication, primary, bySeconds);
    await new Promise((resolve) => setTimeout(resolve, 2_100));
    const second = await ask(replication, primary, bySeconds, sampleOf(first.report));
    expect(second.findings).toMatchObject([
      { key: `replication/${name}`, title: expect.stringMatching(/has replayed nothing for 2(\.\d)? s/) },
    ]);
    expect(metricOf(second.metrics, "ReplicaLagSeconds", { Replica: name })).toBeGreaterThanOrEqual(2);

    await standby.query(own.findings[0]?.remediation.sql ?? "");
    await eventually("the standby has caught up", async () =>
      (await ask(replication, standby, limits)).verdict === "pass" ? true : undefined,
    );
    const after = await eventually("the primary knows that as well", async () => {
      const now = await ask(replication, primary, limits, sampleOf(second.report));
      return now.verdict === "pass" ? now : undefined;
    });
    expect(metricOf(after.metrics, "ReplicaLagSeconds", { Replica: name })).toBe(0);
  });

  it("sees the abandoned slot of a replica that is gone, with the WAL that it keeps", async () => {
    await standby.close();
    await stopServer(cluster.state.replicas[0]?.dataDirectory ?? "", "immediate");
    await written(2_000_000);
    const result = await eventually("the slot is inactive", async () => {
      const now = await ask(replicationSlots, primary);
      return now.findings.length > 0 ? now : undefined;
    });
    expect(result.findings).toMatchObject([
      { key: "replication-slots/replica_1", severity: "medium", object: { name: "replica_1" } },
    ]);
    expect(Number(result.findings[0]?.evidence.retainedBytes)).toBeGreaterThan(2_000_000);
    expect(
      (await ask(replicationSlots, primary, { health: { slotRetainedBytes: 1_000_000 } })).findings,
    ).toMatchObject([{ severity: "high" }]);
    const senders = await ask(replication, primary);
    expect(senders).toMatchObject({ verdict: "pass", facts: { standbys: [] } });
    expect(metricOf(senders.metrics, "ReplicasConnected")).toBe(0);
    await restartServer(cluster.state, cluster.state.replicas[0] as (typeof cluster.state.replicas)[0]);
    standby = await connectStandby();
    await eventually("the slot is read again", async () =>
      (await ask(replicationSlots, primary)).verdict === "pass" ? true : undefined,
    );
  });

  it("does not call a standby well whose primary is dead, although it has replayed all it received", async () => {
    await primary.close();
    await crashServer(cluster.state.primary.dataDirectory);
    const result = await eventually("the receiver has ended", async () => {
      const now = await ask(replication, standby);
      return now.findings.length > 0 ? now : undefined;
    });
    expect(result.findings).toMatchObject([{ key: "replication/receiver", severity: "high" }]);
    expect(result.facts.replay).toMatchObject({ lagSeconds: null });
    expect(JSON.stringify(result)).not.toContain("passfile");
    await restartServer(cluster.state, cluster.state.primary);
    primary = await connectAsSuperuser(cluster.state, "shop");
  });
});
