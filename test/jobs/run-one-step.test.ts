import { beforeAll, describe, expect, it } from "vitest";
import { PgkeepError, UsageError } from "../../lib/errors.ts";
import { applyInstall } from "../../lib/install/apply.ts";
import { jobs } from "../../lib/jobs/index.ts";
import { type RunTrigger, recorderOf } from "../../lib/jobs/invocation.ts";
import { again, defineJob, done, type StepContext, step } from "../../lib/jobs/job.ts";
import { runOfExecution } from "../../lib/jobs/run-identity.ts";
import { finishRun, runOneStep } from "../../lib/jobs/run-one-step.ts";
import type { Json } from "../../lib/json.ts";
import { tryAdvisoryLock } from "../../lib/postgres/advisory-lock.ts";
import { configFor } from "../helpers/config.ts";
import { portsFor } from "../helpers/ports.ts";
import { useServer } from "../helpers/postgres.ts";

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

  it("waits while another run's step holds the lock, with its own state kept", async () => {
    const other = await server.connect(database);
    await tryAdvisoryLock(other, job.name);
    const run = execution();
    const { answer } = await runOneStep(job, "look", { ...event(run), resume: "kept" }, options());
    await other.close();
    expect(answer).toEqual({ kind: "again", afterSeconds: 10, state: "kept" });
    expect(await recordOf(run)).toBeUndefined();
  });

  it("leaves other runs alone that are between two of their steps, but not for longer than a day", async () => {
    await rows(
      `insert into pgkeep.job_run (id, job, started_at) values
       ('recent', 'test-job', now() - interval '3 hours'), ('forgotten', 'test-job', now() - interval '25 hours')`,
    );
    await runOneStep(job, "look", event(execution()), options());
    expect(
      await rows("select id, outcome from pgkeep.job_run where id in ('recent', 'forgotten') order by id"),
    ).toEqual([
      { id: "forgotten", outcome: "failed" },
      { id: "recent", outcome: "running" },
    ]);
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
    for (const one of jobs) expect(recorderOf(one)?.where, one.name).toBe("database");
  });
});

it("a run's name is short enough for an instance's, whatever the execution is called", () => {
  const run = runOfExecution("drill-restore", { id: "x".repeat(80), startedAt: "2026-01-02T03:04:05.678Z" });
  expect(run.id).toMatch(/^20260102t030405z-[0-9a-f]{8}$/);
});
