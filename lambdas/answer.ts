import { PgkeepError } from "../lib/errors.ts";
import {
  maximumAnswerBytes,
  maximumReasonCharacters,
  maximumTriggerBytes,
  type RunTrigger,
  type StepAnswer,
} from "../lib/jobs/invocation.ts";
import type { Job } from "../lib/jobs/job.ts";
import type { Json } from "../lib/json.ts";

/**
 * An answer that the state machine can carry. The report of a job that is too large is left out; an output that
 * the next step would need cannot be.
 * @throws PgkeepError `internal`
 */
export function passable(job: Job, stepName: string, given: StepAnswer): StepAnswer {
  const bytes = bytesOf(given);
  if (bytes <= maximumAnswerBytes) return given;
  const isLast = job.steps.filter(({ always }) => !always).at(-1)?.name === stepName;
  if (given.kind === "failed") {
    return { ...given, output: omitted(given.output), reason: shortened(given.reason) };
  }
  if (given.kind === "done" && isLast) return { ...given, output: omitted(given.output) };
  const what = given.kind === "again" ? "what it leaves for its next execution" : "its output";
  throw new PgkeepError(
    "internal",
    `${job.name}/${stepName}: ${what} has ${bytes} bytes, and a run carries ${maximumAnswerBytes} from step to step`,
    { remedy: "report this: the step has to say less" },
  );
}

/**
 * Refuses what each step would have to carry besides.
 * @throws PgkeepError `usage`
 */
export function requirePassableTrigger(job: Job, trigger: RunTrigger): void {
  const bytes = bytesOf(trigger);
  if (bytes <= maximumTriggerBytes) return;
  throw new PgkeepError(
    "usage",
    `${job.name} was started with ${bytes} bytes, and it takes ${maximumTriggerBytes}`,
    { remedy: "give smaller arguments" },
  );
}

/** The same error, no longer than a run carries as its failure. */
export function carried(error: unknown): unknown {
  if (!(error instanceof Error) || error.message.length <= maximumReasonCharacters) return error;
  const short = new PgkeepError(
    error instanceof PgkeepError ? error.code : "internal",
    shortened(error.message),
    {
      ...(error instanceof PgkeepError && error.remedy !== undefined ? { remedy: error.remedy } : {}),
    },
  );
  // With the whole message in it; the log has that.
  short.stack = "";
  return short;
}

function shortened(text: string): string {
  return text.length <= maximumReasonCharacters ? text : `${text.slice(0, maximumReasonCharacters)}…`;
}

export function omitted(report: Json): Json {
  return { omitted: "the report is too large to pass on", bytes: bytesOf(report) };
}

export function bytesOf(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value));
}
