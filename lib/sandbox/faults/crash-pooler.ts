import { PgkeepError } from "../../errors.ts";
import {
  findPgbouncer,
  isPoolerRunning,
  crashPooler as kill,
  noPgbouncer,
  restartPooler,
} from "../pooler.ts";
import type { PoolerState, SandboxState } from "../state.ts";
import { saveState } from "../state-file.ts";
import type { Fault } from "./fault.ts";

export const crashPooler: Fault = {
  name: "crash-pooler",
  alarms: ["proxy-unavailable"],
  argument: { word: "primary", values: ["primary"] },
  summary:
    "kill the PgBouncer in front of the first replica (of the primary, when there is none or it is asked for): the routing document sends reads past it, straight to the server",
  apply: async ({ state, argument }) => {
    const { pooler, details } = choose(state, argument);
    if (!(await isPoolerRunning(pooler))) {
      return { outcome: "already-applied", message: `the pooler of ${pooler.name} is not running`, details };
    }
    await kill(pooler);
    return { outcome: "applied", message: `the pooler of ${pooler.name} was killed`, details };
  },
  repair: async ({ state, argument }) => {
    const { poolers, index, pooler, details } = choose(state, argument);
    if (await isPoolerRunning(pooler)) {
      return { outcome: "not-applied", message: `the pooler of ${pooler.name} is running`, details };
    }
    const pgbouncer = await findPgbouncer();
    if (pgbouncer === null) throw new PgkeepError("refused", noPgbouncer);
    poolers[index] = await restartPooler(pooler, { pgbouncer, owner: state.owner });
    await saveState(state);
    return { outcome: "repaired", message: `the pooler of ${pooler.name} answers again`, details };
  },
};

/** @throws PgkeepError `refused` when the sandbox has no poolers */
function choose(state: SandboxState, wanted = state.replicas[0]?.name) {
  const poolers: PoolerState[] = state.poolers ?? [];
  const index = Math.max(
    0,
    poolers.findIndex(({ name }) => name === wanted),
  );
  const pooler = poolers[index];
  if (pooler === undefined) {
    throw new PgkeepError("refused", "this sandbox has no pooler to break", {
      remedy: "install PgBouncer and leave `pooling.enabled` on, then start the sandbox again",
    });
  }
  return { poolers, index, pooler, details: { pooler: pooler.name, port: pooler.port } };
}
