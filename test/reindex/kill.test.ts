import { expect, it } from "vitest";
import { seededRandom } from "../../lib/sandbox/application/random.ts";
import { useServer } from "../helpers/postgres.ts";
import { killAtRandomMoments } from "./killing.ts";

const server = useServer(undefined, { settings: { autovacuum: "off" } });

it("never takes an index from a table, however it is killed, and completes in the next run", {
  timeout: 180_000,
}, async () => {
  const { interrupted, leftoversDropped } = await killAtRandomMoments(server, seededRandom(20_260_101), 10);
  // Or the kills would prove nothing.
  expect(interrupted).toBeGreaterThan(2);
  expect(leftoversDropped).toBeGreaterThan(0);
});
