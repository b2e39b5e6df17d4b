import { randomUUID } from "node:crypto";
import { describe, expect, it } from "vitest";
import { backUp } from "../../lib/jobs/back-up.ts";
import { checkHealth } from "../../lib/jobs/check-health.ts";
import { jobs } from "../../lib/jobs/index.ts";
import type { FinishEvent } from "../../lib/jobs/invocation.ts";
import { finishRun, runOneStep } from "../../lib/jobs/run-one-step.ts";
import { runJob } from "../../lib/jobs/runner.ts";
import { jobNames, readSuccessAges } from "../../lib/jobs/success-age.ts";
import { portsFor } from "../helpers/ports.ts";
import { useServer } from "../helpers/postgres.ts";
import { installed, password } from "../install/installed.ts";

it("names every job whose runs are recorded on AWS: those with a step that reaches the database", () => {
  const recorded = jobs.filter(({ steps }) => steps.some(({ where }) => where === "database"));
  expect([...jobNames].toSorted()).toEqual(recorded.map(({ name }) => name).toSorted());
});

describe("how long ago a job succeeded", () => {
  const server = useServer();

  it("counts from the last success, from the installation when there is none, and not for a job that is off", async () => {
    const { database, config, names, as } = await installed(server);
    await as(undefined, async (session) => {
      await session.query("update pgkeep.schema_version set applied_at = now() - interval '90 days'");
      await session.query(
        `insert into pgkeep.job_run (id, job, started_at, finished_at, outcome)
         values ('1', 'back-up', now() - interval '3 days', now() - interval '3 days', 'succeeded'),
                ('2', 'back-up', now() - interval '1 day', now() - interval '1 day', 'failed')`,
      );
    });
    const ports = portsFor(server.target(database, { user: names.monitoring, password }));
    const off = { ...config, schedules: { ...config.schedules, vacuum: "off" } };
    await runJob(checkHealth, { ports, config: off });
    const ages = new Map(
      ports.data
        .filter(({ name }) => name === "JobSuccessAge")
        .map(({ dimensions, value }) => [dimensions.Job, value / 86_400]),
    );
    expect([...ages.keys()].toSorted()).toEqual(jobNames.filter((name) => name !== "vacuum").toSorted());
    expect(ages.get("back-up")).toBeCloseTo(3, 2);
    expect(ages.get("drill-restore")).toBeCloseTo(90, 2);
  });

  it("counts from when a job was scheduled where that is later: new, or off for a while", async () => {
    const { database, config, names, as } = await installed(server);
    await as(undefined, (session) =>
      session.query("update pgkeep.schema_version set applied_at = now() - interval '400 days'"),
    );
    const ports = portsFor(server.target(database, { user: names.monitoring, password }));
    const days = async (schedules: Record<string, string>): Promise<Record<string, number>> => {
      ports.data.length = 0;
      const given = { ...config, schedules: { ...config.schedules, ...schedules } };
      expect((await runJob(checkHealth, { ports, config: given })).outcome).toBe("succeeded");
      const ages = ports.data.filter(({ name }) => name === "JobSuccessAge");
      return Object.fromEntries(
        ages.map(({ dimensions, value }) => [dimensions.Job, Math.round(value / 86_400)]),
      );
    };
    // Nobody has handed anything on yet: all count from the installation.
    expect(await days({ "drill-restore": "off" })).toMatchObject({ "back-up": 400, vacuum: 400 });
    const before = await days({});
    expect(before).toMatchObject({ "back-up": 400, "drill-restore": 0 });
    await as(undefined, (session) =>
      session.query(
        `update pgkeep.job_run
            set report = jsonb_set(report, '{scheduledSince,drill-restore}', to_jsonb(now() - interval '70 days'))
          where job = 'check-health'`,
      ),
    );
    expect(await days({})).toMatchObject({ "back-up": 400, "drill-restore": 70 });
    await days({ "drill-restore": "off" });
    expect(await days({})).toMatchObject({ "drill-restore": 0 });
  });

  it("is that of a run of several steps, executed one by one as on AWS, once it has ended well", async () => {
    const { database, config, names, as } = await installed(server);
    await as(undefined, (session) =>
      session.query("update pgkeep.schema_version set applied_at = now() - interval '9 days'"),
    );
    const ports = portsFor(server.target(database, { user: names.monitoring, password }));
    const measured = async () => {
      await runJob(checkHealth, { ports, config });
      const data = ports.data.filter(
        ({ name, dimensions }) => name === "JobSuccessAge" && dimensions.Job === "back-up",
      );
      return data.at(-1)?.value ?? Number.NaN;
    };
    const begun = { run: { id: randomUUID(), startedAt: new Date().toISOString() }, trigger: {} };
    await runOneStep(
      backUp,
      "describe",
      { ...begun, input: null, resume: null, failure: null },
      { ports, config },
    );
    expect(await measured()).toBeGreaterThan(8 * 86_400);
    const finish = (failure: null | { step: string; reason: string }) =>
      finishRun(backUp, { ...begun, finish: { failure, report: {} } } as FinishEvent, { ports, config });
    expect((await finish({ step: "copy", reason: "the quota is used up" })).outcome).toBe("failed");
    expect(await measured()).toBeGreaterThan(8 * 86_400);
    const next = { run: { id: randomUUID(), startedAt: new Date().toISOString() }, trigger: {} };
    await runOneStep(
      backUp,
      "describe",
      { ...next, input: null, resume: null, failure: null },
      { ports, config },
    );
    const ended = await finishRun(backUp, { ...next, finish: { failure: null, report: {} } } as FinishEvent, {
      ports,
      config,
    });
    expect(ended).toMatchObject({ outcome: "succeeded", recorded: true });
    expect(await measured()).toBeLessThan(60);
  });

  it("is unknown without the schema", async () => {
    const session = await server.connect(await server.createDatabase());
    const { config } = await installed(server);
    expect(await readSuccessAges(session, config)).toEqual([]);
    await session.close();
  });
});
