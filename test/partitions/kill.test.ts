import { expect, it } from "vitest";
import { seededRandom } from "../../lib/sandbox/application/random.ts";
import { useServer } from "../helpers/postgres.ts";
import { killAtRandomMoments } from "./killing.ts";

const server = useServer(undefined, { settings: { autovacuum: "off" } });

/** More by hand; test/torture has them on all versions. */
const trials = Number(process.env.PGKEEP_TORTURE_TRIALS ?? 4);

it("loses no row and leaves nothing half-made, however it is killed, and completes in the next run", {
  timeout: 60_000 + trials * 20_000,
}, async () => {
  const { interrupted } = await killAtRandomMoments(server, seededRandom(20_260_101), trials);
  // Or the kills would prove nothing.
  expect(interrupted).toBeGreaterThan(0);
});
