import { describe, expect, it } from "vitest";
import { systemClock } from "../../lib/clock.ts";
import { jobNamed } from "../../lib/jobs/index.ts";
import { defineJob, done, step } from "../../lib/jobs/job.ts";
import { runDeployed } from "../../lib/jobs/run-deployed.ts";
import type { DeployedRuns, ExecutionState } from "../../lib/ports/deployed-runs.ts";

const startedAt = new Date("2026-01-02T03:04:05.678Z");
const stoppedAt = new Date("2026-01-02T03:04:15.678Z");

/** Executions that are seen in these states, one after the other. */
function seen(...states: Partial<ExecutionState>[]): { runs: DeployedRuns; started: unknown[] } {
  const started: unknown[] = [];
  return {
    started,
    runs: {
      call: async () => ({ kind: "busy" }),
      start: async (...given) => {
        started.push(given);
        return {
          id: "arn:execution",
          look: async () => ({ status: "running", startedAt, entered: [], output: null, ...states.shift() }),
        };
      },
    },
  };
}

async function run(job: string, runs: DeployedRuns, more: { arguments?: unknown; dryRun?: boolean } = {}) {
  const progress: string[] = [];
  const result = await runDeployed(jobNamed(job), {
    runs,
    clock: systemClock,
    signal: new AbortController().signal,
    onProgress: (message) => void progress.push(message),
    pollMilliseconds: 1,
    ...more,
  });
  return { result, progress };
}

describe("a deployed run", () => {
  it("shows a step once, however often it asks for another execution", async () => {
    const polls = ["restore", "restore: answer", "restore: again soon", "restore: wait"];
    const { runs } = seen(
      { entered: ["Claim the run", ...polls, "restore"] },
      { entered: polls },
      { entered: ["restore", "prove"] },
      { status: "aborted", stoppedAt, failure: { error: "", cause: "", answers: [], data: null } },
    );
    const { progress } = await run("drill-restore", runs);
    expect(progress).toEqual(["started arn:execution", "drill-restore: restore", "drill-restore: prove"]);
  });

  it.each([
    ["aborted", "its execution was stopped by somebody", "internal"],
    ["timed-out", "its execution took too long", "timeout"],
  ] as const)("that was %s failed", async (status, reason, code) => {
    const failure = { error: "", cause: "", answers: [], data: null };
    const { result } = await run("drill-restore", seen({ status, stoppedAt, failure }).runs);
    expect(result).toMatchObject({ outcome: "failed", reason, error: { code }, seconds: 10, report: null });
  });

  it("that found another one under way is skipped, with the reason", async () => {
    const output = { outcome: "skipped", reason: "run 7 is under way since 03:00" };
    const { result } = await run("drill-restore", seen({ status: "succeeded", stoppedAt, output }).runs);
    expect(result).toMatchObject({
      outcome: "skipped",
      report: { alreadyRunning: true },
      reason: "run 7 is under way since 03:00",
      warnings: [],
    });
  });

  it("is not started with arguments that the job does not take", async () => {
    const { runs, started } = seen();
    await expect(run("back-up", runs, { arguments: { prune: "maybe" } })).rejects.toMatchObject({
      name: "UsageError",
      message: expect.stringContaining("prune"),
    });
    expect(started).toEqual([]);
  });

  it("is not started dry when the job has no dry run", async () => {
    const wet = defineJob({
      name: "wet",
      summary: "No dry run",
      schedule: "0 * * * *",
      steps: [step("only", { where: "database", needs: [], timeoutSeconds: 1, run: async () => done({}) })],
    });
    const { runs } = seen();
    const options = { runs, clock: systemClock, signal: new AbortController().signal, onProgress: () => {} };
    await expect(runDeployed(wet, { ...options, dryRun: true })).rejects.toMatchObject({
      code: "refused",
      message: "wet has no dry run",
    });
  });
});
