import { describe, expect, it } from "vitest";
import { seededRandom } from "../../lib/sandbox/application/random.ts";
import { allMajors, useServer } from "../helpers/postgres.ts";
import { killAtRandomMoments } from "../partitions/killing.ts";

/** Spread over the versions; the full run has 200. */
const trials = Number(process.env.PGKEEP_TORTURE_TRIALS ?? 15);
const seed = Number(process.env.PGKEEP_TORTURE_SEED ?? 20_260_101);
const trialsEach = Math.ceil(trials / allMajors.length);

describe.each(allMajors)("manage-partitions on PostgreSQL %i, killed at random moments", (major) => {
  const server = useServer(major, { settings: { autovacuum: "off" } });

  it(`loses no row, and completes in the next run (${trialsEach} trials)`, {
    timeout: trialsEach * 60_000 + 60_000,
  }, async () => {
    const { interrupted } = await killAtRandomMoments(server, seededRandom(seed + major), trialsEach);
    // Or the kills would prove nothing.
    expect(interrupted).toBeGreaterThan(0);
  });
});
