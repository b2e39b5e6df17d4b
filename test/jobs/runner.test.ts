import { beforeAll, describe, expect, it } from "vitest";
import { PgkeepError, UsageError } from "../../lib/errors.ts";
import { applyInstall } from "../../lib/install/apply.ts";
import {
  again,
  defineJob,
  done,
  failed,
  type JobDefinition,
  type RunOptions,
  step,
} from "../../lib/jobs/job.ts";
import { runJob } from "../../lib/jobs/runner.ts";
import type { Json } from "../../lib/json.ts";
import { configFor } from "../helpers/config.ts";
import { portsFor } from "../helpers/ports.ts";
import { defaultMajor, type TestLogin, useServer } from "../helpers/postgres.ts";

const server = useServer(defaultMajor);
let database: string;
let master: TestLogin;

beforeAll(async () => {
  database = await server.createDatabase();
  master = await server.createMaster(database);
  const session = await server.connect(database, master);
  await applyInstall(session, configFor(database));
  await session.close();
});

function optionsFor(
  overrides: Partial<RunOptions> = {},
): RunOptions & { ports: ReturnType<typeof portsFor> } {
  return {
    ports: portsFor(server.target(database)),
    config: configFor(database),
    ...overrides,
  } as RunOptions & { ports: ReturnType<typeof portsFor> };
}

function job(
  steps: JobDefinition<Json, Json, Json, Json, Json>["steps"],
  more: Partial<JobDefinition<Json, Json, Json, Json, Json>> = {},
) {
  return defineJob({
    name: "test-job",
    summary: "a job of this test",
    schedule: "* * * * *",
    ...more,
    steps,
  });
}

const quick = { where: "control-plane", needs: [], timeoutSeconds: 20 } as const;

async function rows<Row>(sql: string): Promise<Row[]> {
  const session = await server.connect(database);
  try {
    return await session.query<Row>(sql);
  } finally {
    await session.close();
  }
}

describe("a run", () => {
  it("gives each step the output of the one before, and reports the last one's", async () => {
    const result = await runJob(
      job([
        step("first", {
          ...quick,
          run: async ({ input }: { input: Json }) => done({ input, first: 1 } as Json),
        }),
        step("second", { ...quick, run: async ({ input }: { input: Json }) => done([input, 2] as Json) }),
      ]),
      optionsFor(),
    );
    expect(result).toMatchObject({
      outcome: "succeeded",
      report: [{ input: {}, first: 1 }, 2],
      recorded: true,
      warnings: [],
    });
  });

  it("is recorded with its report, whatever text that holds", async () => {
    const report = { text: "nul \u0000 quote ' backslash \\ snowman ☃", big: 9007199254740991 };
    const result = await runJob(
      job([step("only", { ...quick, run: async () => done(report) })]),
      optionsFor(),
    );
    const recorded = await rows<{ outcome: string; report: typeof report; seconds: number }>(
      `select outcome, report, seconds from pgkeep.job_run where id = '${result.runId}'`,
    );
    expect(recorded).toEqual([
      {
        outcome: "succeeded",
        seconds: result.seconds,
        report: { ...report, text: report.text.replace("\u0000", "\ufffd") },
      },
    ]);
  });

  it("keeps a sign of a report that is too large instead of the report", async () => {
    const result = await runJob(
      job([step("only", { ...quick, run: async () => done("x".repeat(1_100_000)) })]),
      optionsFor(),
    );
    const recorded = await rows<{ report: { bytes: number } }>(
      `select report from pgkeep.job_run where id = '${result.runId}'`,
    );
    expect(recorded[0]?.report.bytes).toBe(1_100_002);
  });

  it("pushes out the oldest runs of the same job once there are 2,880", async () => {
    await rows(
      `insert into pgkeep.job_run (id, job, started_at, finished_at, outcome)
       select 'old-' || n || other, 'test-job' || other, now() - n * interval '1 minute', now(), 'succeeded'
         from generate_series(1, 3000) n, (values (''), ('-other')) as jobs (other)`,
    );
    await runJob(job([step("only", { ...quick, run: async () => done(1 as Json) })]), optionsFor());
    expect(
      await rows(
        "select job, count(*) from pgkeep.job_run where id like 'old-%' or job = 'test-job' group by job order by job",
      ),
    ).toEqual([
      { job: "test-job", count: 2880 },
      { job: "test-job-other", count: 3000 },
    ]);
  });

  it("runs a step again after the wait it asks for, with what it left behind", async () => {
    const resumed: (Json | undefined)[] = [];
    const result = await runJob(
      job([
        step("poll", {
          ...quick,
          run: async ({ resume }: { resume: Json | undefined }) => {
            resumed.push(resume);
            const count = typeof resume === "number" ? resume + 1 : 1;
            return count < 3 ? again(0.01, count) : done(count as Json);
          },
        }),
      ]),
      optionsFor(),
    );
    expect(resumed).toEqual([undefined, 1, 2]);
    expect(result).toMatchObject({ outcome: "succeeded", report: 3 });
  });

  it("emits what was measured and how it ended", async () => {
    const options = optionsFor();
    await runJob(
      job([
        step("only", {
          ...quick,
          run: async ({ measure }: { measure: (name: "Deadlocks", value: number) => void }) => {
            measure("Deadlocks", 7);
            return done(null as Json);
          },
        }),
      ]),
      options,
    );
    expect(
      options.ports.data.map(({ name, value, dimensions }) => [name, value, dimensions]).slice(0, 3),
    ).toEqual([
      ["Deadlocks", 7, {}],
      ["JobSucceeded", 1, { Job: "test-job" }],
      ["JobFailed", 0, { Job: "test-job" }],
    ]);
  });

  it("warns, and still succeeds, when metrics cannot be delivered", async () => {
    const options = optionsFor();
    options.ports.metrics.put = async () => {
      throw new Error("disk full");
    };
    const result = await runJob(job([step("only", { ...quick, run: async () => done(1 as Json) })]), options);
    expect(result).toMatchObject({
      outcome: "succeeded",
      warnings: ["metrics were not delivered: disk full"],
    });
  });
});

describe("a run that fails", () => {
  it("keeps the report of a step that says so, skips what follows, and cleans up", async () => {
    const ran: string[] = [];
    const result = await runJob(
      job([
        step("prove", { ...quick, run: async () => failed({ proofs: 3 } as Json, "rows are missing") }),
        step("publish", { ...quick, run: async () => done(ran.push("publish") as Json) }),
        step("clean-up", {
          ...quick,
          always: true,
          run: async ({ input }: { input: Json }) => done(ran.push(JSON.stringify(input)) as Json),
        }),
      ]),
      optionsFor(),
    );
    expect(ran).toEqual(['{"proofs":3}']);
    expect(result).toMatchObject({ outcome: "failed", report: { proofs: 3 }, reason: "rows are missing" });
    expect(result.error).toBeUndefined();
  });

  it("names the first failure and adds that of the clean-up", async () => {
    const result = await runJob(
      job([
        step("restore", {
          ...quick,
          run: async () => {
            throw new PgkeepError("restore-failed", "segment 7 is missing", { remedy: "find it" });
          },
        }),
        step("clean-up", {
          ...quick,
          always: true,
          run: async () => {
            throw new Error("disk gone");
          },
        }),
      ]),
      optionsFor(),
    );
    expect(result).toMatchObject({
      outcome: "failed",
      reason: "segment 7 is missing; then clean-up: disk gone",
      error: { code: "restore-failed", message: "segment 7 is missing", remedy: "find it" },
    });
    const recorded = await rows<{ outcome: string; error_code: string }>(
      `select outcome, error_code from pgkeep.job_run where id = '${result.runId}'`,
    );
    expect(recorded).toEqual([{ outcome: "failed", error_code: "restore-failed" }]);
  });

  it("stops a step at its deadline by cancelling its statement, and cleans up with a deadline of its own", async () => {
    let cleanedWithAbortedDeadline: boolean | undefined;
    const began = Date.now();
    const result = await runJob(
      job([
        step("sleep", {
          where: "database",
          needs: ["primary"],
          timeoutSeconds: 1,
          run: async ({ ports, deadline }) => {
            const session = await ports.primary.connect({ role: "monitoring", signal: deadline });
            try {
              await session.query("select pg_sleep(30)");
            } finally {
              await session.close();
            }
            return done(null as Json);
          },
        }),
        step("clean-up", {
          ...quick,
          always: true,
          run: async ({ deadline }) => {
            cleanedWithAbortedDeadline = deadline.aborted;
            return done(null as Json);
          },
        }),
      ]),
      optionsFor(),
    );
    expect(result).toMatchObject({ outcome: "failed", error: { code: "deadline" } });
    expect(cleanedWithAbortedDeadline).toBe(false);
    expect(Date.now() - began).toBeLessThan(10_000);
    expect(
      await rows("select 1 from pg_stat_activity where query = 'select pg_sleep(30)' and state = 'active'"),
    ).toEqual([]);
  });

  it("stops waiting when it is interrupted from outside, and cleans up", async () => {
    const interruption = new AbortController();
    const cleaned: string[] = [];
    const running = runJob(
      job([
        step("wait", { ...quick, run: async () => again(60, null) as never }),
        step("clean-up", { ...quick, always: true, run: async () => done(cleaned.push("clean-up") as Json) }),
      ]),
      optionsFor({ signal: interruption.signal }),
    );
    setTimeout(() => interruption.abort(new PgkeepError("deadline", "stopped by SIGINT")), 300);
    expect(await running).toMatchObject({ outcome: "failed" });
    expect(cleaned).toEqual(["clean-up"]);
  });

  it("throws wrong arguments at once, before anything runs", async () => {
    const strict = job([step("only", { ...quick, run: async () => done(null as Json) })], {
      parseArguments: () => {
        throw new UsageError("no such argument");
      },
    });
    await expect(runJob(strict, optionsFor())).rejects.toThrow("no such argument");
  });
});

describe("two runs of a job", () => {
  it("do not overlap: one works, the other says that it was already running, and both are fine", async () => {
    const slow = job([
      step("only", {
        ...quick,
        run: async () => {
          await new Promise((resolve) => setTimeout(resolve, 700));
          return done("worked" as Json);
        },
      }),
    ]);
    const results = await Promise.all([runJob(slow, optionsFor()), runJob(slow, optionsFor())]);
    expect(results.map((result) => result.outcome).sort()).toEqual(["skipped", "succeeded"]);
    expect(results.find((result) => result.outcome === "skipped")).toMatchObject({
      report: { alreadyRunning: true },
      reason: "test-job is already running",
    });
  });

  it("run one after the other when the first was killed, which is then recorded as failed", async () => {
    const killed = await server.connect(database);
    await killed.query("select pg_advisory_lock(1885825893, hashtext('test-job'))");
    await killed.query("insert into pgkeep.job_run (id, job) values ('killed-run', 'test-job')");
    expect(
      (await runJob(job([step("only", { ...quick, run: async () => done(1 as Json) })]), optionsFor()))
        .outcome,
    ).toBe("skipped");
    await rows(
      "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and classid = 1885825893",
    );
    await killed.close();
    const next = await runJob(
      job([step("only", { ...quick, run: async () => done(1 as Json) })]),
      optionsFor(),
    );
    expect(next.outcome).toBe("succeeded");
    const recorded = await rows<{ outcome: string; reason: string }>(
      "select outcome, reason from pgkeep.job_run where id = 'killed-run'",
    );
    expect(recorded[0]?.outcome).toBe("failed");
    expect(recorded[0]?.reason).toMatch(/killed/);
  });
});

describe("what a target cannot give", () => {
  const needy = job([
    step("only", {
      where: "control-plane",
      needs: ["backups"],
      timeoutSeconds: 5,
      run: async () => done(null as Json),
    }),
  ]);

  it("is named before anything runs", async () => {
    expect(await runJob(needy, optionsFor())).toMatchObject({
      outcome: "failed",
      error: { code: "refused", message: "test-job needs backups, which this target does not have" },
    });
  });

  it("includes a dry run of a job that has none", async () => {
    const result = await runJob(
      job([step("only", { ...quick, run: async () => done(null as Json) })]),
      optionsFor({ dryRun: true }),
    );
    expect(result.error?.code).toBe("refused");
  });

  it("is only noted where the schema pgkeep is not installed", async () => {
    const bare = await server.createDatabase();
    const options = optionsFor();
    const result = await runJob(job([step("only", { ...quick, run: async () => done(1 as Json) })]), {
      ...options,
      ports: portsFor(server.target(bare)),
    });
    expect(result).toMatchObject({
      outcome: "succeeded",
      recorded: false,
      warnings: ["not recorded: the schema pgkeep is not installed here (`pgkeep install`)"],
    });
  });

  it("stops a job that needs its lock, and not one that must work while the primary is down", async () => {
    const ports = portsFor({ ...server.target(database), port: 1 });
    const steps = [step("only", { ...quick, run: async () => done("worked" as Json) })] as const;
    expect(await runJob(job(steps), { ...optionsFor(), ports })).toMatchObject({
      outcome: "failed",
      error: { code: "unreachable" },
    });
    const hardy = await runJob(job(steps, { lock: "when-possible" }), { ...optionsFor(), ports });
    expect(hardy).toMatchObject({ outcome: "succeeded", report: "worked", recorded: false });
    expect(hardy.warnings[0]).toMatch(/neither locked nor recorded: cannot reach 127.0.0.1:1/);
  });
});

describe("dry runs", () => {
  it("tell the steps, take no lock and leave no record", async () => {
    const dry = job(
      [step("only", { ...quick, run: async ({ dryRun }: { dryRun: boolean }) => done({ dryRun } as Json) })],
      {
        supportsDryRun: true,
      },
    );
    const before = await rows<{ count: number }>("select count(*) from pgkeep.job_run");
    const result = await runJob(dry, optionsFor({ dryRun: true }));
    expect(result).toMatchObject({ outcome: "succeeded", report: { dryRun: true }, recorded: false });
    expect(await rows("select count(*) from pgkeep.job_run")).toEqual(before);
  });
});
