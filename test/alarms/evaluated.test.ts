import { describe, expect, it } from "vitest";
import type { Alarm, MetricReference } from "../../lib/alarms/alarm.ts";
import { alarmsFor, catalogue } from "../../lib/alarms/catalogue.ts";
import {
  memorySeries,
  type SeriesStore,
  seriesOf,
  seriesOfReference,
  type Writers,
} from "../../lib/sandbox/alarms/series.ts";
import { watchAlarms } from "../../lib/sandbox/alarms/watch.ts";
import { configOf, contextOf, factsOf, serversOf, type Topology, topologies } from "./contexts.ts";

const start = Date.parse("2026-03-02T00:00:00Z");

/** A cache, and one that may be full only when it must not be: between them, every entry that needs one. */
const caches = [{ enabled: true }, { enabled: true, maxMemoryPolicy: "volatile-lru" }];
/** Jobs that run so rarely that their own entries watch them. */
const rarely = { "check-health": "0 3 * * *", "check-recovery": "0 4 * * *" };

interface Case {
  topology: Topology;
  alarm: Alarm;
  writers: Writers;
}

const cases: Case[] = topologies.flatMap((topology) => {
  const byName = new Map<string, Case>();
  for (const sections of [
    ...caches.map((cache) => ({ cache })),
    { schedules: rarely },
    { database: { storageGigabytes: 100, maxStorageGigabytes: 500 } },
  ]) {
    const config = configOf(topology, sections);
    const writers = topology === "multi-az-cluster" ? serversOf(config).servers : ["primary"];
    for (const alarm of alarmsFor(contextOf(config))) {
      if (!byName.has(alarm.name)) byName.set(alarm.name, { topology, alarm, writers });
    }
  }
  return [...byName.values()];
});

/** A value of what the alarm looks at, beyond its limit or within, that the metric can have. */
function someValue(alarm: Alarm, beyond: boolean): number {
  const { comparison, threshold, source } = alarm;
  const [least, most] = source.kind === "share" ? [0, 100] : factsOf(source.metric).range;
  const upwards = comparison.startsWith(">");
  const candidates = [threshold, threshold + 1, threshold - 1, threshold * 2, threshold / 2, least, most];
  const found = candidates
    .filter((value) => Number.isFinite(value) && value >= least && value <= most)
    .find(
      (value) => (value === threshold ? comparison.endsWith("=") : value > threshold === upwards) === beyond,
    );
  if (found === undefined)
    throw new Error(`${alarm.name} has no value ${beyond ? "beyond" : "within"} its limit`);
  return found;
}

/** Sends one period's data of every series that the alarm reads; of several servers the last alone is bad. */
function send(store: SeriesStore, { alarm, writers }: Case, atMilliseconds: number, beyond: boolean): void {
  const { source } = alarm;
  const put = (reference: MetricReference, value: number, others = value) => {
    const ids = seriesOfReference(reference, alarm, writers);
    ids.forEach((id, index) => {
      store.add(id, { atMilliseconds, value: index === ids.length - 1 ? value : others });
    });
  };
  const value = someValue(alarm, beyond);
  if (source.kind === "metric") {
    put(source.metric, value, someValue(alarm, false));
    return;
  }
  const total = Math.max(1, source.atLeast) * 1000;
  const part = (value * total) / 100;
  put(source.part, part);
  const others = source.whole.filter((one) => JSON.stringify(one) !== JSON.stringify(source.part));
  const rest = others.length === source.whole.length ? total : total - part;
  for (const one of others) put(one, rest / others.length);
}

/** The periods, counted from 1, after which somebody is told. `undefined` sends nothing in a period. */
async function toldAfter(one: Case, periods: readonly ("good" | "bad" | "nothing")[]): Promise<string[]> {
  const { alarm, writers } = one;
  const store = memorySeries();
  const told: string[] = [];
  let period = 0;
  const watch = watchAlarms({
    // By itself: what silences it has tests of its own.
    alarms: [{ ...alarm, consequenceOf: [] }],
    store,
    writers,
    notify: ({ to }) => {
      told.push(`${to} after ${period}`);
    },
  });
  const length = alarm.timing.periodSeconds * 1000;
  for (const what of periods) {
    const from = start + period * length;
    period += 1;
    if (what !== "nothing") send(store, one, from + length / 2, what === "bad");
    await watch.evaluate(new Date(from + length));
  }
  return told;
}

const times = <T>(count: number, what: T): T[] => Array.from({ length: count }, () => what);

describe("every alarm of the catalogue", () => {
  it("is tried: each entry, in each topology that has it", () => {
    const tried = (topology?: Topology) =>
      new Set(
        cases
          .filter((one) => topology === undefined || one.topology === topology)
          .map(({ alarm }) => alarm.entry),
      );
    expect(catalogue.map(({ name }) => name).filter((name) => !tried().has(name))).toEqual([]);
    for (const topology of topologies) expect(tried(topology).size, topology).toBeGreaterThan(40);
  });

  it("reads series of the same metrics as on AWS", () => {
    for (const { alarm, writers } of cases) {
      const references =
        alarm.source.kind === "metric" ? [alarm.source.metric] : [alarm.source.part, ...alarm.source.whole];
      expect(
        new Set(seriesOf(alarm, writers).map(({ from, metric }) => `${from} ${metric}`)),
        alarm.name,
      ).toEqual(new Set(references.map(({ from, metric }) => `${from} ${metric}`)));
    }
  });
});

describe.each(topologies)("on %s", (topology) => {
  const mine = cases.filter((one) => one.topology === topology);

  it.each(mine.map((one) => ({ ...one, name: one.alarm.name })))(
    "$name fires once on a series beyond its limit, and clears",
    async (one) => {
      const { evaluationPeriods: n, datapointsToAlarm: m } = one.alarm.timing;
      const healthy = n + 2;
      const broken = n + 3;
      const told = await toldAfter(one, [
        ...times(healthy, "good" as const),
        ...times(broken, "bad" as const),
        ...times(n + 3, "good" as const),
      ]);
      expect(told).toEqual([`ALARM after ${healthy + m}`, `OK after ${healthy + broken + n - m + 1}`]);
    },
  );

  it.each(
    mine
      .filter(({ alarm }) => alarm.missingData === "breaching")
      .map((one) => ({ ...one, name: one.alarm.name })),
  )("$name fires when its data end, and clears when they come again", async (one) => {
    const { evaluationPeriods: n, datapointsToAlarm: m } = one.alarm.timing;
    const told = await toldAfter(one, [
      ...times(n + 2, "good" as const),
      ...times(n + 4, "nothing" as const),
      ...times(2, "good" as const),
    ]);
    // The two periods beyond those evaluated must be empty too before anything is filled in.
    expect(told).toEqual([`ALARM after ${n + 2 + m + 2}`, `OK after ${n + 2 + n + 4 + n - m + 1}`]);
  });

  it.each(
    mine
      .filter(({ alarm }) => alarm.missingData !== "breaching")
      .map((one) => ({ ...one, name: one.alarm.name })),
  )("$name does not fire when its data end", async (one) => {
    const { evaluationPeriods: n } = one.alarm.timing;
    const told = await toldAfter(one, [
      ...times(n + 2, "good" as const),
      ...times(n + 5, "nothing" as const),
      ...times(2, "good" as const),
    ]);
    expect(told).toEqual([]);
  });
});
