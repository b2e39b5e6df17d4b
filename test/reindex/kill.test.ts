import { expect, it } from "vitest";
import { seededRandom } from "../../lib/sandbox/application/random.ts";
import { useServer } from "../helpers/postgres.ts";
import { killAtRandomMoments, killDuringBuild, whole } from "./killing.ts";

const server = useServer(undefined, { settings: { autovacuum: "off" } });

it("never takes an index from a table, however it is killed, and completes in the next run", {
  timeout: 360_000,
}, async () => {
  // Moments are random: until some of them have left something, or the kills would prove nothing.
  let interrupted = 0;
  for (let round = 0; round < 6 && interrupted < 2; round += 1) {
    interrupted += (await killAtRandomMoments(server, seededRandom(20_260_101 + round), 8)).interrupted;
  }
  expect(interrupted).toBeGreaterThan(1);
});

it("removes the index of a build during which it was killed, and only that", async () => {
  const { left, after, report } = await killDuringBuild(server);
  expect(left).toEqual([expect.stringMatching(/^kept_(?:pkey|code|lower)_ccnew\d* \(invalid\)$/)]);
  expect(report.leftoversDropped.total).toBe(1);
  expect(report.rebuilt.total).toBe(3);
  expect(after).toEqual(whole);
});
