import { beforeAll, describe, expect, it } from "vitest";
import { stateMachineDefinition } from "../../lib/constructs/state-machine-definition.ts";
import { PgkeepError, UsageError } from "../../lib/errors.ts";
import { applyInstall } from "../../lib/install/apply.ts";
import { jobs } from "../../lib/jobs/index.ts";
import { type RunTrigger, recorderOf } from "../../lib/jobs/invocation.ts";
import { again, defineJob, done, type StepContext, step } from "../../lib/jobs/job.ts";
import { runOfExecution } from "../../lib/jobs/run-identity.ts";
import { claimRun, finishRun, runOneStep } from "../../lib/jobs/run-one-step.ts";
import { runJob } from "../../lib/jobs/runner.ts";
import type { Json } from "../../lib/json.ts";
import { tryAdvisoryLock } from "../../lib/postgres/advisory-lock.ts";
import { configFor } from "../helpers/config.ts";
import { portsFor } from "../helpers/ports.ts";
import { useServer } from "../helpers/postgres.ts";
import { walk } from "../helpers/states-language.ts";

const server = useServer();
let database: string;

beforeAll(async () => {
  database = await server.createDatabase();
  const session = await server.connect(database, await server.createMaster(database));
  await applyInstall(session, configFor(database));
  await session.close();
});

const options = () => ({ ports: portsFor(server.target(database)), config: configFor(database) });

const job = defineJob({
  name: "test-job",
  summary: "a job of this test",
  schedule: "* * * * *",
  supportsDryRun: true,
  parseArguments: (value): Json => {
    if ((value as { wrong?: boolean }).wrong === true) throw new UsageError("that is wrong");
    return value as Json;
  },
  steps: [
    step("look", {
      where: "database",
      needs: ["primary"],
      timeoutSeconds: 20,
      run: async ({ input, run, resume, measure, dryRun }: StepContext<Json, "primary">) => {
        measure("Deadlocks", 3);
        if (resume === undefined && input !== null && typeof input === "object" && "twice" in input) {
          return again(5, "second time");
        }
        return done({ input, id: run.id, resume: resume ?? null, dryRun } as Json);
      },
    }),
    step("fail", {
      where: "control-plane",
      needs: [],
      timeoutSeconds: 20,
      run: async () => {
        throw new PgkeepError("timeout", "AWS did not answer");
      },
    }),
    step("back", {
      where: "control-plane",
      needs: ["backups"],
      timeoutSeconds: 20,
      run: async () => done(null as Json),
    }),
  ],
});

let executions = 0;
function execution() {
  executions += 1;
  return { id: `${"a-very-long-name-".repeat(4)}${executions}`, startedAt: new Date().toISOString() };
}

const event = (run: ReturnType<typeof execution>, trigger: RunTrigger = {}) => ({
  run,
  trigger,
  input: null,
  resume: null,
  failure: null,
});

async function rows<Row>(sql: string): Promise<Row[]> {
  const session = await server.connect(database);
  try {
    return await session.query<Row>(sql);
  } finally {
    await session.close();
  }
}

const recordOf = async (run: ReturnType<typeof execution>) =>
  (
    await rows<{ outcome: string; report: Json; reason: string | null }>(
      `select outcome, report, reason from pgkeep.job_run where id = '${runOfExecution(job.name, run).id}'`,
    )
  )[0];

describe("one step of a run", () => {
  it("gets the trigger's arguments when it is the first, and the same run as the others", async () => {
    const run = execution();
    const { answer, warnings } = await runOneStep(
      job,
      "look",
      event(run, { arguments: { table: "orders" } }),
      options(),
    );
    expect(answer).toEqual({
      kind: "done",
      output: {
        input: { table: "orders" },
        id: runOfExecution(job.name, run).id,
        resume: null,
        dryRun: false,
      },
    });
    expect(warnings).toEqual([]);
    expect(await recordOf(run)).toMatchObject({ outcome: "running" });
  });

  it("goes on with what it left behind", async () => {
    const run = execution();
    const first = await runOneStep(job, "look", event(run, { arguments: { twice: true } }), options());
    expect(first.answer).toEqual({ kind: "again", afterSeconds: 5, state: "second time" });
    const resumed = { ...event(run, { arguments: { twice: true } }), resume: "second time" };
    const second = await runOneStep(job, "look", resumed, options());
    expect(second.answer).toMatchObject({ kind: "done", output: { resume: "second time" } });
  });

  it("delivers what it measured, and no verdict on the run", async () => {
    const given = options();
    await runOneStep(job, "look", event(execution()), given);
    expect(given.ports.data.map(({ name }) => name)).toEqual(["Deadlocks"]);
  });

  it("throws what the step throws", async () => {
    await expect(runOneStep(job, "fail", event(execution()), options())).rejects.toThrow(
      "AWS did not answer",
    );
  });

  it("throws wrong arguments, a step that the job lacks, and ports that are missing", async () => {
    const wrong = event(execution(), { arguments: { wrong: true } });
    await expect(runOneStep(job, "look", wrong, options())).rejects.toThrow("that is wrong");
    await expect(runOneStep(job, "lok", event(execution()), options())).rejects.toThrow("has no step lok");
    await expect(runOneStep(job, "back", event(execution()), options())).rejects.toThrow("needs backups");
  });

  it("goes no further once another run has closed it", async () => {
    const run = execution();
    await claimRun(job, { run, trigger: {}, claim: { leaseSeconds: 0.001 } }, options());
    await claimRun(job, { run: execution(), trigger: {}, claim: { leaseSeconds: 0.001 } }, options());
    await expect(runOneStep(job, "look", event(run), options())).rejects.toThrow(
      /was given up: its lease ended/,
    );
  });

  it("leaves no trace of a dry run", async () => {
    const run = execution();
    const given = options();
    const { answer } = await runOneStep(job, "look", event(run, { dryRun: true }), given);
    expect(answer).toMatchObject({ output: { dryRun: true } });
    expect(given.ports.data).toEqual([]);
    expect(await recordOf(run)).toBeUndefined();
  });
});

describe("the lease of a run", () => {
  const claim = (run: ReturnType<typeof execution>, leaseSeconds = 60, given = options()) =>
    claimRun(job, { run, trigger: {}, claim: { leaseSeconds } }, given);
  const finish = (run: ReturnType<typeof execution>) =>
    finishRun(job, { run, trigger: {}, finish: { report: null, failure: null } }, options());
  const outcomes = { kind: "claimed" };
  const answerTo = async (run: ReturnType<typeof execution>) => (await claim(run)).answer;

  it.each([1, 2, 3, 4, 5])("goes to exactly one of several that ask at once (%i)", async () => {
    const runs = Array.from({ length: 6 }, execution);
    const answers = await Promise.all(runs.map(answerTo));
    const winner = runs[answers.findIndex(({ kind }) => kind === "claimed")];
    expect(answers.filter(({ kind }) => kind === "claimed")).toHaveLength(1);
    if (winner === undefined) throw new Error("nobody won");
    const winnersId = runOfExecution(job.name, winner).id;
    for (const answer of answers) {
      if (answer.kind === "skipped") expect(answer.reason).toContain(`already running: ${winnersId}`);
    }
    // A repeated call of the same run, as a retry makes it, changes nothing; a finished one lets others in.
    expect(await answerTo(winner)).toEqual(outcomes);
    await finish(winner);
    const next = execution();
    expect(await answerTo(next)).toEqual(outcomes);
    await finish(next);
  });

  it("outlives the process that took it, but not its time", async () => {
    const dead = execution();
    await claim(dead, 1.5);
    expect(await answerTo(execution())).toMatchObject({ kind: "skipped" });
    await new Promise((resolve) => setTimeout(resolve, 1_600));
    const next = execution();
    expect(await answerTo(next)).toEqual(outcomes);
    expect(await recordOf(dead)).toMatchObject({
      outcome: "failed",
      reason: expect.stringContaining("killed"),
    });
    await finish(next);
  });

  it("keeps runs of a single process away, and they keep it away", async () => {
    const single = { ...job, steps: job.steps.slice(0, 1) };
    const run = execution();
    await claim(run);
    expect(await runJob(single, options())).toMatchObject({
      outcome: "skipped",
      reason: expect.stringContaining(runOfExecution(job.name, run).id),
    });
    expect(await recordOf(run)).toMatchObject({ outcome: "running" });
    await finish(run);
    const other = await server.connect(database);
    await tryAdvisoryLock(other, job.name);
    expect(await answerTo(execution())).toEqual({ kind: "skipped", reason: "test-job is already running" });
    await other.close();
  });

  it("is not to be had where runs cannot be recorded, which only a job that needs it minds", async () => {
    const bare = await server.createDatabase();
    const there = { ports: portsFor(server.target(bare)), config: configFor(bare) };
    await expect(claim(execution(), 60, there as never)).rejects.toThrow(
      /nobody can tell: the schema pgkeep/,
    );
    const tolerant = { ...job, lock: "when-possible" as const };
    const { answer, warnings } = await claimRun(
      tolerant,
      { run: execution(), trigger: {}, claim: { leaseSeconds: 60 } },
      there as never,
    );
    expect(answer).toEqual(outcomes);
    expect(warnings[0]).toMatch(/not recorded/);
    const gone = { ...options(), ports: portsFor({ ...server.target(database), port: 1 }) };
    await expect(claim(execution(), 60, gone)).rejects.toMatchObject({ code: "unreachable" });
    const unguarded = await claimRun(
      tolerant,
      { run: execution(), trigger: {}, claim: { leaseSeconds: 60 } },
      gone,
    );
    expect(unguarded.answer).toEqual(outcomes);
  });

  it("lets one of two executions of the state machine work that start together", async () => {
    const definition = stateMachineDefinition({
      job,
      functionArns: Object.fromEntries(job.steps.map(({ name }) => [name, name])),
      functionTimeoutSeconds: () => 20,
      waitLimitSeconds: 60,
    });
    let looked = 0;
    let answered = 0;
    const start = (name: string) => {
      const startedAt = new Date().toISOString();
      return walk(
        definition,
        async (resource, parameters) => {
          const given = {
            ...(parameters as Record<string, Json>),
            run: { id: name, startedAt },
          };
          if ("claim" in given) {
            const { answer } = await claimRun(job, given as never, options());
            answered += 1;
            return answer as Json;
          }
          if ("finish" in given) return (await finishRun(job, given as never, options())) as unknown as Json;
          looked += 1;
          if (resource === "look")
            return (await runOneStep(job, "look", given as never, options())).answer as Json;
          // Work that lasts until the other has asked.
          while (answered < 2) await new Promise((resolve) => setTimeout(resolve, 10));
          return { kind: "done", output: null };
        },
        { executionId: name },
      );
    };
    for (const round of [1, 2, 3]) {
      looked = 0;
      answered = 0;
      const both = await Promise.all([start(`one-${round}`), start(`two-${round}`)]);
      expect(both.map(({ status, error }) => [status, error])).toEqual([
        ["SUCCEEDED", undefined],
        ["SUCCEEDED", undefined],
      ]);
      expect(
        both.map(({ output }) => (output as { outcome: string }).outcome).sort(),
        JSON.stringify(both),
      ).toEqual(["skipped", "succeeded"]);
      expect(looked).toBe(3);
    }
  });
});

describe("the end of a run", () => {
  it("is recorded and measured once", async () => {
    const run = execution();
    const given = options();
    await runOneStep(job, "look", event(run), options());
    const result = await finishRun(
      job,
      { run, trigger: {}, finish: { report: { rows: 1 }, failure: null } },
      given,
    );
    expect(result).toMatchObject({ outcome: "succeeded", recorded: true, warnings: [] });
    expect(given.ports.data.map(({ name, value }) => [name, value]).slice(0, 2)).toEqual([
      ["JobSucceeded", 1],
      ["JobFailed", 0],
    ]);
    expect(await recordOf(run)).toEqual({ outcome: "succeeded", report: { rows: 1 }, reason: null });
  });

  it("keeps the cause of a failure, even of a run that never reached the database", async () => {
    const run = execution();
    const given = options();
    const failure = { step: "fail", reason: "AWS did not answer" };
    await finishRun(job, { run, trigger: {}, finish: { report: null, failure } }, given);
    expect(await recordOf(run)).toEqual({
      outcome: "failed",
      report: null,
      reason: "fail: AWS did not answer",
    });
    expect(given.ports.data.map(({ name, value }) => [name, value]).slice(0, 2)).toEqual([
      ["JobSucceeded", 0],
      ["JobFailed", 1],
    ]);
  });

  it("is measured when the database is gone, and says that it was not recorded", async () => {
    const given = { ...options(), ports: portsFor({ ...server.target(database), port: 1 }) };
    const finish = { report: null, failure: null };
    const result = await finishRun(job, { run: execution(), trigger: {}, finish }, given);
    expect(result).toMatchObject({ outcome: "succeeded", recorded: false });
    expect(result.warnings[0]).toMatch(/not recorded: cannot reach/);
    expect(given.ports.data).toHaveLength(3);
  });

  it("goes to a step that reaches the database, where the job has one", () => {
    for (const one of jobs) {
      if (!one.steps.some(({ where }) => where === "database")) continue;
      expect(recorderOf(one)?.where, one.name).toBe("database");
    }
  });
});

it("a run's name is short enough for an instance's, whatever the execution is called", () => {
  const run = runOfExecution("drill-restore", { id: "x".repeat(80), startedAt: "2026-01-02T03:04:05.678Z" });
  expect(run.id).toMatch(/^20260102t030405z-[0-9a-f]{8}$/);
});
