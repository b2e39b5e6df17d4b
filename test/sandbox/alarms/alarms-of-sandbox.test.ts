import { describe, expect, it } from "vitest";
import { jobs } from "../../../lib/jobs/index.ts";
import { sandboxAlarms } from "../../../lib/sandbox/alarms/alarms-of-sandbox.ts";
import { seriesOf } from "../../../lib/sandbox/alarms/series.ts";
import { configOf, type Topology, topologies } from "../../alarms/contexts.ts";

const server = (name: string) => ({ name, dataDirectory: `/nowhere/${name}`, port: 1 });
const state = {
  primary: server("primary"),
  replicas: [server("replica-1"), server("replica-2")],
  poolers: null,
};

const alarmsOf = (
  topology: Topology,
  sections: Record<string, Record<string, unknown>> = {},
  poolers: [] | null = null,
) =>
  sandboxAlarms({
    state: { ...state, poolers },
    config: configOf(topology, sections),
    jobs,
    maxConnections: 100,
    machine: { memoryBytes: 8 * 2 ** 30, vcpus: 2 },
  });

describe("the alarms of a sandbox", () => {
  it.each(topologies)("are those of an instance with its replicas, also for %s", (topology) => {
    const alarms = alarmsOf(topology, { cache: { enabled: true } });
    const entries = new Set(alarms.map(({ entry }) => entry));
    expect([...entries]).toEqual(
      expect.arrayContaining(["database-down", "replica-lag", "free-storage", "job-absent"]),
    );
    expect([...entries].filter((entry) => /aurora|standby|cache-[a-gi-z]|proxy-/.test(entry))).toEqual([]);
    const servers = alarms.flatMap((alarm) =>
      seriesOf(alarm).flatMap(({ dimensions: { Server } }) => Server ?? []),
    );
    expect(new Set(servers)).toEqual(new Set(["primary", "replica-1", "replica-2"]));
  });

  it("have the proxy's where there are poolers, and limits of what really runs", () => {
    const alarms = alarmsOf("instance", {}, []);
    expect(alarms.some(({ entry }) => entry === "proxy-unavailable")).toBe(true);
    expect(alarms.find(({ name }) => name === "database-connections")?.threshold).toBe(90);
  });

  it("are none when the configuration wants none", () => {
    expect(alarmsOf("instance", { alarms: { enabled: false } })).toEqual([]);
  });
});
