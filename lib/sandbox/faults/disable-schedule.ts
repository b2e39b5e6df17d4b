import { existsSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { exists } from "../owner.ts";
import type { SandboxState } from "../state.ts";
import type { Fault, FaultContext } from "./fault.ts";
import { jobArgument } from "./jobs.ts";

/** Stands for every job. */
const everyJob = "every-job";

/** One empty file for each job whose schedule is off. */
function directoryOf(state: Pick<SandboxState, "directory">): string {
  return join(state.directory, "faults", "disable-schedule");
}

/** Whether the fault `disable-schedule` keeps the job from being started, for whoever starts jobs of this sandbox. */
export function isScheduleDisabled(state: Pick<SandboxState, "directory">, job: string): boolean {
  return [everyJob, job].some((name) => existsSync(join(directoryOf(state), name)));
}

export const disableSchedule: Fault = {
  name: "disable-schedule",
  alarms: [
    "health-check-absent",
    "job-absent",
    "backup-late",
    "backup-absent",
    "drill-absent",
    "job-overdue",
  ],
  argument: jobArgument,
  summary:
    "start no job any more, or not that one, as a disabled schedule on AWS: what must run each minute is missed within five; by hand it still runs",
  apply: async (context) => {
    const { mark, whose, details } = marker(context);
    if (await exists(mark)) {
      return { outcome: "already-applied", message: `the schedule of ${whose} is disabled`, details };
    }
    await mkdir(directoryOf(context.state), { recursive: true, mode: 0o700 });
    await writeFile(mark, "", { mode: 0o600 });
    return {
      outcome: "applied",
      message: `the schedule of ${whose} was disabled: nothing starts it any more`,
      details,
    };
  },
  repair: async (context) => {
    const { mark, whose, details } = marker(context);
    if (!(await exists(mark))) {
      return { outcome: "not-applied", message: `the schedule of ${whose} is not disabled`, details };
    }
    await rm(mark, { force: true });
    return { outcome: "repaired", message: `the schedule of ${whose} is enabled again`, details };
  },
};

function marker({ state, argument }: FaultContext) {
  return {
    mark: join(directoryOf(state), argument ?? everyJob),
    whose: argument ?? "every job",
    details: { job: argument ?? null },
  };
}
