import { expect, it } from "vitest";
import { seededRandom } from "../../lib/sandbox/application/random.ts";
import { useServer } from "../helpers/postgres.ts";
import { killAtRandomMoments } from "./killing.ts";

const server = useServer(undefined, { settings: { autovacuum: "off" } });

it("never takes an index from a table, however it is killed, and completes in the next run", {
  timeout: 360_000,
}, async () => {
  // Moments are random: until some of them have left something, or the kills would prove nothing.
  const seen = { interrupted: 0, leftoversDropped: 0 };
  for (let round = 0; round < 6 && (seen.interrupted < 2 || seen.leftoversDropped === 0); round += 1) {
    const killed = await killAtRandomMoments(server, seededRandom(20_260_101 + round), 8);
    seen.interrupted += killed.interrupted;
    seen.leftoversDropped += killed.leftoversDropped;
  }
  expect(seen.interrupted).toBeGreaterThan(1);
  expect(seen.leftoversDropped).toBeGreaterThan(0);
});
