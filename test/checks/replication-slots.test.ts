import { describe, expect, it } from "vitest";
import { replicationSlots } from "../../lib/checks/replication-slots.ts";
import { allMajors, useServer } from "../helpers/postgres.ts";
import { ask, metricOf, sampleOf } from "./helpers.ts";

describe.each(allMajors)("replication slots of PostgreSQL %i", (major) => {
  const server = useServer(major, { settings: { wal_level: "logical", max_slot_wal_keep_size: "4MB" } });

  it("passes without any, and tells a slot that keeps nothing from one that does", async () => {
    const session = await server.connect(await server.createDatabase());
    const none = await ask(replicationSlots, session);
    expect(none).toMatchObject({ verdict: "pass", facts: { slots: [] } });
    expect(metricOf(none.metrics, "InactiveReplicationSlots")).toBe(0);
    await session.query("select pg_create_physical_replication_slot('empty')");
    await session.query("select pg_create_physical_replication_slot('keeping', true)");
    await session.query("select pg_create_logical_replication_slot('logical', 'pgoutput')");
    await session.query("select pg_create_physical_replication_slot('gone_with_me', true, true)");
    const result = await ask(replicationSlots, session);
    expect(result.findings.map(({ key, severity }) => [key, severity])).toEqual([
      ["replication-slots/empty", "low"],
      ["replication-slots/keeping", "medium"],
      ["replication-slots/logical", "medium"],
    ]);
    expect(result.findings[2]?.evidence).toMatchObject({
      type: "logical",
      plugin: "pgoutput",
      database: session.database,
      catalogXminAge: expect.any(Number),
    });
    expect(metricOf(result.metrics, "InactiveReplicationSlots")).toBe(3);
    expect(metricOf(result.metrics, "ReplicationSlotRetainedBytes", { Slot: "empty" })).toBe(0);
    for (const finding of result.findings) await session.query(finding.remediation.sql);
    expect((await ask(replicationSlots, session)).verdict).toBe("pass");
    await session.close();
  });

  it("says for how long nothing has read a slot, from the server or from the samples", async () => {
    const session = await server.connect(await server.createDatabase());
    await session.query("select pg_create_physical_replication_slot('old', true)");
    const first = await ask(replicationSlots, session);
    const previous = sampleOf(first.report);
    const since = "slot/old/inactiveSince";
    if (major < 17) {
      expect(previous.sample.counters[since]).toBeCloseTo(Date.now() / 1000, -2);
      previous.sample.counters[since] = Date.now() / 1000 - 7200;
      const later = await ask(replicationSlots, session, {}, previous);
      expect(later.findings[0]?.title).toContain("for 2 h 0 min");
      expect(later.report.counters[since]).toBe(previous.sample.counters[since]);
    } else {
      await new Promise((resolve) => setTimeout(resolve, 1_100));
      const later = await ask(replicationSlots, session, {}, previous);
      expect(later.findings[0]?.title).toMatch(/for [1-9](?:\.\d)? s/);
      expect(later.report.counters[since]).toBeUndefined();
    }
    await session.query("select pg_drop_replication_slot('old')");
    await session.close();
  });

  it("says that a slot is lost, and why where the server knows", async () => {
    const session = await server.connect(await server.createDatabase());
    await session.query("create table public.t (v text)");
    await session.query("select pg_create_physical_replication_slot('lost', true)");
    for (let round = 0; round < 4; round += 1) {
      await session.query("insert into public.t select repeat('x', 1000) from generate_series(1, 4000)");
      await session.query("select pg_switch_wal()");
    }
    await session.query("checkpoint");
    const result = await ask(replicationSlots, session);
    expect(result.findings).toMatchObject([
      {
        key: "replication-slots/lost",
        severity: "high",
        evidence: { walStatus: "lost", invalidationReason: major >= 17 ? "wal_removed" : null },
      },
    ]);
    expect(result.findings[0]?.title).toContain("is lost");
    await session.query("select pg_drop_replication_slot('lost')");
    await session.close();
  });
});
