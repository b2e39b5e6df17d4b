import { createHash } from "node:crypto";
import type { Run } from "./job.ts";

/** Sortable, unique, and safe as a part of an instance's name: `20260102t030405z-1a2b3c`. */
export function runIdentity(startedAt: Date, suffix: string): string {
  const stamp = startedAt
    .toISOString()
    .replace(/[-:]|\.\d+/g, "")
    .toLowerCase();
  return `${stamp}-${suffix}`;
}

/** The run of an execution of a state machine: the same in each of its steps, however long the execution's name. */
export function runOfExecution(job: string, execution: { id: string; startedAt: string }): Run {
  const startedAt = new Date(execution.startedAt);
  const suffix = createHash("sha256").update(execution.id).digest("hex").slice(0, 8);
  return { id: runIdentity(startedAt, suffix), job, startedAt };
}
