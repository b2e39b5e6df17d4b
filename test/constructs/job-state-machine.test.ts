import { describe, expect, it } from "vitest";
import { type State, stateMachineDefinition } from "../../lib/constructs/state-machine-definition.ts";
import { functionTimeoutSeconds } from "../../lib/constructs/step-function.ts";
import { drillRestore } from "../../lib/jobs/drill-restore.ts";
import { jobs } from "../../lib/jobs/index.ts";
import { defineJob, done, type Job, step } from "../../lib/jobs/job.ts";
import type { Json } from "../../lib/json.ts";
import { StatesError, walk } from "../helpers/states-language.ts";

const waitLimitSeconds = 7_200;

function definitionOf(job: Job, limit = waitLimitSeconds) {
  return stateMachineDefinition({
    job,
    functionArns: Object.fromEntries(job.steps.map(({ name }) => [name, `arn:${name}`])),
    functionTimeoutSeconds,
    waitLimitSeconds: limit,
    partition: "aws",
  });
}

interface Called {
  step: string;
  event: Record<string, Json>;
}

type Answer = Json | ((event: Record<string, Json>) => Json);

const own = "arn:execution:own";
const listing = (...arns: string[]) => ({ Executions: arns.map((ExecutionArn) => ({ ExecutionArn })) });
const ok = (output: Json): Json => ({ kind: "done", output });

/** Runs the state machine of a job whose steps answer as given; the last answer of a step is repeated. */
async function execute(
  job: Job,
  answers: Record<string, Answer[]>,
  options: { running?: Json | StatesError; input?: Json; limit?: number } = {},
) {
  const called: Called[] = [];
  const finishes: Json[] = [];
  const result = await walk(
    definitionOf(job, options.limit),
    (resource, parameters) => {
      const event = parameters as Record<string, Json>;
      if (resource.endsWith(":listExecutions")) {
        const running = options.running ?? listing(own);
        if (running instanceof StatesError) throw running;
        return running;
      }
      if (event.finish !== undefined) {
        finishes.push(event.finish);
        return { recorded: true };
      }
      const name = resource.replace("arn:", "");
      called.push({ step: name, event });
      const given = answers[name] ?? [];
      const answer = given[Math.min(called.filter((one) => one.step === name).length, given.length) - 1];
      if (answer === undefined) throw new Error(`no answer for ${name}`);
      return typeof answer === "function" ? answer(event) : answer;
    },
    { executionId: own, ...(options.input === undefined ? {} : { input: options.input }) },
  );
  return { ...result, called, finishes, steps: called.map((one) => one.step) };
}

const dies =
  (name = "Error", cause = '{"errorMessage":"no"}'): Answer =>
  () => {
    throw new StatesError(name, cause);
  };

describe("the state machine of a job", () => {
  it.each(jobs.filter(({ steps }) => steps.length > 1))(
    "of $name leads from its start to an end everywhere",
    (job) => {
      const { States, StartAt } = definitionOf(job);
      const reached = new Set([StartAt]);
      for (const name of reached) {
        const state = States[name];
        expect(state, name).toBeDefined();
        for (const next of targets(state)) reached.add(next);
      }
      expect([...reached].sort()).toEqual(Object.keys(States).sort());
      for (const name of reached) expect(name.length).toBeLessThanOrEqual(80);
    },
  );

  it("hands each step the output of the one before, and the run and its trigger to all", async () => {
    const input = { arguments: { target: "random" }, scheduledFor: "2026-01-01T00:00:00Z" };
    const run = await execute(
      drillRestore,
      {
        restore: [ok({ instance: "i" })],
        prove: [ok({ proofs: [1] })],
        "clean-up": [ok({ discarded: "i" })],
      },
      { input },
    );
    expect(run.status).toBe("SUCCEEDED");
    expect(run.steps).toEqual(["restore", "prove", "clean-up"]);
    expect(run.called.map(({ event }) => event.input)).toEqual([null, { instance: "i" }, { proofs: [1] }]);
    for (const { event } of run.called) {
      expect(event).toMatchObject({
        run: { id: "own-name", startedAt: "2026-01-02T03:04:05.678Z" },
        trigger: input,
        resume: null,
        failure: null,
      });
    }
    expect(run.finishes).toEqual([{ report: { proofs: [1] }, failure: null }]);
    expect(run.output).toEqual({ recorded: true });
  });

  it("waits and asks the same step again with what it left", async () => {
    const run = await execute(drillRestore, {
      restore: [
        { kind: "again", afterSeconds: 1, state: { poll: 1 } },
        { kind: "again", afterSeconds: 90, state: { poll: 2 } },
        ok("restored"),
      ],
      prove: [ok("proved")],
      "clean-up": [{ kind: "again", afterSeconds: 60, state: "deleting" }, ok("gone")],
    });
    expect(run.status).toBe("SUCCEEDED");
    expect(run.steps).toEqual(["restore", "restore", "restore", "prove", "clean-up", "clean-up"]);
    expect(run.called.map(({ event }) => event.resume)).toEqual([
      null,
      { poll: 1 },
      { poll: 2 },
      null,
      null,
      "deleting",
    ]);
    expect(run.waits).toEqual([30, 90, 60]);
  });

  it.each<[string, Answer, Json, Json]>([
    ["says so", { kind: "failed", output: { bad: true }, reason: "no backup" }, { bad: true }, { bad: true }],
    ["throws", dies(), null, null],
    ["times out", dies("States.Timeout", ""), null, null],
  ])("cleans up and fails when the first step %s", async (_, answer, left, report) => {
    const run = await execute(drillRestore, { restore: [answer], "clean-up": [ok("gone")] });
    expect(run.steps).toEqual(["restore", "clean-up"]);
    expect(run.called[1]?.event).toMatchObject({ input: left, failure: { step: "restore" } });
    expect(run.status).toBe("FAILED");
    expect(run.finishes).toEqual([{ report, failure: expect.objectContaining({ step: "restore" }) }]);
    expect(run.error?.Error).toBe("JobFailed");
    expect(run.error?.Cause.length).toBeGreaterThan(0);
  });

  it.each<[string, Answer, Json]>([
    ["says so", { kind: "failed", output: { proofs: [0] }, reason: "rows: 9 of 10" }, { proofs: [0] }],
    ["throws", dies(), { instance: "i" }],
  ])("cleans up and fails when a later step %s, with the last output there is", async (_, answer, left) => {
    const run = await execute(drillRestore, {
      restore: [ok({ instance: "i" })],
      prove: [answer],
      "clean-up": [ok("gone")],
    });
    expect(run.steps).toEqual(["restore", "prove", "clean-up"]);
    expect(run.called[2]?.event).toMatchObject({ input: left, failure: { step: "prove" } });
    expect(run.finishes).toEqual([{ report: left, failure: expect.objectContaining({ step: "prove" }) }]);
    expect(run.status).toBe("FAILED");
  });

  it("fails when only the clean-up does, and otherwise names the first failure", async () => {
    const worked = { restore: [ok({ instance: "i" })], prove: [ok({ proofs: [1] })] };
    const alone = await execute(drillRestore, { ...worked, "clean-up": [dies()] });
    expect(alone.finishes).toEqual([
      { report: { proofs: [1] }, failure: expect.objectContaining({ step: "clean-up" }) },
    ]);
    expect(alone.status).toBe("FAILED");
    const both = await execute(drillRestore, {
      restore: [dies("First", "x")],
      "clean-up": [dies("Second", "y")],
    });
    expect(both.finishes).toEqual([
      { report: null, failure: { step: "restore", reason: expect.stringContaining("First") } },
    ]);
  });

  it("gives up waiting in time to clean up, long before the history is full", async () => {
    const polling: Answer = { kind: "again", afterSeconds: 1, state: null };
    const run = await execute(drillRestore, { restore: [polling], "clean-up": [ok("gone")] });
    expect(run.steps.at(-1)).toBe("clean-up");
    expect(run.error?.Cause).toBe("not finished after 7200 s of waiting");
    expect(run.waits).toHaveLength(waitLimitSeconds / 30);
    const day = await execute(
      drillRestore,
      { restore: [polling], "clean-up": [ok("gone")] },
      { limit: 90_000 },
    );
    expect(day.steps.at(-1)).toBe("clean-up");
    expect(day.events).toBeGreaterThan(15_000);
    expect(day.events).toBeLessThan(25_000);
    const { TimeoutSeconds } = definitionOf(drillRestore);
    expect(TimeoutSeconds).toBeGreaterThan(waitLimitSeconds + 3 * 900);
  });

  it("tries again what AWS itself failed at, and nothing that the step failed at", async () => {
    let attempts = 0;
    const throttled: Answer = () => {
      attempts += 1;
      if (attempts < 4) throw new StatesError("Lambda.TooManyRequestsException", "slow down");
      return ok("restored");
    };
    const run = await execute(drillRestore, {
      restore: [throttled],
      prove: [dies()],
      "clean-up": [ok("gone")],
    });
    expect(attempts).toBe(4);
    expect(run.steps.filter((name) => name === "prove")).toHaveLength(1);
  });

  it("lets only the oldest of several executions go on", async () => {
    const answers = { restore: [ok(1)], prove: [ok(2)], "clean-up": [ok(3)] };
    const running = async (...arns: string[]) =>
      (await execute(drillRestore, answers, { running: listing(...arns) })).output;
    const skipped = { outcome: "skipped", reason: "drill-restore is already running" };
    expect(await running(own, "older")).toEqual(skipped);
    expect(await running("older")).toEqual(skipped);
    expect(await running("newer", own)).toEqual({ recorded: true });
    // The list may lag behind.
    expect(await running()).toEqual({ recorded: true });
  });

  it("goes on without knowing of other runs only where a lock is not required", async () => {
    const running = new StatesError("Sfn.SfnException", "down");
    const drill = await execute(
      drillRestore,
      { restore: [ok(1)], prove: [ok(2)], "clean-up": [ok(3)] },
      { running },
    );
    expect(drill.status).toBe("SUCCEEDED");
    const backUp = jobs.find(({ name }) => name === "back-up");
    if (backUp === undefined) throw new Error("no back-up");
    const refused = await execute(backUp, {}, { running });
    expect(refused).toMatchObject({ status: "FAILED", steps: [], error: { Error: "GuardFailed" } });
  });

  it("goes on after a step that always runs, unless something failed", async () => {
    const one = (name: string, always: boolean) =>
      step<Json, Json, never>(name, {
        where: "control-plane",
        needs: [],
        timeoutSeconds: 60,
        always,
        run: async () => done(null),
      });
    const job = defineJob<Json>({
      name: "sandwich",
      summary: "Always in the middle",
      schedule: "0 1 * * *",
      steps: [one("a", false), one("b", true), one("c", false), one("d", true)],
    });
    const well = await execute(job, { a: [ok(1)], b: [ok(2)], c: [ok(3)], d: [ok(4)] });
    expect(well.called.map(({ event }) => event.input)).toEqual([null, 1, 2, 3]);
    expect(well.finishes).toEqual([{ report: 3, failure: null }]);
    const first = await execute(job, { a: [dies()], b: [ok(2)], d: [ok(4)] });
    expect(first.steps).toEqual(["a", "b", "d"]);
    expect(first.called.map(({ event }) => event.input)).toEqual([null, null, 2]);
    const middle = await execute(job, { a: [ok(1)], b: [dies()], d: [ok(4)] });
    expect(middle.steps).toEqual(["a", "b", "d"]);
    expect(middle.finishes).toEqual([{ report: 1, failure: expect.objectContaining({ step: "b" }) }]);
  });
});

function targets(state: State | undefined): string[] {
  if (state === undefined) return [];
  const nested = [
    ...((state.Choices ?? []) as { Next: string }[]),
    ...((state.Catch ?? []) as { Next: string }[]),
  ];
  return [state.Next, state.Default as string | undefined, ...nested.map(({ Next }) => Next)].filter(
    (name): name is string => name !== undefined,
  );
}
