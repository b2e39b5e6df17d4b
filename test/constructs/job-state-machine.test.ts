import { describe, expect, it } from "vitest";
import { carried } from "../../lambdas/answer.ts";
import { type State, stateMachineDefinition } from "../../lib/constructs/state-machine-definition.ts";
import { functionTimeoutSeconds } from "../../lib/constructs/step-function.ts";
import { drillRestore } from "../../lib/jobs/drill-restore.ts";
import { jobs } from "../../lib/jobs/index.ts";
import { maximumAnswerBytes, maximumStateBytes, maximumTriggerBytes } from "../../lib/jobs/invocation.ts";
import { defineJob, done, type Job, step } from "../../lib/jobs/job.ts";
import { routeReplicas } from "../../lib/jobs/route-replicas.ts";
import type { Json } from "../../lib/json.ts";
import { StatesError, walk } from "../helpers/states-language.ts";

const waitLimitSeconds = 7_200;

function definitionOf(job: Job, limit = waitLimitSeconds) {
  return stateMachineDefinition({
    job,
    functionArns: Object.fromEntries(job.steps.map(({ name }) => [name, `arn:${name}`])),
    functionTimeoutSeconds,
    waitLimitSeconds: limit,
  });
}

interface Called {
  step: string;
  event: Record<string, Json>;
}

type Answer = Json | ((event: Record<string, Json>) => Json);

const own = "arn:execution:own";
const ok = (output: Json): Json => ({ kind: "done", output });

/** Runs the state machine of a job whose steps answer as given; the last answer of a step is repeated. */
async function execute(
  job: Job,
  answers: Record<string, Answer[]>,
  options: { claim?: Json | StatesError; input?: Json; limit?: number } = {},
) {
  const called: Called[] = [];
  const finishes: Json[] = [];
  const claims: { function: string; event: Record<string, Json> }[] = [];
  const result = await walk(
    definitionOf(job, options.limit),
    (resource, parameters) => {
      const event = parameters as Record<string, Json>;
      if (event.claim !== undefined) {
        claims.push({ function: resource, event });
        if (options.claim instanceof StatesError) throw options.claim;
        return options.claim ?? { kind: "claimed" };
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
  return { ...result, called, finishes, claims, steps: called.map((one) => one.step) };
}

const dies =
  (name = "Error", cause = '{"errorMessage":"no"}'): Answer =>
  () => {
    throw new StatesError(name, cause);
  };

const one = (name: string, always: boolean) =>
  step<Json, Json, never>(name, {
    where: "control-plane",
    needs: [],
    timeoutSeconds: 60,
    always,
    run: async () => done(null),
  });
const sandwich = defineJob<Json>({
  name: "sandwich",
  summary: "Always in the middle",
  schedule: "0 1 * * *",
  steps: [one("a", false), one("b", true), one("c", false), one("d", true)],
});

const backUp = jobs.find(({ name }) => name === "back-up") as Job;

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

  it("takes the run's lease first, for as long as the execution may last, or ends as skipped", async () => {
    const answers = { restore: [ok(1)], prove: [ok(2)], "clean-up": [ok(3)] };
    const run = await execute(drillRestore, answers, { input: { arguments: {} } });
    const { TimeoutSeconds } = definitionOf(drillRestore);
    expect(run.claims).toEqual([
      {
        function: "arn:prove",
        event: {
          run: { id: "own-name", startedAt: "2026-01-02T03:04:05.678Z" },
          trigger: { arguments: {} },
          claim: { leaseSeconds: TimeoutSeconds },
        },
      },
    ]);
    const skipped = await execute(drillRestore, answers, {
      claim: { kind: "skipped", reason: "drill-restore is already running: r1" },
    });
    expect(skipped).toMatchObject({
      status: "SUCCEEDED",
      output: { outcome: "skipped", reason: "drill-restore is already running: r1" },
      steps: [],
      finishes: [],
    });
  });

  it("fails, and says so, when nobody can tell whether another run is under way", async () => {
    const claim = new StatesError("PgkeepError", '{"errorMessage":"cannot reach"}');
    const refused = await execute(backUp, {}, { claim });
    expect(refused).toMatchObject({
      status: "FAILED",
      steps: [],
      error: { Error: "JobFailed", Cause: expect.stringContaining("cannot reach") },
      finishes: [
        { report: null, failure: { step: "claim", reason: expect.stringContaining("cannot reach") } },
      ],
    });
    const busy = await execute(backUp, {}, { claim: new StatesError("Lambda.TooManyRequestsException", "") });
    expect(busy).toMatchObject({ status: "SUCCEEDED", output: { outcome: "skipped" }, steps: [] });
  });

  it("goes on without a lease where the job must work while the primary is down", async () => {
    const drill = await execute(
      drillRestore,
      { restore: [ok(1)], prove: [ok(2)], "clean-up": [ok(3)] },
      { claim: new StatesError("Lambda.Unknown", "down") },
    );
    expect(drill.status).toBe("SUCCEEDED");
    expect(drill.steps).toEqual(["restore", "prove", "clean-up"]);
  });

  it("asks for no lease where runs may overlap", async () => {
    const routed = await execute(routeReplicas, { probe: [ok(1)], publish: [ok(2)] });
    expect(routed).toMatchObject({ status: "SUCCEEDED", claims: [], steps: ["probe", "publish"] });
  });

  it("never carries more than Step Functions does, however much each step answers", async () => {
    // Text that grows when it is escaped, as in the JSON of an error inside of a failure.
    const filled = (bytes: number) => {
      const text = '"\\é'.repeat(Math.floor(bytes / 6));
      return text;
    };
    const most = (kind: "done" | "again" | "failed"): Answer => {
      const make = (text: string): Json =>
        kind === "done"
          ? { kind, output: text }
          : kind === "again"
            ? { kind, afterSeconds: 30, state: text }
            : { kind, output: text.slice(8_000), reason: text.slice(0, 8_000) };
      const text = filled(maximumAnswerBytes);
      for (let length = text.length; ; length -= 10) {
        const answer = make(text.slice(0, length));
        if (Buffer.byteLength(JSON.stringify(answer)) <= maximumAnswerBytes) return answer;
      }
    };
    const thrown: Answer = () => {
      const error = carried(new Error('"\n\\'.repeat(10_000))) as Error;
      throw new StatesError(
        "Error",
        JSON.stringify({ errorMessage: error.message, errorType: error.name, trace: [error.stack] }),
      );
    };
    const input = { arguments: { x: "x".repeat(maximumTriggerBytes - 100) } };
    const ways: Record<string, Answer[]>[] = [
      {
        a: [most("again"), most("done")],
        b: [most("again"), most("done")],
        c: [most("again"), most("done")],
        d: [most("again"), most("done")],
      },
      {
        a: [most("done")],
        b: [most("done")],
        c: [most("again"), most("failed")],
        d: [most("again"), most("done")],
      },
      {
        a: [most("done")],
        b: [most("done")],
        c: [most("again"), thrown],
        d: [most("again"), most("failed")],
      },
      { a: [most("done")], b: [most("done")], c: [most("again"), thrown], d: [most("again"), thrown] },
    ];
    for (const answers of ways) {
      const run = await execute(sandwich, answers, { input });
      expect(run.finishes).toHaveLength(1);
      expect(run.largestBytes).toBeGreaterThan(3 * maximumAnswerBytes);
      expect(run.largestBytes).toBeLessThan(maximumStateBytes - 8_192);
    }
  });

  it("counts the time of a step that works on in the next execution", async () => {
    const run = await execute(drillRestore, {
      restore: [ok(1)],
      prove: [{ kind: "again", afterSeconds: 30, state: null }],
      "clean-up": [ok("gone")],
    });
    // Each execution is 900 s and a pause of 30 s.
    expect(run.steps.filter((name) => name === "prove")).toHaveLength(Math.floor(waitLimitSeconds / 930) + 1);
    expect(run.steps.at(-1)).toBe("clean-up");
  });

  it("goes on after a step that always runs, unless something failed", async () => {
    const well = await execute(sandwich, { a: [ok(1)], b: [ok(2)], c: [ok(3)], d: [ok(4)] });
    expect(well.called.map(({ event }) => event.input)).toEqual([null, 1, 2, 3]);
    expect(well.finishes).toEqual([{ report: 3, failure: null }]);
    const first = await execute(sandwich, { a: [dies()], b: [ok(2)], d: [ok(4)] });
    expect(first.steps).toEqual(["a", "b", "d"]);
    expect(first.called.map(({ event }) => event.input)).toEqual([null, null, 2]);
    const middle = await execute(sandwich, { a: [ok(1)], b: [dies()], d: [ok(4)] });
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
