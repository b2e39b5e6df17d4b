import { availableParallelism, totalmem } from "node:os";
import type { Machine } from "../../alarms/alarm.ts";
import type { DatabaseConfig } from "../../config/schema.ts";
import { runningPostmaster } from "../processes.ts";
import type { SandboxState, ServerState } from "../state.ts";
import { Asking } from "./asking.ts";
import { AskingPooler } from "./asking-pooler.ts";
import { connections } from "./connections.ts";
import { counters } from "./counters.ts";
import { io } from "./io.ts";
import { log } from "./log.ts";
import type { LiveServer, Measure, Measurement } from "./measure.ts";
import { pooler } from "./pooler.ts";
import { processTables } from "./process-table.ts";
import { processes } from "./processes.ts";
import { replication } from "./replication.ts";
import { storage } from "./storage.ts";

export type { Measurement } from "./measure.ts";
export { ballastFile } from "./storage.ts";

/** Everything of AWS's side that can be measured in a sandbox. What cannot is in `unmeasured.ts`. */
export const measures: readonly Measure[] = [
  connections,
  processes,
  storage,
  replication,
  counters,
  io,
  pooler,
  log,
];

export interface MeasurerOptions {
  /** Read at each measuring: ports and poolers may change. */
  state: SandboxState;
  config: DatabaseConfig;
  /** What the alarms take each server's machine for (`AlarmContext.machine`). Default: this machine. */
  machine?: Machine | undefined;
}

export interface Measurer {
  /**
   * Measures what AWS would have sent for this moment, in the time of some tens of milliseconds. Never rejects because
   * something is down: its metrics are absent then, as CloudWatch's are. Rates are of the real time since the previous
   * call, whatever minute the caller counts it for, and absent in the first. Not for concurrent use.
   */
  measure(): Promise<Measurement[]>;
  /** Ends the sessions that are kept between the calls, one with each server and one with PgBouncer. */
  close(): Promise<void>;
}

/** Begins measuring a sandbox, in the process that owns it or in another one of its user. */
export function createMeasurer({ state, config, machine = thisMachine() }: MeasurerOptions): Measurer {
  const started = measures.map((measure) => measure.start());
  const asking = new Asking(state);
  const console = new AskingPooler();
  return {
    async measure() {
      const servers = await liveServers([state.primary, ...state.replicas]);
      const context = { state, config, machine, servers, ask: asking.round(), askPooler: console.ask };
      return (await Promise.all(started.map((measure) => measure(context)))).flat();
    },
    close: async () => {
      await Promise.all([asking.close(), console.close()]);
    },
  };
}

async function liveServers(servers: readonly ServerState[]): Promise<LiveServer[]> {
  const [postmasters, tables] = await Promise.all([
    Promise.all(servers.map(({ dataDirectory }) => runningPostmaster(dataDirectory))),
    processTables(servers.map(({ dataDirectory }) => dataDirectory)),
  ]);
  return servers.flatMap((server, index) => {
    const postmaster = postmasters[index];
    const processes = tables[index] ?? [];
    return postmaster === undefined ? [] : [{ ...server, postmaster: postmaster.pid, processes }];
  });
}

function thisMachine(): Machine {
  return { memoryBytes: totalmem(), vcpus: availableParallelism() };
}
