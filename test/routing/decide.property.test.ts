import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type DatabaseConfig, databaseConfigSchema } from "../../lib/config/schema.ts";
import type { RoutingDocument } from "../../lib/ports/routing.ts";
import { decideRouting } from "../../lib/routing/decide.ts";
import { parseRoutingDocument } from "../../lib/routing/document.ts";
import type { PrimaryProbe, Probe, ReplicaProbe } from "../../lib/routing/probe.ts";
import { behind, dead, deadPrimary, lsn, primary, replica, Series, walEnd } from "./probes.ts";

const names = ["a", "b", "c", "d"] as const;
const pooledEndpoint = { host: "pooler", port: 6432 };

const anyReplica = (name: string): fc.Arbitrary<ReplicaProbe> =>
  fc.oneof(
    fc.constant(dead(name)),
    fc.constant(replica(name)),
    fc.record({ problem: fc.constant("it is not a standby any more") }).map((bad) => replica(name, bad)),
    fc.constant(replica(name, { systemIdentifier: "99" })),
    fc
      .record({
        bytes: fc.oneof(fc.integer({ min: 0, max: 2_000 }), fc.integer({ min: 0, max: 2 ** 31 })),
        seconds: fc.oneof(fc.constant(null), fc.double({ min: 0, max: 10_000, noNaN: true })),
        replayPaused: fc.boolean(),
        receiver: fc.option(
          fc.record({
            status: fc.constantFrom("streaming", "starting", null),
            latestEndLsn: fc.constantFrom(null, lsn(walEnd), lsn(walEnd + 2 ** 30)),
            lastMessageAgeSeconds: fc.constantFrom(null, 1, 1_000),
            timeline: fc.constantFrom(null, 1, 2),
          }),
        ),
        pooled: fc.constantFrom(null, true, false),
      })
      .map(({ bytes, seconds, replayPaused, receiver, pooled }) =>
        behind(name, bytes, 0, {
          lastReplayedAgeSeconds: seconds,
          replayPaused,
          receiver,
          ...(pooled === null ? {} : { pooledEndpoint, pooledAnswers: pooled }),
        }),
      ),
  );

const anyPrimary: fc.Arbitrary<PrimaryProbe> = fc.constantFrom(
  primary(),
  primary(),
  primary({ timeline: 2 }),
  primary({ walLsn: lsn(walEnd + 2 ** 20) }),
  primary({ problem: "it is in recovery", walLsn: null, timeline: null }),
  deadPrimary,
);

const anyLimits = fc
  .record({
    maxLagSeconds: fc.integer({ min: 1, max: 300 }),
    resumeShare: fc.double({ min: 0, max: 1, noNaN: true }),
    maxLagBytes: fc.integer({ min: 1, max: 2 ** 30 }),
    warmUpSeconds: fc.constantFrom(0, 30, 60, 300),
    primaryServesReads: fc.constantFrom("never" as const, "last-resort" as const, "always" as const),
  })
  .map(({ resumeShare, ...limits }) => ({
    ...limits,
    resumeLagSeconds: Math.floor(limits.maxLagSeconds * resumeShare),
    resumeLagBytes: Math.floor(limits.maxLagBytes * resumeShare),
  }));

interface Moment {
  afterSeconds: number;
  primary: PrimaryProbe;
  replicas: ReplicaProbe[];
}

const anyMoment: fc.Arbitrary<Moment> = fc.record({
  afterSeconds: fc.oneof(fc.constant(60), fc.integer({ min: -100_000, max: 100_000 })),
  primary: anyPrimary,
  replicas: fc.subarray([...names]).chain((some) => fc.tuple(...some.map(anyReplica))),
});

const anySeries = fc.record({
  limits: anyLimits,
  moments: fc.array(anyMoment, { minLength: 1, maxLength: 12 }),
});

/** Runs the moments one after another; `look` sees each document with the one before. */
function play(
  limits: Record<string, unknown>,
  moments: readonly Moment[],
  look: (now: RoutingDocument, before: RoutingDocument | undefined, moment: Moment, series: Series) => void,
): void {
  const series = new Series(limits);
  for (const moment of moments) {
    const before = series.document;
    look(series.run(moment.replicas, moment.primary, moment.afterSeconds), before, moment, series);
  }
}

function freeze<T>(value: T): T {
  if (typeof value === "object" && value !== null) {
    Object.values(value).forEach(freeze);
    Object.freeze(value);
  }
  return value;
}

describe("whatever was seen, in whatever order and at whatever times, the document", () => {
  it("is valid, names every server, and weighs exactly those that serve", () => {
    fc.assert(
      fc.property(anySeries, ({ limits, moments }) => {
        play(limits, moments, (document, before, moment, series) => {
          expect(parseRoutingDocument(JSON.stringify(document), "it")).toEqual(document);
          if (document.basis === "probed") {
            expect(document.replicas.map(({ name }) => name)).toEqual(
              moment.replicas.map(({ name }) => name),
            );
          }
          const weights = document.replicas
            .filter(({ state }) => state === "serving")
            .map(({ weight }) => weight);
          expect(document.replicas.every(({ state, weight }) => weight === 0 || state === "serving")).toBe(
            true,
          );
          expect(weights.reduce((sum, weight) => sum + weight, 0)).toBe(weights.length === 0 ? 0 : 100);
          expect(Math.max(0, ...weights) - Math.min(100, ...weights)).toBeLessThanOrEqual(1);
          for (const { reason } of [document, document.primary, ...document.replicas]) {
            expect(reason).not.toMatch(/undefined|NaN|null/);
            expect(reason.length).toBeGreaterThan(5);
          }
          const kept = before !== undefined && document.version === before.version;
          if (kept) expect({ ...document, basis: 0, reason: 0 }).toEqual({ ...before, basis: 0, reason: 0 });
          else {
            expect(document.version).toBe((before?.version ?? 0) + 1);
            expect(document.publishedAt).toBe(series.now.toISOString());
            for (const { since, caughtUpAt } of document.replicas) {
              expect(Date.parse(since)).toBeLessThanOrEqual(series.now.getTime());
              expect(Date.parse(caughtUpAt ?? since)).toBeLessThanOrEqual(series.now.getTime());
            }
          }
        });
      }),
      { numRuns: 300 },
    );
  });

  it("sends reads somewhere whenever a usable standby, or a primary that may, answers", () => {
    fc.assert(
      fc.property(anySeries, ({ limits, moments }) => {
        play(limits, moments, (document) => {
          if (document.basis !== "probed") return;
          const { reachable, servesReads } = document.primary;
          const serving = document.replicas.some(({ weight }) => weight > 0);
          const usable = document.replicas.some(({ state }) => state !== "unreachable");
          const mayUsePrimary = reachable && limits.primaryServesReads !== "never";
          expect(serving || servesReads).toBe(usable || mayUsePrimary);
          if (servesReads) expect(mayUsePrimary).toBe(true);
        });
      }),
      { numRuns: 300 },
    );
  });

  it("is a function of its input, which it leaves alone", () => {
    fc.assert(
      fc.property(anySeries, ({ limits, moments }) => {
        const config: DatabaseConfig = { key: "test", ...databaseConfigSchema.parse({ replicas: limits }) };
        let previous: RoutingDocument | undefined;
        let now = new Date("2026-01-02T03:00:00Z");
        for (const moment of moments) {
          now = new Date(now.getTime() + moment.afterSeconds * 1000);
          const { primary, replicas } = moment;
          const probe: Probe = freeze({ probedAt: now.toISOString(), primary, replicas });
          const input = { probe, previous, config: freeze(config), now };
          const document = decideRouting(input);
          expect(decideRouting(input)).toEqual(document);
          previous = freeze(document);
        }
      }),
      { numRuns: 100 },
    );
  });
});

describe("a lag that only wanders between the two limits", () => {
  const limits = { maxLagSeconds: 100, resumeLagSeconds: 20, maxLagBytes: 1_000_000, resumeLagBytes: 1_000 };
  const between = fc.array(
    fc.record({
      bytes: fc.integer({ min: 1_001, max: 1_000_000 }),
      seconds: fc.double({ min: 20.01, max: 100, noNaN: true }),
    }),
    { minLength: 1, maxLength: 30 },
  );

  it("never stops a replica that serves", () => {
    fc.assert(
      fc.property(between, (lags) => {
        const series = new Series(limits);
        series.run([replica("a"), replica("b")]);
        for (const { bytes, seconds } of lags) {
          series.run([behind("a", bytes, seconds), replica("b")]);
          expect(series.state("a")).toBe("serving");
        }
      }),
    );
  });

  it("never lets one serve that does not", () => {
    fc.assert(
      fc.property(between, fc.boolean(), (lags, wasDead) => {
        const series = new Series({ ...limits, warmUpSeconds: 0 });
        series.run([wasDead ? dead("a") : behind("a", 2_000_000, 50), replica("b")]);
        for (const { bytes, seconds } of lags) {
          series.run([behind("a", bytes, seconds), replica("b")]);
          expect(series.state("a")).toBe("lagging");
        }
      }),
    );
  });
});

describe("a replica that stopped serving", () => {
  it("serves again only after it was well in each run for the whole of the warm-up", () => {
    const warmUpSeconds = 150;
    const kinds = fc.constantFrom("well", "well", "well", "between", "behind", "dead", "paused");
    const resumeLagSeconds = 20;
    // WAL is outstanding for no longer than since the run before: after a shorter time no lag is above that limit.
    const gap = fc.integer({ min: resumeLagSeconds + 1, max: 120 });
    fc.assert(
      fc.property(fc.array(fc.tuple(kinds, gap), { maxLength: 40 }), (runs) => {
        const series = new Series({ warmUpSeconds, maxLagSeconds: 100, resumeLagSeconds });
        series.run([replica("a"), replica("b")]);
        let wellFor = Number.POSITIVE_INFINITY;
        let serving = true;
        for (const [kind, seconds] of runs) {
          const probes: Record<typeof kind, ReplicaProbe> = {
            well: replica("a"),
            between: behind("a", 10, 50),
            behind: behind("a", 2 ** 29, 50),
            dead: dead("a"),
            paused: replica("a", { replayPaused: true }),
          };
          series.run([probes[kind], replica("b")], primary(), seconds);
          const was: boolean = serving;
          if (kind === "well") wellFor = Number.isNaN(wellFor) ? 0 : wellFor + seconds;
          else if (kind !== "between" || !was) wellFor = Number.NaN;
          serving = was ? kind === "well" || kind === "between" : wellFor >= warmUpSeconds * 0.95;
          expect(series.state("a") === "serving").toBe(serving);
        }
      }),
      { numRuns: 200 },
    );
  });
});
