import { createHash } from "node:crypto";

/** Longest name of a Lambda function, of a role and of a schedule; state machines may have 80. */
const longestName = 64;

/**
 * `pgkeep-<key>-<job>[-<step>]`: the name of a job's state machine and schedule, or of a step's function and role.
 * What is too long keeps its begin and gets a digest of the whole, so that two long names stay apart.
 */
export function jobResourceName(key: string, job: string, step?: string): string {
  const name = ["pgkeep", key, job, ...(step === undefined ? [] : [step])].join("-");
  if (name.length <= longestName) return name;
  const digest = createHash("sha256").update(name).digest("hex").slice(0, 8);
  return `${name.slice(0, longestName - digest.length - 1)}-${digest}`;
}
