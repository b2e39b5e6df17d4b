import { availableParallelism } from "node:os";
import { every } from "./every.ts";
import { heldFault, pidOf, requireApplication } from "./held-fault.ts";

/** Of a statement that takes some tenths of a second: nobody would call it long. */
const rows = 1_500_000;
/** More than can run at the same time. */
const sessionsBeyondCpus = 2;

export const cpuStorm = heldFault(
  "cpu-storm",
  ["cpu-high", "db-load"],
  `compute without pause in ${sessionsBeyondCpus} more sessions than this machine has CPUs: the CPU is saturated, and more sessions are active than can run`,
  async (context, open, goOn) => {
    await requireApplication(context);
    const cpus = availableParallelism();
    const sessions = await Promise.all(Array.from({ length: cpus + sessionsBeyondCpus }, () => open()));
    const pids = await Promise.all(sessions.map(pidOf));
    for (const session of sessions) {
      await session.query("set max_parallel_workers_per_gather = 0");
      goOn((signal) =>
        every(0, signal, async () => {
          await session.query(
            `select sum(sqrt(o.total_cents + copy)) from generate_series(1, ${rows}) copy
               cross join (select total_cents from shop.orders limit 1) o`,
          );
        }),
      );
    }
    return {
      message: `${pids.length} sessions of the application compute without pause on ${cpus} CPUs`,
      details: { pids, cpus },
    };
  },
);
