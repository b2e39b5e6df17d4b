import { availableParallelism, platform } from "node:os";
import { type LiveServer, type Measure, type Measurement, ofServer } from "./measure.ts";

interface CpuSample {
  postmaster: number;
  cpuSeconds: number;
  atSeconds: number;
}

/** Between two samples that are nearer, a single tick of the kernel's clock would be much of the answer. */
const shortestSeconds = 0.05;

/**
 * - `CPUUtilization`. AWS: percent of the instance's CPU that is used, by whatever runs there. Ours: CPU time of the
 *   server's processes since the previous sample, in percent of all cores of this machine, which its servers share.
 *   Absent in the first sample after a start.
 * - `FreeableMemory`. AWS: MemAvailable of the instance's /proc/meminfo. Ours: the memory of the machine that the
 *   alarms assume, less the private memory of the server's processes, and the shared memory that one of them has
 *   touched at most. The operating system takes nothing.
 * - `SwapUsage`. AWS: swap used on the instance. Ours: what of the server's processes is swapped out; 0 on a machine
 *   without swap, and on macOS, which does not tell.
 *
 * Absent while the server does not run.
 */
export const processes: Measure = {
  metrics: ["CPUUtilization", "FreeableMemory", "SwapUsage"],
  start() {
    const samples = new Map<string, CpuSample>();
    return async ({ servers, machine }) =>
      servers.flatMap((server): Measurement[] => {
        if (server.processes.length === 0) return [];
        const shared = Math.max(...server.processes.map(({ sharedBytes }) => sharedBytes));
        const used = shared + sum(server, ({ privateBytes }) => privateBytes);
        const cpu = cpuPercent(samples, server);
        return [
          ...(cpu === undefined ? [] : [ofServer("CPUUtilization", server, cpu)]),
          ofServer("FreeableMemory", server, Math.max(0, machine.memoryBytes - used)),
          ofServer(
            "SwapUsage",
            server,
            sum(server, ({ swapBytes }) => swapBytes),
          ),
        ];
      });
  },
};

function cpuPercent(samples: Map<string, CpuSample>, server: LiveServer): number | undefined {
  const now: CpuSample = {
    postmaster: server.postmaster,
    cpuSeconds: sum(server, ({ cpuSeconds }) => cpuSeconds),
    atSeconds: performance.now() / 1000,
  };
  const before = samples.get(server.name);
  const comparable = before?.postmaster === now.postmaster;
  if (comparable && now.atSeconds - before.atSeconds < shortestSeconds) return undefined;
  const used = comparable ? now.cpuSeconds - before.cpuSeconds : -1;
  // On Linux less than before is a process that has ended and is not yet counted to its parent: it will be.
  if (!comparable || used >= 0 || platform() !== "linux") samples.set(server.name, now);
  if (!comparable || used < 0) return undefined;
  const share = used / (now.atSeconds - before.atSeconds) / availableParallelism();
  return Math.min(100, 100 * share);
}

function sum(
  { processes: all }: LiveServer,
  value: (process: LiveServer["processes"][number]) => number,
): number {
  return all.reduce((total, process) => total + value(process), 0);
}
